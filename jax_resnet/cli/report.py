"""Write one HTML page about a run, or several side by side."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jax_resnet.cli.flags import parse
from jax_resnet.errors import UserError, say
from jax_resnet.files import new_file, refuse_existing


@dataclass(frozen=True)
class Report:
    """Write one HTML page, which needs no network, about a run; or about several.

    Curves, test accuracy by class, confusion, calibration, the most confident mistakes, gradient
    norms, hyper-parameters, hardware and time.
    """

    runs: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="RUN...")]
    """Folders of runs, all of one data set; of one that has not finished, its best checkpoint."""
    out: Path = Path("report.html")
    """The page, a new file."""
    data_dir: Path | None = None
    """Where the data set is; by default where the run found it."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Report, arguments)
    if not flags.runs:
        raise UserError("`runs` is empty, expected folders of runs")
    refuse_existing(flags.out, "name a new file as `out`")
    from jax_resnet.report.page import read_run, render

    page = render([read_run(run, flags.data_dir) for run in flags.runs])
    with new_file(flags.out) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    say(f"wrote {flags.out}")
