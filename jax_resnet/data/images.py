"""Image files of any kind, as arrays of one size; bad ones are refused by name.

The rules, for every file:

- The content decides the format, not the suffix: PNG, JPEG, GIF, BMP, WebP, TIFF or PPM.
- EXIF rotation is applied, color profiles are not. Metadata that can't be read is ignored.
- Transparency (an alpha channel, a transparent color) is laid over white. The fourth channel of a
  BMP is not transparency: many programs leave it empty.
- Palettes, 1-bit images and CMYK are converted to the colors that they encode.
- 16-bit gray, and 12-bit gray of a TIFF, is scaled to 8 bits; 16-bit color loses its lower bytes.
- Every image is resized (bilinear, antialiased), without regard to its aspect ratio.
- Of a multi-picture JPEG (MPO, from phones) the first picture is read. Other files with several
  frames or pages are refused, because nothing says which one is meant.
- Format, mode and tags decide, never the values of the pixels. What they leave open is refused:
  floating-point, signed or 32-bit pixels, separate planes other than 8-bit ones, and the like.
- Of a folder, what has neither an image's suffix nor can be read is left out by `predict`.
- Empty, truncated or unreadable files, and images of more than `MAX_PIXELS` pixels are refused; the
  size is read from the header, before decoding.
"""

import concurrent.futures
import io
import math
import os
import stat
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from jax_resnet.data.pixels import check, clear_color, flatten, turned, without_metadata
from jax_resnet.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

MAX_PIXELS = 2**26
MAX_BYTES = 2**30  # of a file; the pixels of a TIFF may be 8 bytes each
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
# Written by file managers, archivers and storage systems, beside what hides behind a dot.
_LITTER = {
    "thumbs.db",
    "desktop.ini",
    "__macosx",
    "lost+found",
    "@eadir",
    "@tmp",
    "@recycle",
    "#recycle",
    "#snapshot",
    "$recycle.bin",
    "system volume information",
}


def list_files(folder: Path) -> list[Path]:
    """What is in a folder, sorted by name, except what is hidden or no person put there."""
    return sorted(path for path in folder.iterdir() if not is_skipped(path.name))


def is_skipped(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or was put there by a program."""
    return name.startswith(".") or name.lower() in _LITTER


def is_foreign(path: Path) -> bool:
    """Whether a file has neither an image's name nor the content of one that can be read."""
    if path.suffix.lower() in _suffixes():
        return False
    if not path.is_file():  # opening a pipe waits for another program
        return True
    try:
        _decode(path, 1, 1, 3)
    except Exception:  # as in `decode_image`
        return True
    return False


@cache
def _suffixes() -> frozenset[str]:
    """The suffixes of images, in lower case."""
    from PIL import Image

    known = Image.registered_extensions()  # makes Pillow load its formats
    return frozenset(suffix for suffix, name in known.items() if name in FORMATS)


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
    shape = len(paths), height, width, channels
    try:
        images = np.empty(shape, np.uint8)
    except MemoryError:
        raise UserError(
            f"{len(paths)} images of {height}x{width} pixels need {math.prod(shape):,} bytes, more "
            "memory than there is: expected fewer images or a smaller `image_size`"
        ) from None

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
    from PIL import Image

    status = path.stat()
    if stat.S_ISDIR(status.st_mode):
        raise UserError("it is a folder, expected an image")
    if not stat.S_ISREG(status.st_mode):  # a pipe has no size, and may wait for another program
        raise UserError("it is not a regular file")
    if status.st_size == 0:
        raise UserError("the file is empty")
    if status.st_size > MAX_BYTES:
        raise UserError(f"more than {MAX_BYTES:,} bytes")
    content = path.read_bytes()
    try:
        flat = _read(content)
    except Exception:
        bare = without_metadata(content)
        if bare == content:
            raise
        flat = _read(bare)
    flat = flat.convert("L" if channels == 1 else "RGB")
    if flat.size != (width, height):
        flat = flat.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(flat).reshape(height, width, channels)


def _read(content: bytes) -> "Image.Image":
    """The image that a file's bytes encode, upright, as 8-bit gray or RGB."""
    from PIL import Image, UnidentifiedImageError

    enormous = f"more than {MAX_PIXELS:,} pixels"
    try:
        opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except UnidentifiedImageError:
        known = ", ".join(FORMATS)
        raise UserError(f"not an image of a known format ({known}), or of a rare kind") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise UserError(enormous) from None
    with opened as image:
        if image.width * image.height > MAX_PIXELS:
            raise UserError(enormous)
        if image.format != "MPO" and getattr(image, "n_frames", 1) > 1:
            raise UserError("it has several frames or pages, expected one")
        check(image, content)
        image.load()
        return turned(flatten(image, clear_color(content)), image)
