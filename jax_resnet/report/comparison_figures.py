"""The figures of a comparison: curves, test accuracies, gradient norms."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.model import PARTS
from jax_resnet.plots import corner, write_figure
from jax_resnet.report.comparison import Group, net_names
from jax_resnet.training.published import PUBLISHED

QUANTITIES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
MARKERS = dict(zip(PUBLISHED, ("C1D", "C2s"), strict=True))

Labelled = Sequence[tuple[str, Group]]


def draw_comparison(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Writes `train_loss.png` and the like, `test_accuracy.png` and `gradient_norms.png`.

    Returns:
        The paths of the figures; those of validation are left out if a run has none.
    """
    names = net_names(groups)
    labelled = [(f"{name}-{g.depth}", g) for name, g in zip(names, groups, strict=True)]
    paths = []
    for quantity in QUANTITIES:
        if all(quantity in line for group in groups for run in group.records for line in run):
            paths.append(_figure(folder / f"{quantity}.png", _curves(labelled, quantity)))
    paths.append(_figure(folder / "test_accuracy.png", _bars(labelled)))
    paths.append(_figure(folder / "gradient_norms.png", _norms(labelled)))
    return paths


def _figure(path: Path, draw: Callable[[Any], None]) -> Path:
    from matplotlib.figure import Figure  # pyplot needs a display, and keeps every figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    draw(figure)
    write_figure(figure, path)
    return path


def _curves(groups: Labelled, quantity: str) -> Callable[[Any], None]:
    """The mean over the seeds as a line, their range as a band."""

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        for label, group in groups:
            shortest = min(map(len, group.records))
            steps = [line["step"] for line in group.records[0][:shortest]]
            values = np.array(
                [[line[quantity] for line in run[:shortest]] for run in group.records]
            )
            (line,) = axes.plot(steps, values.mean(0), label=label)
            axes.fill_between(
                steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0
            )
        axes.set_xlabel("step")
        axes.set_ylabel(quantity.replace("_", " "))
        axes.grid(alpha=0.3)
        axes.legend(loc=corner(quantity))

    return draw


def _bars(groups: Labelled) -> Callable[[Any], None]:
    """Means with their standard deviations, each seed, and the published accuracies."""
    points = {("a seed", "k."): [(label, value) for label, g in groups for value in g.accuracies]}
    for source, marker in MARKERS.items():
        found = [(label, g.published(source)) for label, g in groups]
        points[source, marker] = [(label, value) for label, value in found if value is not None]

    def draw(figure: Any) -> None:
        axes = figure.subplots()
        means, stds = [g.mean for _, g in groups], [g.std or 0 for _, g in groups]
        axes.bar([label for label, _ in groups], means, yerr=stds, capsize=8, alpha=0.6)
        for (name, marker), pairs in points.items():
            if pairs:
                axes.plot(*zip(*pairs, strict=True), marker, label=name)
        accuracies = [accuracy for pairs in points.values() for _, accuracy in pairs]
        axes.set_ylim(max(0.0, min(accuracies) - 0.02), min(1.0, max(accuracies) + 0.02))
        axes.set_ylabel("test accuracy")
        axes.grid(alpha=0.3, axis="y")
        axes.legend(loc="upper right")

    return draw


def _norms(groups: Labelled) -> Callable[[Any], None]:
    """A panel for each part of the net; the dot at step 0 is the norm at initialisation."""

    def draw(figure: Any) -> None:
        figure.set_size_inches(3 * len(PARTS), 3.5)
        panels = figure.subplots(1, len(PARTS), sharey=True)
        for axes, part in zip(panels, PARTS, strict=True):
            for label, group in groups:
                run = group.records[0]
                steps = [line["step"] for line in run]
                norms = [line["gradient_norms"][part] for line in run]
                (line,) = axes.plot(steps, norms, label=label)
                if group.initial:
                    axes.plot([0], [group.initial[0][part]], "o", color=line.get_color())
            axes.set_yscale("log")
            axes.set_title(part)
            axes.set_xlabel("step")
            axes.grid(alpha=0.3)
        panels[0].set_ylabel("L2 norm of the gradient")
        panels[0].legend(loc="upper right", fontsize="small")

    return draw
