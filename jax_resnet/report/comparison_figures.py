"""The pictures of a comparison: the article's four, test accuracies, gradient norms."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.plots import write_figure
from jax_resnet.report.comparison import Group

QUANTITIES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
PARTS = ("stem_conv", "stage1", "stage2", "stage3", "head")


def draw_comparison(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Writes PNGs: one a quantity, each net a line and its seeds a band; the bars of test
    accuracies; and `gradient_norms.png`. Returns their paths."""
    paths = []
    for quantity in QUANTITIES:
        if all(quantity in line for group in groups for run in group.records for line in run):
            paths.append(_figure(folder / f"{quantity}.png", _curves(groups, quantity)))
    paths.append(_figure(folder / "test_accuracy.png", _bars(groups)))
    paths.append(_figure(folder / "gradient_norms.png", _norms(groups)))
    return paths


def _figure(path: Path, draw: Callable[[Any], None]) -> Path:
    from matplotlib.figure import Figure  # no pyplot: it wants a display, and keeps every figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    draw(figure)
    write_figure(figure, path)
    return path


def _curves(groups: Sequence[Group], quantity: str) -> Callable[[Any], None]:
    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for group in groups:
            shortest = min(map(len, group.records))
            steps = [line["step"] for line in group.records[0][:shortest]]
            values = np.array(
                [[line[quantity] for line in run[:shortest]] for run in group.records]
            )
            (line,) = axes.plot(steps, values.mean(0), label=group.label)
            axes.fill_between(
                steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0
            )
        axes.set_xlabel("step")
        axes.set_ylabel(quantity.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend()

    return draw


def _bars(groups: Sequence[Group]) -> Callable[[Any], None]:
    """Means with their standard deviations, each seed, and what was published of the same net."""
    every: list[tuple[str, str, list[tuple[str, float]]]] = [
        ("a seed", "k.", [(g.label, accuracy) for g in groups for accuracy in g.accuracies]),
        ("the article", "C1D", [(g.label, g.article) for g in groups if g.article]),
        ("the paper", "C2s", [(g.label, g.paper) for g in groups if g.paper]),
    ]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        labels, means = [g.label for g in groups], [g.mean for g in groups]
        axes.bar(labels, means, yerr=[g.deviation or 0 for g in groups], capsize=8, alpha=0.6)
        for name, marker, points in every:
            if points:
                axes.plot(*zip(*points, strict=True), marker, label=name)
        accuracies = [accuracy for _, _, points in every for _, accuracy in points]
        axes.set_ylim(max(0.0, min(accuracies) - 0.02), min(1.0, max(accuracies) + 0.02))
        axes.set_ylabel("test accuracy")
        axes.grid(alpha=0.3, axis="y")
        axes.legend()

    return draw


def _norms(groups: Sequence[Group]) -> Callable[[Any], None]:
    """Each part of the net a panel; the dot at step 0 is the norm at initialisation."""

    def draw(figure: Any) -> None:
        figure.set_size_inches(3 * len(PARTS), 3.5)
        every = figure.subplots(1, len(PARTS), sharey=True)
        for axes, part in zip(every, PARTS, strict=True):
            for group in groups:
                run = group.records[0]
                steps = [line["step"] for line in run]
                norms = [line["gradient_norms"][part] for line in run]
                (line,) = axes.plot(steps, norms, label=group.label)
                if group.initial:
                    axes.plot([0], [group.initial[0][part]], "o", color=line.get_color())
            axes.set_yscale("log")
            axes.set_title(part)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
        every[0].set_ylabel("L2 norm of the gradient")
        every[0].legend(fontsize="small")

    return draw
