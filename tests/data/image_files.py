"""Image files of one picture in many encodings, written byte by byte; all are 16x16."""

import struct
import zlib

import numpy as np

GRAY = np.arange(256, dtype=np.uint8).reshape(16, 16)
RGB = np.stack([GRAY, GRAY.T, np.full_like(GRAY, 80)], axis=-1)
ALPHA = np.flip(GRAY, axis=1)
LA = np.dstack([GRAY, ALPHA])
RGBA = np.dstack([RGB, ALPHA])
PALETTE = np.stack([np.arange(256), 255 - np.arange(256), np.full(256, 80)], axis=-1).astype("u1")


def gray(values):
    """The picture of a single channel."""
    return np.broadcast_to(values[..., None], (16, 16, 3))


def over_white(pixels):
    """The picture of pixels whose last channel is alpha."""
    alpha = pixels[..., -1:] / 255
    return np.broadcast_to(pixels[..., :-1] * alpha + 255 * (1 - alpha), (16, 16, 3))


def white_where(clear, picture):
    return np.where(clear[..., None], 255, picture)


def premultiplied(pixels):
    """Pixels whose last channel is alpha, the others multiplied by it."""
    return np.rint(np.dstack([pixels[..., :-1] * (pixels[..., -1:] / 255), ALPHA])).astype("u1")


def wide(pixels, bits=16):
    """8-bit values as values of more bits or fewer."""
    dtype = "u1" if bits <= 8 else "u2" if bits <= 16 else "u4"
    return np.rint(pixels / 255.0 * (2**bits - 1)).astype(dtype)


def pack(values, bits):
    """Rows of values of 1 to 8 bits, each row from the start of a byte."""
    digits = np.unpackbits(values.astype("u1")[..., None], axis=2)[..., 8 - bits :]
    return np.packbits(digits.reshape(len(values), -1), axis=1).tobytes()


_TAGS = {"orientation": 274, "planar": 284, "map": 320, "extra": 338, "format": 339}
_TAGS |= {"subsampling": 530, "exif": 34665}


def tiff(pixels, photometric, bits=8, compression=1, order="<", **more):
    """A TIFF of one strip, or one for each plane; without a photometric tag where that is None."""
    planes = np.atleast_3d(pixels)
    samples = planes.shape[2]
    strips = np.split(planes, samples, axis=2) if more.get("planar") == 2 else [planes]
    if bits <= 8:
        strips = [pack(strip.reshape(16, -1), bits) for strip in strips]
    elif bits == 12:
        pairs = pixels.reshape(-1, 2).tolist()
        strips = [b"".join((a << 12 | b).to_bytes(3, "big") for a, b in pairs)]
    else:
        strips = [strip.astype(strip.dtype.newbyteorder(order)).tobytes() for strip in strips]
    strips = [zlib.compress(strip) if compression == 8 else strip for strip in strips]
    body = b"".join(strips)
    offsets = [8 + len(b"".join(strips[:i])) for i in range(len(strips))]
    tags = {256: 16, 257: 16, 258: [bits] * samples, 259: compression, 273: offsets, 277: samples}
    tags |= {278: 16, 279: [len(strip) for strip in strips]}
    tags |= {} if photometric is None else {262: photometric}
    tags |= {_TAGS[name]: value for name, value in more.items()}
    end = 8 + len(body) + 2 + 12 * len(tags) + 4
    directory, far = struct.pack(order + "H", len(tags)), b""
    for tag, value in sorted(tags.items()):
        numbers = np.atleast_1d(value).tolist()
        kind, code = (4, "I") if tag in (273, 279, 34665) else (3, "H")
        field = struct.pack(f"{order}{len(numbers)}{code}", *numbers).ljust(4, b"\0")
        directory += struct.pack(order + "HHI", tag, kind, len(numbers))
        directory += field if len(field) == 4 else struct.pack(order + "I", end + len(far))
        far += field if len(field) > 4 else b""
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(order + "I", 8 + len(body)) + body + directory + bytes(4) + far


def chunk(kind, data, crc=None):
    """A chunk of a PNG."""
    crc = zlib.crc32(kind + data) if crc is None else crc
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", crc)


def clear(*values):
    """The chunk that makes a gray value or a color transparent."""
    return chunk(b"tRNS", struct.pack(f">{len(values)}H", *values))


def png(pixels, kind, depth=8, *chunks):
    """A PNG, with further chunks before the pixels."""
    rows = pixels.reshape(16, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in rows]
    else:
        rows = [pack(row[None], depth) for row in rows]
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", 16, 16, depth, kind, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return b"".join([b"\x89PNG\r\n\x1a\n", head, *chunks, data, chunk(b"IEND", b"")])


def bmp(bits, rows, palette=(), masks=(), header=40, colors=0):
    """A BMP, from its bottom row up; `masks` are those of the channels."""
    table = b"".join(bytes([b, g, r, 0]) for r, g, b in np.asarray(palette, "u1").tolist())
    fields = (header, 16, 16, 1, bits, 3 if masks else 0, 0, 0, 0, colors, 0)
    head = struct.pack("<IiiHHIIiiII", *fields) + struct.pack(f"<{len(masks)}I", *masks)
    head = head.ljust(header, b"\0")
    start = 14 + len(head) + len(table)
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + table + rows
