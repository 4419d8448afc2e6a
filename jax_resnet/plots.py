"""The picture of a run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def draw_curves(
    records: Sequence[dict[str, Any]], path: Path, title: str, drops: Sequence[int] = ()
) -> None:
    """Loss and accuracy over the steps; `drops` of the learning rate are marked."""
    from matplotlib.figure import Figure  # no pyplot: it wants a display, and keeps every figure

    figure = Figure(figsize=(10, 4), layout="constrained")
    figure.suptitle(title)
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
    unfinished = path.with_name(path.name + ".unfinished")
    figure.savefig(unfinished, format="png", dpi=120)
    unfinished.replace(path)
