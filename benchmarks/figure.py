"""The figure of `benchmark.py`: how the cost grows with depth, batch and devices."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from case import Case

from jax_resnet.plots import drawing, write_figure

AXES = {"depth": "layers", "batch_size": "images a step", "devices": "devices"}


def draw_figure(rows: Sequence[dict[str, Any]], path: Path) -> None:
    """Writes a PNG: milliseconds per image of a training step, a line for each implementation."""
    with drawing(11, 3.6) as figure:
        _draw(figure, rows)
        write_figure(figure, path)


def _draw(figure: Any, rows: Sequence[dict[str, Any]]) -> None:
    for axes, (varied, label) in zip(figure.subplots(1, 3), AXES.items(), strict=True):
        same = {name: value for name, value in asdict(Case()).items() if name != varied}
        lines: dict[str, list[tuple[int, float]]] = {}
        for row in rows:
            if all(row[name] == value for name, value in same.items()):
                point = (row[varied], 1000 / row["images_per_second"])
                lines.setdefault(row["implementation"], []).append(point)
        for name, points in lines.items():
            axes.plot(*zip(*sorted(points), strict=True), marker="o", label=name)
        axes.set_xlabel(label)
        axes.set_xticks(sorted({x for points in lines.values() for x, _ in points}))
        axes.set_ylim(bottom=0)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("ms per image")
    figure.axes[0].legend(fontsize="small")
