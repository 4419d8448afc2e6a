"""Train several nets, depths and seeds, and draw them together."""

import itertools
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from jax_resnet.cli.flags import parse
from jax_resnet.cli.train import recipe_values
from jax_resnet.cpu.allocator import keep_memory
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError, say
from jax_resnet.files import expand_home, replace_file, write_json, writing
from jax_resnet.report.comparison import (
    INITIAL,
    Variant,
    collect,
    initial_gradient_norms,
    table,
)
from jax_resnet.report.comparison_figures import draw_comparison
from jax_resnet.run.signals import Interrupted
from jax_resnet.training.begin import finished, load_aloud, result_of
from jax_resnet.training.config import Config, RecipeName, divide
from jax_resnet.training.train import train


@dataclass(frozen=True)
class Compare:
    """Train residual and plain nets of some depths with some seeds, and draw them together.

    Every run is one that `train.py` would make, in its own folder; finished ones are not run
    again, even if they were made on another machine.
    """

    recipe: RecipeName = "article"
    """The published training, as in train.py."""
    variants: tuple[Variant, ...] = ("zeropad", "conv1x1", "cnn")
    """Residual nets by their shortcut, and the plain net (cnn)."""
    depths: tuple[int, ...] = (20,)
    """Depths of the nets: 6n + 2."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """The seeds themselves, not how many: a net of each depth is trained once with each of them."""
    steps: int | None = None
    """Steps of each run, instead of the recipe's."""
    batch_size: int | None = None
    """Images of a step, instead of the recipe's."""
    learning_rate: float | None = None
    """SGD's learning rate, instead of the recipe's."""
    muon_momentum: float | None = None
    """Muon's momentum, instead of the recipe's."""
    label_smoothing: float | None = None
    """Label smoothing, instead of the recipe's."""
    dataset: Literal["cifar10", "cifar100", "digits"] = "cifar10"
    """As in train.py, without folders, whose images would need more flags."""
    data_dir: Path | None = None
    """Where the data set is; by default $TFDS_DATA_DIR, or ~/tensorflow_datasets."""
    runs_dir: Path = Path("runs")
    """Where the runs have their folders."""
    out: Path = Path("comparison")
    """Folder for the pictures and the table, which are replaced."""


def command(arguments: Sequence[str]) -> None:
    keep_memory()
    flags = parse(Compare, arguments)
    todo = list(configs(flags))
    out = expand_home(flags.out, "`out`")
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    try:
        for config in todo:
            result_of(config)  # what can't begin or continue is refused before anything is trained
        images = cache(lambda: load_aloud(todo[0]))
        for number, config in enumerate(todo, 1):
            run(config, f"run {number} of {len(todo)}", images)
    except Interrupted as stop:
        say(f"{stop}: the same command continues")
        sys.exit(stop.exit_code)
    except UserError as error:  # here the flags make the names, and none is `init`
        message = str(error).replace("another `name`", "another `runs_dir`")
        raise UserError(re.sub("; `init` .* trains its net further.*", "", message)) from None
    groups = collect(config.folder for config in todo)
    with writing(out):
        draw_comparison(groups, out)
        replace_file(out / "table.md", table(groups).encode())
    print(table(groups), end="")


def configs(flags: Compare) -> Iterator[Config]:
    """A `Config` a run: seeds outermost, so that every net has one run early."""
    names = ["dataset", "data_dir", "runs_dir", "steps", "batch_size"]
    names += ["learning_rate", "muon_momentum", "label_smoothing"]
    given: dict[str, Any] = {name: getattr(flags, name) for name in names}
    changed = {name: value for name, value in given.items() if value is not None}
    for name in ("variants", "depths", "seeds"):
        if not getattr(flags, name):
            raise UserError(f"`{name}` is empty, expected at least one")
    seeds, depths = dict.fromkeys(flags.seeds), dict.fromkeys(flags.depths)
    for seed, depth, variant in itertools.product(seeds, depths, dict.fromkeys(flags.variants)):
        shortcut = None if variant == "cnn" else variant
        net = {"model": "resnet" if shortcut else "cnn", "shortcut": shortcut, "depth": depth}
        chosen = {"seed": seed, "resume": True} | net | changed
        try:
            yield Config(**recipe_values(flags.recipe, chosen) | chosen)
        except UserError as error:  # some flags have another name, because they take several values
            message = re.sub("`(depth|seed)`", r"`\1s`", str(error))
            raise UserError(message.replace("the `optimizer` sgd", "this `recipe`")) from None


def run(config: Config, which: str, images: Callable[[], Dataset]) -> None:
    """Trains unless the run is finished, and measures its gradients before the first step unless
    that is done; `images` loads those of all runs."""
    folder = config.folder
    trained = finished(config) is not None
    say(f"{which}: {folder}{' is finished' if trained else ''}")
    if trained and (folder / INITIAL).exists():
        return
    dataset = divide(images(), config)
    if not trained:
        train(config, dataset)
    with writing(folder):
        write_json(folder / INITIAL, initial_gradient_norms(config, dataset))
