"""What becomes of every kind of image file."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data.images import decode_image, decode_images
from jax_resnet.errors import UserError

ORANGE = (250, 130, 10)


def save(path, image, **options):
    image.save(path, **options)
    return path


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "tif", "ppm", "webp", "jpg"])
def test_every_format_gives_its_color(tmp_path, suffix):
    options = {"lossless": True} if suffix == "webp" else {}
    path = save(tmp_path / f"image.{suffix}", Image.new("RGB", (9, 7), ORANGE), **options)
    pixels = decode_image(path, 7, 9, 3)
    assert pixels.shape == (7, 9, 3)
    assert pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[3, 4].astype(int), ORANGE, atol=3)


def test_gray_is_luma_and_any_size_is_resized(tmp_path):
    path = save(tmp_path / "a.png", Image.new("RGB", (100, 30), ORANGE))
    pixels = decode_image(path, 5, 8, 1)
    assert pixels.shape == (5, 8, 1)
    luma = 0.299 * ORANGE[0] + 0.587 * ORANGE[1] + 0.114 * ORANGE[2]
    np.testing.assert_allclose(pixels, luma, atol=1)


def test_an_image_of_the_right_size_is_taken_pixel_by_pixel(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)
    path = save(tmp_path / "a.png", Image.fromarray(pixels))
    np.testing.assert_array_equal(decode_image(path, 6, 5, 3), pixels)


def test_exif_rotation_is_obeyed(tmp_path):
    image = Image.new("RGB", (16, 8), "black")
    image.paste("white", (0, 0, 8, 8))
    exif = Image.Exif()
    exif[0x0112] = 6  # shown a quarter turn clockwise: the left half comes to the top
    path = save(tmp_path / "a.jpg", image, exif=exif, quality=95)
    pixels = decode_image(path, 16, 8, 1)
    assert pixels[:7].min() > 200
    assert pixels[9:].max() < 50


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_over_white(tmp_path, mode):
    clear = Image.new(mode, (4, 4), 0)
    assert decode_image(save(tmp_path / "a.png", clear), 4, 4, 3).min() == 255
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert abs(int(decode_image(save(tmp_path / "b.png", half), 4, 4, 1).max()) - 127) <= 1


def test_a_palette_gives_its_colors_and_its_clear_one_white(tmp_path):
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, *ORANGE])
    np.testing.assert_array_equal(
        decode_image(save(tmp_path / "a.png", image), 4, 4, 3)[0, 0], ORANGE
    )
    clear = save(tmp_path / "b.png", image, transparency=1)
    assert decode_image(clear, 4, 4, 3).min() == 255


def test_cmyk_and_bilevel(tmp_path):
    cyan = save(tmp_path / "a.tif", Image.new("CMYK", (4, 4), (255, 0, 0, 0)))
    np.testing.assert_array_equal(decode_image(cyan, 4, 4, 3)[0, 0], (0, 255, 255))
    jpeg = save(tmp_path / "a.jpg", Image.new("CMYK", (16, 16), (255, 0, 0, 0)))
    np.testing.assert_allclose(decode_image(jpeg, 4, 4, 3)[0, 0].astype(int), (0, 255, 255), atol=4)
    white = save(tmp_path / "b.png", Image.new("1", (4, 4), 1))
    assert decode_image(white, 4, 4, 1).min() == 255


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_of_gray_are_scaled(tmp_path, suffix):
    values = np.array([[0, 257, 25700, 65535]], dtype=np.uint16)
    path = save(tmp_path / f"a.{suffix}", Image.fromarray(values))
    np.testing.assert_array_equal(decode_image(path, 1, 4, 1)[0, :, 0], [0, 1, 100, 255])
    np.testing.assert_array_equal(decode_image(path, 1, 4, 3)[0, 2], [100, 100, 100])


def test_the_content_decides_not_the_suffix(tmp_path):
    path = tmp_path / "really_a_png.jpg"
    Image.new("RGB", (4, 4), ORANGE).save(path, format="PNG")
    np.testing.assert_array_equal(decode_image(path, 4, 4, 3)[0, 0], ORANGE)


def png_header_of(width, height):
    """A PNG that claims a size, and has no pixels worth that."""
    import struct
    import zlib

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 100))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


def bad_files(folder):
    """Every kind of file that is refused, and a word of the reason."""
    buffer = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(buffer, "PNG")
    whole = buffer.getvalue()
    contents = {
        "empty.png": (b"", "empty"),
        "truncated.png": (whole[: len(whole) // 2], "truncated|cannot be read"),
        "text.jpg": (b"not an image at all", "known format"),
        "page.eps": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "known format"),
        "large.png": (png_header_of(9_000, 9_000), "pixels"),
        "huge.png": (png_header_of(60_000, 60_000), "pixels"),
        "short.png": (png_header_of(500, 500), "cannot be read"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    frames = [Image.new("L", (4, 4), i) for i in (0, 255)]
    for name in ("animated.gif", "animated.png", "animated.webp", "pages.tif"):
        frames[0].save(folder / name, save_all=True, append_images=frames[1:])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(folder / "float.tif")
    Image.fromarray(np.full((4, 4), 70_000, np.int32)).save(folder / "int32.tif")
    (folder / "folder.png").mkdir()
    os.mkfifo(folder / "pipe.png")
    reasons = {name: reason for name, (_, reason) in contents.items()}
    return reasons | {
        "animated.gif": "several frames",
        "animated.png": "several frames",
        "animated.webp": "several frames",
        "pages.tif": "several frames",
        "float.tif": "floating-point",
        "int32.tif": "32-bit",
        "folder.png": "it is a folder",
        "pipe.png": "not a regular file",
        "missing.png": "No such file",
    }


def test_more_images_than_memory_holds_are_refused_with_their_number():
    paths = ["none.png"] * 2**20
    with pytest.raises(UserError, match=r"1048576 images of 65536x65536 pixels need .* bytes"):
        decode_images(paths, 2**16, 2**16, 3)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bad_files_are_refused_by_name_and_listed_at_once(tmp_path):
    reasons = bad_files(tmp_path)
    for name, reason in reasons.items():
        with pytest.raises(UserError, match=f"{name}: .*({reason})"):
            decode_image(tmp_path / name, 8, 8, 3)
    good = save(tmp_path / "good.png", Image.new("RGB", (4, 4), ORANGE))
    with pytest.raises(UserError) as caught:
        decode_images([good, *(tmp_path / name for name in reasons), good], 8, 8, 3)
    message = str(caught.value)
    assert message.startswith(f"{len(reasons)} files are")
    assert all(str(tmp_path / name) in message for name in reasons)
    assert "good.png" not in message


def test_many_images_keep_their_order(tmp_path):
    paths = [save(tmp_path / f"{i}.png", Image.new("L", (3, 3), i)) for i in range(40)]
    images = decode_images(paths, 2, 2, 1)
    np.testing.assert_array_equal(images[:, 0, 0, 0], range(40))
    assert decode_images([], 2, 2, 1).shape == (0, 2, 2, 1)
