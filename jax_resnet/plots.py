"""Figures as PNG files: the curves of a run, and images with captions."""

import io
import itertools
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jax_resnet.errors import UserError
from jax_resnet.files import replace_file

MAX_COLUMNS = 8
MAX_IN_GRID = 400
_LOCK = threading.Lock()  # matplotlib's settings are those of all threads


@contextmanager
def drawing(width: float, height: float, **style: Any) -> Iterator[Any]:
    """Yields an empty figure, of a size in inches. In the block matplotlib's own defaults and
    `style` hold, and nothing of the user's settings, which may ask for what is not installed. One
    thread draws at a time.

    Raises:
        UserError: if matplotlib can't be imported with these settings.
    """
    try:
        import matplotlib
        from matplotlib.figure import Figure  # not pyplot, which keeps every figure
    except ValueError as error:
        raise UserError(f"matplotlib can't read its settings: {error}") from error
    # The backend is of windows; to set it would choose one.
    settings: Any = dict(matplotlib.rcParamsDefault) | style
    del settings["backend"]
    with _LOCK, matplotlib.rc_context(settings):
        yield Figure(figsize=(width, height), layout="constrained")


def draw_curves(
    records: Sequence[dict[str, Any]],
    path: str | os.PathLike[str],
    title: str,
    label_smoothing: float = 0.0,
    references: Mapping[str, float] | None = None,
) -> None:
    """Writes a PNG of loss and accuracy over the steps; a line after the last record before the
    learning rate falls to a tenth.

    Args:
        records: one for each evaluation: `step`, and `train_loss`, `train_accuracy`,
            `validation_loss`, `validation_accuracy`, `learning_rate` where they are known.
        path: of the file.
        title: above the plots.
        label_smoothing: of the training loss, which the legend says; that of validation has none.
        references: accuracies to compare with, by their names in the legend.
    """
    with drawing(10, 4) as figure:
        figure.suptitle(title, parse_math=False)
        _draw_curves(figure, records, label_smoothing, references or {})
        write_figure(figure, path)


def _draw_curves(
    figure: Any,
    records: Sequence[dict[str, Any]],
    label_smoothing: float,
    references: Mapping[str, float],
) -> None:
    steps = [record["step"] for record in records]
    rates = [record.get("learning_rate", 0.0) for record in records]
    tenth = [math.isclose(10 * new, old, rel_tol=1e-3) for old, new in itertools.pairwise(rates)]
    for axes, quantity in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
        for split, color in (("train", "tab:blue"), ("validation", "tab:orange")):
            values = [record.get(f"{split}_{quantity}") for record in records]
            if None not in values:
                label = curve_label(split, quantity, label_smoothing)
                axes.plot(steps, values, marker=marker_of(steps), color=color, label=label)
        if quantity == "accuracy":
            draw_references(axes, references)
        for drop in itertools.compress(steps, tenth):
            axes.axvline(drop, color="0.7", linestyle=":", zorder=0)
        axes.set_xlabel("step")
        axes.set_ylabel(quantity)
        axes.grid(alpha=0.3)
        axes.legend(loc=corner(quantity))


def curve_label(split: str, quantity: str, label_smoothing: float) -> str:
    """The name of a curve: losses with and without smoothed labels are not the same quantity."""
    if quantity != "loss" or not label_smoothing:
        return split
    smoothing = f"label smoothing {label_smoothing:g}" if split == "train" else "no label smoothing"
    return f"{split}, {smoothing}"


def corner(quantity: str) -> str:
    """Where a curve leaves room for the legend: matplotlib's search for it takes over a second on a
    busy machine, and then warns."""
    return "upper right" if "loss" in quantity else "lower right"


def colors_of(count: int) -> list[str]:
    """A color for each of so many curves; matplotlib's own ten come again after the tenth."""
    from matplotlib import colormaps, colors

    usual = list(colors.TABLEAU_COLORS)
    if count <= len(usual):
        return usual[:count]
    return [colors.to_hex(color) for color in colormaps["turbo"](np.linspace(0.08, 0.95, count))]


def draw_references(axes: Any, references: Mapping[str, float]) -> None:
    """A thin horizontal line at each value, named in the legend."""
    for label, value in references.items():
        axes.axhline(value, color="0.5", linewidth=0.8, label=label, zorder=0)


def marker_of(points: Sequence[float]) -> str | None:
    """A curve's marker: one point has no line, and is seen by its marker only."""
    return "o" if len(points) == 1 else None


def write_figure(figure: Any, path: str | os.PathLike[str]) -> None:
    """Writes a matplotlib `Figure` as a PNG, atomically."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=120)
    replace_file(path, content.getvalue())


def draw_grid(
    images: UInt8[np.ndarray, "n h w c"], captions: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Writes a PNG of images, a caption above each, in rows of up to `MAX_COLUMNS`.

    Raises:
        UserError: for no images, another dtype than uint8, or another number of captions.
    """
    if images.dtype != np.uint8 or not 0 < len(images) == len(captions):
        raise UserError(
            f"{len(images)} images are {images.dtype} and have {len(captions)} captions, expected "
            "uint8 pixels, and one caption for each of at least one image"
        )
    columns = min(len(images), MAX_COLUMNS)
    rows = math.ceil(len(images) / columns)
    with drawing(1.6 * columns, 1.9 * rows) as figure:
        all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for axes in all_axes:
            axes.axis("off")
        for axes, image, caption in zip(all_axes, images, captions, strict=False):
            axes.imshow(
                image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255
            )
            axes.set_title(caption, fontsize=8, parse_math=False)
        write_figure(figure, path)
