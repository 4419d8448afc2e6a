"""The picture of a run."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax_resnet.output import replace_file


def draw_curves(
    records: Sequence[dict[str, Any]], path: Path, title: str, drops: Sequence[int] = ()
) -> None:
    """Loss and accuracy over the steps; `drops` of the learning rate are marked."""
    from matplotlib.figure import Figure  # no pyplot: it wants a display, and keeps every figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title, parse_math=False)
    steps = [record["step"] for record in records]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, colour in (("train", "tab:blue"), ("validation", "tab:orange")):
            values = [record.get(f"{split}_{quantity}") for record in records]
            if None not in values:
                axes.plot(steps, values, color=colour, label=split)
        for drop in drops:
            axes.axvline(drop, color="0.7", linestyle=":", zorder=0)
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.3)
        axes.legend()
    write_figure(figure, path)


def write_figure(figure: Any, path: Path) -> None:
    """A PNG of a matplotlib `Figure`, in one piece."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=120)
    replace_file(path, picture.getvalue())
