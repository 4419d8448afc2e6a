"""The figures of a comparison: curves, test accuracies, gradient norms."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.model import PARTS
from jax_resnet.plots import colors_of, corner, drawing, marker_of, write_figure
from jax_resnet.report.comparison import Group, net_names
from jax_resnet.training.published import PUBLISHED

QUANTITIES = ("train_loss", "validation_loss", "train_accuracy", "validation_accuracy")
MARKERS = dict(zip(PUBLISHED, ("C1D", "C2s"), strict=True))
OFFSET = 0.2  # of the distance between two nets, so that no mark hides another

Labeled = Sequence[tuple[str, Group]]


def draw_comparison(groups: Sequence[Group], folder: Path) -> list[Path]:
    """Writes `train_loss.png` and the like, `test_accuracy.png` and `gradient_norms.png`.

    Returns:
        The paths of the figures; those of validation are left out, and removed if they are there
        from before, if a run has none.
    """
    names = net_names(groups)
    labeled = [(f"{name}-{g.depth}", g) for name, g in zip(names, groups, strict=True)]
    paths = []
    for quantity in QUANTITIES:
        path = folder / f"{quantity}.png"
        if all(quantity in line for group in groups for run in group.records for line in run):
            paths.append(_figure(path, _draw_curves, labeled, quantity))
        else:
            path.unlink(missing_ok=True)
    paths.append(_figure(folder / "test_accuracy.png", _draw_points, labeled))
    paths.append(_figure(folder / "gradient_norms.png", _draw_norms, labeled))
    return paths


def _figure(path: Path, draw: Callable[..., None], *arguments: Any) -> Path:
    with drawing(7, 4.5) as figure:
        draw(figure, *arguments)
        write_figure(figure, path)
    return path


def _draw_curves(figure: Any, groups: Labeled, quantity: str) -> None:
    """The mean over the seeds as a line, their range as a band."""
    axes = figure.subplots()
    axes.set_prop_cycle(color=colors_of(len(groups)))
    for label, group in groups:
        steps = [line["step"] for line in group.records[0]]
        values = np.array([[line[quantity] for line in run] for run in group.records])
        (line,) = axes.plot(steps, values.mean(0), marker=marker_of(steps), label=label)
        axes.fill_between(
            steps, values.min(0), values.max(0), color=line.get_color(), alpha=0.2, linewidth=0
        )
    axes.set_xlabel("step")
    axes.set_ylabel(quantity.replace("_", " "))
    axes.grid(alpha=0.3)
    axes.legend(loc=corner(quantity))


def _draw_points(figure: Any, groups: Labeled) -> None:
    """The mean of each net's seeds with their standard deviation; where there are several, each of
    them to the left; and to the right the published accuracies."""
    nets = [(place, group) for place, (_, group) in enumerate(groups)]
    several = [(place, g) for place, g in nets if g.std is not None]
    name = "mean ± standard deviation" if several else "one seed"
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    points[name, "o"] = [(place, g.mean) for place, g in nets]
    points["a seed", "k."] = [(x - OFFSET, value) for x, g in several for value in g.accuracies]
    for source, marker in MARKERS.items():
        found = [(place + OFFSET, g.published(source)) for place, g in nets]
        points[source, marker] = [(x, value) for x, value in found if value is not None]
    axes = figure.subplots()
    for (name, marker), pairs in points.items():
        if pairs:
            axes.plot(*zip(*pairs, strict=True), marker, label=name)
    for place, g in several:
        axes.errorbar(place, g.mean, g.std, color="C0", capsize=6)
    axes.set_xlim(-0.5, len(nets) - 0.5)
    axes.set_xticks(range(len(nets)), [label.replace(" ", "\n") for label, _ in groups])
    axes.set_ylabel("test accuracy")
    axes.grid(alpha=0.3, axis="y")
    figure.legend(loc="outside upper center", ncols=len(points))


def _draw_norms(figure: Any, groups: Labeled) -> None:
    """A panel for each part of the net; the dot at step 0 is the norm at initialization."""
    figure.set_size_inches(3 * len(PARTS), 3.5)
    panels = figure.subplots(1, len(PARTS), sharey=True)
    for axes, part in zip(panels, PARTS, strict=True):
        axes.set_prop_cycle(color=colors_of(len(groups)))
        for label, group in groups:
            run = group.records[0]
            steps = [line["step"] for line in run]
            norms = [line["gradient_norms"][part] for line in run]
            (line,) = axes.plot(steps, norms, marker=marker_of(steps), label=label)
            if group.initial:
                axes.plot([0], [group.initial[0][part]], "o", color=line.get_color())
        axes.set_yscale("log")
        axes.set_title(part)
        axes.set_xlabel("step")
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("L2 norm of the gradient")
    panels[0].legend(loc="upper right", fontsize="small")
