"""Image files of any kind, as arrays of one size; bad ones are refused by name.

The rules, for every file:

- The content decides the format, not the suffix: PNG, JPEG, GIF, BMP, WebP, TIFF or PPM.
- EXIF rotation is applied, colour profiles are not.
- Transparency (RGBA, gray with alpha, a palette with a transparent colour) is laid over white.
- Palettes, 1-bit images and CMYK are converted to the colours that they encode.
- 16-bit gray is scaled to 8 bits; 16-bit colour loses its lower bytes.
- Every image is resized (bilinear, antialiased), without regard to its aspect ratio.
- Of a multi-picture JPEG (MPO, from phones) the first picture is read. Other files with several
  frames or pages are refused, because nothing says which one is meant.
- Empty, truncated or unreadable files, floating-point or 32-bit gray, and images of more than
  `MAX_PIXELS` pixels are refused; the size is read from the header, before decoding.
"""

import concurrent.futures
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jax_resnet.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 2**26
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# Written by file managers.
_LITTER = ("Thumbs.db", "desktop.ini")


def list_files(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, except hidden files and those of file managers."""
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.name not in _LITTER
    )


def decode_image(
    path: str | os.PathLike[str], height: int, width: int, channels: int
) -> np.ndarray:
    """Reads one image file by the rules at the top of this module.

    Args:
        path: the file.
        height: in pixels, of the result.
        width: in pixels, of the result.
        channels: 1 for gray (ITU-R 601 luma), 3 for RGB.

    Returns:
        uint8 `(height, width, channels)`.

    Raises:
        UserError: for a file that is refused, naming it and the reason.
    """
    try:
        return _decode(Path(path), height, width, channels)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    # A damaged file can make a decoder raise nearly anything.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{path}: cannot be read as an image: {reason}") from None


def decode_images(
    paths: Sequence[str | os.PathLike[str]], height: int, width: int, channels: int
) -> np.ndarray:
    """Reads image files, in threads.

    Returns:
        uint8 `(len(paths), height, width, channels)`, in the order of `paths`.

    Raises:
        UserError: listing every bad file, a line each.
    """
    images = np.empty((len(paths), height, width, channels), np.uint8)

    def decode(index: int) -> str | None:
        try:
            images[index] = decode_image(paths[index], height, width, channels)
        except UserError as error:
            return str(error)
        return None

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        bad = [message for message in pool.map(decode, range(len(paths))) if message]
    if bad:
        count = "1 file is" if len(bad) == 1 else f"{len(bad)} files are"
        raise UserError("\n  ".join([f"{count} not usable as images:", *bad]))
    return images


def _decode(path: Path, height: int, width: int, channels: int) -> np.ndarray:
    from PIL import Image, ImageOps, UnidentifiedImageError

    enormous = f"more than {MAX_PIXELS:,} pixels"
    if path.stat().st_size == 0:
        raise UserError("the file is empty")
    try:
        opened = Image.open(path, formats=_FORMATS)
    except UnidentifiedImageError:
        raise UserError(f"not an image of a known format ({', '.join(_FORMATS)})") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(enormous) from None
    with opened as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(enormous)
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise UserError("it has several frames or pages, expected one")
        image.load()
        flat = _flatten(ImageOps.exif_transpose(image))
    flat = flat.convert("L" if channels == 1 else "RGB")
    if flat.size != (width, height):
        flat = flat.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(flat).reshape(height, width, channels)


def _flatten(image: "Image.Image") -> "Image.Image":
    """The image as 8-bit gray or RGB, without transparency."""
    from PIL import Image

    if image.mode == "F":
        raise UserError("floating-point pixels, expected 8 or 16 bits")
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise UserError("32-bit pixels, expected 8 or 16 bits")
        return Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")
