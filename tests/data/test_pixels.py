"""One picture in every format, mode and depth: it comes out right, or the file is refused."""

import io

import numpy as np
import PIL
import pytest
from image_files import (
    ALPHA,
    GRAY,
    LA,
    PALETTE,
    RGB,
    RGBA,
    bmp,
    chunk,
    clear,
    gray,
    over_white,
    pack,
    png,
    premultiplied,
    tiff,
    white_where,
    wide,
)
from PIL import Image

from jax_resnet.data.images import decode_image
from jax_resnet.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # of broken metadata
REFUSED = None
CMYK = np.dstack([255 - RGB, np.zeros_like(GRAY)])
YCBCR = np.asarray(Image.fromarray(RGB).convert("YCbCr"))
COLOR_MAP = (PALETTE.T.astype(int) * 257).ravel()


@pytest.fixture
def gives(tmp_path):
    """Whether a file gives the picture, or is refused where that is `REFUSED`."""

    def check(content, picture, tolerance=1):
        path = tmp_path / "image"
        path.write_bytes(content)
        try:
            pixels = decode_image(path, 16, 16, 3).astype(int)
        except UserError:  # an old Pillow refuses more kinds
            assert picture is REFUSED or PIL.__version__ < "12"
            return
        assert picture is not REFUSED
        np.testing.assert_allclose(pixels, picture, atol=tolerance)

    return check


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("white_is_zero", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 12, 16, 32])
def test_gray_tiff(gives, bits, white_is_zero, order, compression):
    values = wide(GRAY, bits)
    stored = 2**bits - 1 - values.astype(np.int64) if white_is_zero else values
    content = tiff(stored.astype(values.dtype), 1 - white_is_zero, bits, compression, order=order)
    unknown = [(12, True, "<"), (12, True, ">"), (12, False, ">"), (16, True, ">")]
    refused = bits == 32 or (bits, white_is_zero, order) in unknown
    gives(content, REFUSED if refused else gray(values / (2**bits - 1) * 255))


TIFFS = [
    (RGB, 2, {}, RGB),
    (RGB, 2, {"planar": 2}, RGB),
    (RGBA, 2, {"extra": 0}, RGB),
    (RGBA, 2, {"extra": 2}, over_white(RGBA)),
    (RGBA, 2, {"extra": 2, "planar": 2}, over_white(RGBA)),
    (np.dstack([RGBA, GRAY]), 2, {"extra": [2, 0]}, over_white(RGBA)),
    (premultiplied(RGBA), 2, {"extra": 1}, over_white(RGBA)),
    (premultiplied(RGBA), 2, {"extra": 1, "planar": 2}, REFUSED),
    (LA, 1, {"extra": 0}, gray(GRAY)),
    (LA, 1, {"extra": 2}, over_white(LA)),
    (premultiplied(LA), 1, {"extra": 1}, over_white(LA)),
    (GRAY, 1, {"planar": 2}, gray(GRAY)),
    (GRAY, 0, {"planar": 2}, REFUSED),
    (CMYK, 5, {}, RGB),
    (CMYK, 5, {"planar": 2}, RGB),
    (GRAY, 3, {"map": COLOR_MAP}, PALETTE[GRAY]),
    (GRAY, 3, {"map": COLOR_MAP, "planar": 2}, REFUSED),
    (LA, 3, {"map": COLOR_MAP, "extra": 0}, PALETTE[GRAY]),
    (LA, 3, {"map": COLOR_MAP, "extra": 2}, over_white(np.dstack([PALETTE[GRAY], ALPHA]))),
    (GRAY, 3, {"map": COLOR_MAP // 256}, REFUSED),
    (0 * GRAY, 3, {"map": 0 * COLOR_MAP}, gray(0 * GRAY)),
    (RGBA, 2, {}, REFUSED),
    (LA, 1, {}, REFUSED),
    (LA, 3, {"map": COLOR_MAP}, REFUSED),
    (np.dstack([CMYK, GRAY]), 5, {}, REFUSED),
    (GRAY, None, {}, REFUSED),
    (GRAY, 1, {"format": 2}, REFUSED),
    (GRAY, 1, {"format": 4}, REFUSED),
    (RGB, 8, {}, REFUSED),
    (np.rot90(RGB), 2, {"orientation": 6}, RGB),
    (RGB, 2, {"orientation": 9}, RGB),
    (RGB, 2, {"exif": 3}, RGB),
    (RGB, 2, {"exif": 10**9}, RGB),
]
WIDE_TIFFS = [
    (wide(RGB), 2, {}, RGB),
    (wide(RGB), 2, {"planar": 2}, REFUSED),
    (wide(RGBA), 2, {"extra": 2}, over_white(RGBA)),
    (wide(premultiplied(RGBA)), 2, {"extra": 1}, over_white(RGBA)),
    (wide(LA), 1, {"extra": 2}, REFUSED),
    (wide(GRAY), 1, {"planar": 2}, REFUSED),
    (wide(CMYK), 5, {}, RGB),
    (wide(GRAY), 1, {"format": 2}, REFUSED),
    (wide(GRAY), 1, {"format": 3}, REFUSED),
    (np.rot90(wide(GRAY)), 1, {"orientation": 6}, gray(GRAY)),
]


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("order", "<>")
def test_other_tiffs(gives, order, compression):
    for bits, files in ((8, TIFFS), (16, WIDE_TIFFS)):
        for pixels, photometric, tags, picture in files:
            content = tiff(pixels, photometric, bits, compression, order, **tags)
            gives(content, picture, tolerance=2)


def test_ycbcr_tiffs(gives):
    gives(tiff(YCBCR, 6, subsampling=[1, 1]), RGB, tolerance=4)
    gives(tiff(YCBCR, 6, subsampling=[2, 2]), REFUSED)
    gives(tiff(YCBCR, 6), REFUSED)


@pytest.mark.parametrize("depth", [1, 2, 4, 8, 16])
def test_gray_png(gives, depth):
    values = wide(GRAY, depth).astype(np.uint16)
    picture = gray(values / (2**depth - 1) * 255)
    gives(png(values, 0, depth), picture)
    for value in {0, 1, 2 ** (depth - 1), 2**depth - 1}:
        expected = white_where(values == value, picture)
        gives(png(values, 0, depth, clear(value)), expected)
        if depth < 16:  # higher bits have no meaning
            gives(png(values, 0, depth, clear(value + 2**depth)), expected)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_palette_png(gives, depth):
    values, palette = GRAY & (2**depth - 1), chunk(b"PLTE", PALETTE[: 2**depth].tobytes())
    picture = PALETTE[values]
    gives(png(values, 3, depth, palette), picture)
    for alpha in (0, 100):
        alphas = np.where(values == 1, alpha, 255)
        content = png(values, 3, depth, palette, chunk(b"tRNS", bytes([255, alpha])))
        gives(content, over_white(np.dstack([picture, alphas])))


def test_color_pngs(gives):
    clear_rgb = clear(*RGB[3, 5].tolist())
    gives(png(RGB, 2), RGB)
    gives(png(RGB, 2, 8, clear_rgb), white_where((RGB[3, 5] == RGB).all(axis=2), RGB))
    gives(png(wide(RGB), 2, 16), RGB)
    gives(png(wide(RGB), 2, 16, clear_rgb), REFUSED)
    gives(png(LA, 4), over_white(LA))
    gives(png(wide(LA), 4, 16), over_white(LA))
    gives(png(RGBA, 6), over_white(RGBA))
    gives(png(wide(RGBA), 6, 16), over_white(RGBA))


KINDS = b"eXIf iCCP tEXt zTXt iTXt pHYs gAMA sRGB cHRM tIME sBIT bKGD prIv"


@pytest.mark.parametrize("kind", KINDS.split())
def test_broken_metadata_leaves_the_pixels_of_a_png(gives, kind):
    broken = (b"", b"\0", b"\0\x08\0\x02\x01\x12\0\x03", b"a\0\0" + bytes(50), b"a\0\7" + bytes(50))
    for data in (*broken, b"XML:com.adobe.xmp\0\1\0\0\0z", bytes(range(256))):
        gives(png(RGB, 2, 8, chunk(kind, data)), RGB)
        gives(png(RGB, 2, 8, chunk(kind, data, crc=0)), RGB)
    gives(png(RGB, 2, 8, chunk(b"tRNS", b"")), REFUSED)


def exif(orientation):
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags.tobytes()


def test_whole_exif_is_obeyed_beside_broken_metadata(gives):
    turn, broken = chunk(b"eXIf", exif(6)[6:]), chunk(b"pHYs", b"")
    gives(png(np.rot90(RGB), 2, 8, turn), RGB)
    gives(png(np.rot90(RGB), 2, 8, turn, broken), RGB)


@pytest.mark.parametrize("format", ["JPEG", "WEBP"])
def test_broken_exif_leaves_the_pixels(gives, format):
    for orientation in (b"\0\7", b"\xff\xff"):
        whole = exif(1)
        for broken in (whole[:9] + b"\xff" + whole[10:], whole[:20], whole[:-6] + orientation * 3):
            options = {"exif": broken, "lossless": True} if format == "WEBP" else {"exif": broken}
            gives(
                saved(Image.new("RGB", (16, 16), (90, 90, 90)), format, **options),
                gray(GRAY * 0 + 90),
            )


def saved(image, format, **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def test_the_fourth_channel_of_a_bmp_is_ignored(gives):
    masks = (0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    for alpha in (np.zeros_like(ALPHA), ALPHA):
        rows = np.dstack([RGB[..., ::-1], alpha])[::-1].tobytes()
        gives(bmp(32, rows), RGB)
        gives(bmp(32, rows, masks=masks[:3]), RGB)
        gives(bmp(32, rows, masks=masks, header=56), RGB)
        gives(bmp(32, rows, masks=masks, header=124), RGB)


def test_other_bmps(gives):
    gives(bmp(24, RGB[::-1, :, ::-1].tobytes()), RGB)
    black_and_white = np.repeat([[0], [255]], 3, axis=1)
    for bits in (1, 4, 8):
        values = GRAY & (2**bits - 1)
        rows = b"".join(pack(row[None], bits).ljust(4, b"\0") for row in values[::-1])
        for palette in (PALETTE[: 2**bits], PALETTE[: 2**bits][::-1]):
            gives(bmp(bits, rows, palette), palette[values])
        rows = b"".join(pack(row[None], bits).ljust(4, b"\0") for row in values[::-1] & 1)
        picture = black_and_white[values & 1] if bits == 1 else REFUSED
        gives(bmp(bits, rows, black_and_white, colors=2), picture)
        gives(bmp(bits, rows, black_and_white[::-1], colors=2), black_and_white[1 - (values & 1)])
    fives = RGB.astype("<u2") >> 3
    rows = (fives[..., 0] << 10 | fives[..., 1] << 5 | fives[..., 2])[::-1].tobytes()
    gives(bmp(16, rows), fives / 31 * 255)
    gives(bmp(16, rows, masks=(0x7C00, 0x3E0, 0x1F)), fives / 31 * 255)
    gives(bmp(16, rows, masks=(0xF00, 0xF0, 0xF)), REFUSED)


@pytest.mark.parametrize("maximum", [1, 3, 100, 255, 256, 4095, 65535])
def test_ppms(gives, maximum):
    for kind, pixels in ((5, GRAY), (6, RGB)):
        values = np.rint(pixels / 255.0 * maximum).astype(">u2" if maximum > 255 else "u1")
        picture = values / maximum * 255
        picture = picture if kind == 6 else gray(picture)
        gives(b"P%d 16 16 %d\n" % (kind, maximum) + values.tobytes(), picture)
        text = " ".join(map(str, values.ravel().tolist())).encode()
        gives(b"P%d 16 16 %d\n" % (kind - 3, maximum) + text, picture)


def test_gifs_and_webps(gives):
    palette = Image.fromarray(GRAY).convert("P")
    palette.putpalette(PALETTE.ravel().tolist())
    for image, picture in ((palette, PALETTE[GRAY]), (Image.fromarray(GRAY), gray(GRAY))):
        gives(saved(image, "GIF"), picture)
        gives(saved(image, "GIF", transparency=7), white_where(GRAY == 7, picture))
    larger_screen = bytearray(saved(palette, "GIF"))
    larger_screen[6] = 32
    gives(bytes(larger_screen), REFUSED)
    gives(saved(Image.fromarray(RGB), "WEBP", lossless=True), RGB)
    gives(saved(Image.fromarray(RGBA), "WEBP", lossless=True, exact=True), over_white(RGBA))
