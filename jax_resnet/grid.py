"""A picture of images with what was predicted for them."""

import math
import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

MOST_COLUMNS = 8
MOST_IMAGES = 400


def draw_grid(
    images: UInt8[np.ndarray, "n h w c"], captions: Sequence[str], path: str | os.PathLike[str]
) -> None:
    """Writes a PNG of images, a caption above each, in rows of up to `MOST_COLUMNS`."""
    from matplotlib.figure import Figure  # no pyplot: it wants a display, and keeps every figure

    columns = min(len(images), MOST_COLUMNS)
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
