"""Pictures as PNG files: the curves of a run, images with their predictions."""

import io
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jax_resnet.files import replace_file

MAX_COLUMNS = 8
MAX_IMAGES = 400


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


def draw_grid(
    images: UInt8[np.ndarray, "n h w c"], captions: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Writes a PNG of images, a caption above each, in rows of up to `MAX_COLUMNS`."""
    from matplotlib.figure import Figure  # no pyplot: it wants a display, and keeps every figure

    columns = min(len(images), MAX_COLUMNS)
    rows = math.ceil(len(images) / columns)
    figure = Figure(figsize=(1.6 * columns, 1.9 * rows), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axes in all_axes:
        axes.axis("off")
    for axes, image, caption in zip(all_axes, images, captions, strict=False):
        axes.imshow(
            image.squeeze(-1) if image.shape[-1] == 1 else image, cmap="gray", vmin=0, vmax=255
        )
        axes.set_title(caption, fontsize=8, parse_math=False)
    figure.savefig(path, format="png", dpi=120)
