"""From an opened image file to 8-bit gray or RGB, as the file's format, mode and tags say.

The values of the pixels decide nothing; what a decoder is known to misread is refused.
"""

import zlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from jax_resnet.errors import UserError

if TYPE_CHECKING:
    from PIL import Image

_WIDE = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # gray of 9 to 16 bits, after `check`
_MODES = ("1", "L", "La", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", *_WIDE)
_TIFF_SAMPLES = {0: 1, 1: 1, 2: 3, 3: 1, 5: 4, 6: 3}  # of a pixel, by PhotometricInterpretation
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_PIXELS = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND", b"acTL", b"fcTL", b"fdAT")


def check(image: Any, content: bytes) -> None:
    """Raises a `UserError` for an image, not yet loaded, that would be misread.

    Args:
        image: as Pillow opened it, of its class for the format.
        content: of the file.
    """
    if image.format == "TIFF":
        _check_tiff(image.tag_v2, image.info.get("compression") == "raw")
    elif image.format == "BMP":
        bits = content[24] if content[14] == 12 else content[28]  # two kinds of header
        if image.mode == "1" and bits != 1:  # Pillow decides by the number of colors in use
            raise UserError(f"a black and white palette for {bits} bits, expected 1 bit")
    elif image.format == "GIF" and tuple(image.tile[0][1]) != (0, 0, *image.size):
        raise UserError("its frame covers a part of it, expected the whole")
    elif image.mode == "I" and image.format not in ("PNG", "PPM"):
        raise UserError("32-bit pixels, expected 8 or 16 bits")
    if image.mode == "F":
        raise UserError("floating-point pixels, expected 8 or 16 bits")
    if image.mode not in _MODES:
        raise UserError(f"pixels of mode {image.mode}, expected gray, a palette, RGB or CMYK")


def _check_tiff(tags: Any, raw: bool) -> None:
    photometric, planar = tags.get(262), tags.get(284, 1)
    bits, formats = set(tags.get(258, (1,))), set(tags.get(339, (1,)))
    if 3 in formats:
        raise UserError("floating-point pixels, expected 8 or 16 bits")
    if max(bits) > 16:
        raise UserError("32-bit pixels, expected 8 or 16 bits")
    if formats != {1}:
        raise UserError("signed or undefined pixels, expected unsigned ones of 8 or 16 bits")
    if photometric is None:
        raise UserError("its tags don't say how a color is encoded (PhotometricInterpretation)")
    if tags.get(277, 1) > _TIFF_SAMPLES.get(photometric, 9) and not tags.get(338):
        raise UserError("its tags don't say what the last value of a pixel is (ExtraSamples)")
    if photometric == 3 and 0 < max(tags.get(320, (0,))) < 256:  # nearly black, or of another scale
        raise UserError("a color map of 8 bits, expected 16 bits")
    if planar != 1 and (bits != {8} or photometric not in (1, 2, 5) or 1 in tags.get(338, ())):
        raise UserError("separate planes of other than 8-bit gray, RGB or CMYK")
    if photometric == 6 and raw and tuple(tags.get(530, (2, 2))) != (1, 1):
        raise UserError("subsampled YCbCr without compression")


def flatten(image: "Image.Image", clear: "np.ndarray | None" = None) -> "Image.Image":
    """A loaded image as 8-bit gray or RGB, without transparency.

    Args:
        image: as Pillow loaded it, `check`ed.
        clear: the value, or the values by channel, of a transparent pixel; from `clear_color`.
    """
    from PIL import Image

    if image.mode in _WIDE:
        values = np.asarray(image).astype(np.int64)
        is_clear = values == clear
        tags = getattr(image, "tag_v2", {})  # of TIFF
        maximum = 2 ** tags.get(258, (16,))[0] - 1
        values = maximum - values if tags.get(262) == 0 else values  # white is zero
        pixels = np.rint(values / (maximum / 255)).astype(np.uint8)
        return Image.fromarray(np.where(is_clear, np.uint8(255), pixels))
    if clear is not None:
        pixels = np.array(image.convert("RGB"))
        pixels[(pixels == clear).all(axis=2)] = 255
        return Image.fromarray(pixels)
    if image.mode == "La":
        image = image.convert("LA")
    if image.has_transparency_data and image.format != "BMP":
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "L" else image.convert("RGB")


def clear_color(content: bytes) -> "np.ndarray | None":
    """The color that a gray or RGB PNG declares transparent, if it does; 16-bit or 8-bit values.

    Raises:
        UserError: for one of 16-bit RGB, of which only 8 bits are decoded.
    """
    chunks = dict(reversed([*_png_chunks(content)]))  # the first of each kind
    data = chunks.get(b"tRNS")
    if data is None or b"IHDR" not in chunks:
        return None
    depth, kind = chunks[b"IHDR"][16], chunks[b"IHDR"][17]
    if kind not in (0, 2):
        return None
    if (kind, depth) == (2, 16):
        raise UserError("a transparent color of 16-bit RGB, expected 8 bits or an alpha channel")
    values = np.frombuffer(data[8:-4], ">u2").astype(np.int64) & (2**depth - 1)
    return values if depth == 16 else values * 255 // (2**depth - 1)


def without_metadata(content: bytes) -> bytes:
    """A PNG without the chunks that its pixels don't need; EXIF stays if it is whole.

    Other files are returned as they are.
    """
    if not content.startswith(_PNG_SIGNATURE):
        return content
    kept = [
        chunk
        for kind, chunk in _png_chunks(content)
        if kind in _PNG_PIXELS
        or (kind == b"eXIf" and zlib.crc32(chunk[4:-4]) == int.from_bytes(chunk[-4:], "big"))
    ]
    return b"".join([_PNG_SIGNATURE, *kept])


def _png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The kind and the bytes of each chunk of a PNG; nothing for other files."""
    at = len(_PNG_SIGNATURE) if content.startswith(_PNG_SIGNATURE) else len(content)
    while at < len(content):
        end = at + 12 + int.from_bytes(content[at : at + 4], "big")
        yield content[at + 4 : at + 8], content[at:end]
        at = end


def turned(flat: "Image.Image", image: "Image.Image") -> "Image.Image":
    """`flat` as the EXIF orientation of `image` says; as it is, where that can't be read."""
    from PIL import ImageOps

    try:
        orientation = image.getexif().get(0x0112)
    except Exception:  # broken metadata can raise nearly anything, and is no part of the pixels
        return flat
    flat.info = {}  # `exif_transpose` would read and write what is broken there
    flat.getexif()[0x0112] = orientation
    return ImageOps.exif_transpose(flat)
