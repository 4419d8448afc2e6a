"""CIFAR as TensorFlow Datasets keeps it in `DATA_DIR/NAME/VERSION`, without TensorFlow.

Reading goes past TFDS's decoder, which takes some 15 s for 60,000 images in Python: the PNG
streams of many images are joined to one tall PNG, which Pillow decodes in one call. Writing is
TFDS's own builder, fed with PNG bytes so that it has no need of TensorFlow's encoder or files.
"""

import concurrent.futures
import contextlib
import io
import json
import os
import struct
import sys
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jax_resnet.data.cifar.binary import Original
from jax_resnet.data.dataset import Split
from jax_resnet.errors import UserError
from jax_resnet.files import CHECKSUMS, checksums, find_damage, replace_file

VERSION = "3.0.2"
_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_HEADER = b"IHDR" + struct.pack(">IIBBBBB", 32, 32, 8, 2, 0, 0, 0)
_LINES = 32 * (1 + 32 * 3)
_CHUNK = 500


def read_tfds(folder: Path) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Reads the `train` and `test` splits of a prepared folder, and the names of the labels.

    Raises:
        UserError: if the folder holds no finished `array_record` copy, or a broken one.
    """
    import tensorflow_datasets as tfds

    if not (folder / "dataset_info.json").is_file():
        raise UserError(f"{folder}: not a finished TFDS data set; move it away to have it prepared")
    if not list(folder.glob("*.array_record-*")):
        raise UserError(
            f"{folder}: no array_record copy is there, and other formats (tfrecord) need "
            "TensorFlow to be read; give another --data-dir, where one is prepared without it, or "
            f'convert yours where TensorFlow is installed: tfds.builder("{folder.parent.name}", '
            'file_format="array_record").download_and_prepare()'
        )
    if (folder / CHECKSUMS).exists() and (damage := find_damage(folder)) is not None:
        raise UserError(f"{damage}: truncated or altered; move {folder} away to have it prepared")
    try:
        info = tfds.builder_from_directory(folder, file_format="array_record").info
        splits = {
            name: _read_split([Path(path) for path in info.splits[name].filepaths])
            for name in ("train", "test")
        }
        names = tuple(info.features["label"].names)
    # A broken copy can make TFDS, protobuf, zlib or Pillow raise nearly anything.
    except Exception as error:
        raise UserError(f"{folder}: truncated or altered, it cannot be read: {error}") from None
    return splits, names


def write_tfds(name: str, original: Original, data_dir: Path) -> None:
    """Writes `DATA_DIR/NAME/VERSION` as TFDS does, as `array_record`.

    TFDS writes to a temporary folder and renames it, so an interrupted call leaves nothing there.
    Checksums of the files follow, in a file that TFDS has no use for; `read_tfds` looks at them.
    The order of the records and all metadata are those that TFDS's own preparation gives.
    """
    import tensorflow_datasets as tfds

    stock = tfds.builder_cls(name)

    class Builder(stock, skip_registration=True):  # type: ignore[misc, valid-type, call-arg]
        __module__ = stock.__module__
        name = stock.name

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
            for key, names in original.names.items():
                self.info.features[key].names = names
            return {split: _examples(original, split) for split in original.images}

    # TFDS reports on stdout, which belongs to the command that called.
    with contextlib.redirect_stdout(sys.stderr):
        builder = Builder(data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    folder = Path(builder.data_path)
    replace_file(folder / CHECKSUMS, json.dumps(checksums(folder), indent=1).encode())


def _examples(original: Original, split: str) -> Iterator[tuple[int, dict[str, Any]]]:
    from PIL import Image

    for index, pixels in enumerate(original.images[split]):
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        labels = {key: int(values[index]) for key, values in original.labels[split].items()}
        yield index, {"id": f"{split}_{index:05d}", "image": png.getvalue(), **labels}


def _read_split(paths: Sequence[Path]) -> Split:
    from array_record.python.array_record_module import ArrayRecordReader

    records: list[bytes] = []
    for path in paths:
        reader = ArrayRecordReader(str(path))
        try:
            records += reader.read_all()
        finally:
            reader.close()
    chunks = [records[start : start + _CHUNK] for start in range(0, len(records), _CHUNK)]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        parts = list(pool.map(_decode_records, chunks))
    images, labels = zip(*parts, strict=True)
    return Split(np.concatenate(images), np.concatenate(labels))


def _decode_records(records: Sequence[bytes]) -> tuple[np.ndarray, np.ndarray]:
    """uint8 `(count, 32, 32, 3)` and int32 `(count,)` of serialised `tf.train.Example`s."""
    from PIL import Image
    from tensorflow_datasets.proto import tf_example_pb2

    lines, labels = [], np.empty(len(records), np.int32)
    for index, record in enumerate(records):
        feature = tf_example_pb2.Example.FromString(record).features.feature
        # An image's first line may refer to the line above, which must be zeros: so it is.
        lines += [_png_lines(feature["image"].bytes_list.value[0]), bytes(_LINES // 32)]
        labels[index] = feature["label"].int64_list.value[0]
    header = _HEADER.replace(struct.pack(">II", 32, 32), struct.pack(">II", 32, 33 * len(records)))
    joined = zlib.compress(b"".join(lines), 0)
    tall = _SIGNATURE + _png_chunk(header) + _png_chunk(b"IDAT" + joined) + _png_chunk(b"IEND")
    with Image.open(io.BytesIO(tall), formats=["PNG"]) as image:
        pixels = np.asarray(image).reshape(len(records), 33, 32, 3)
    return pixels[:, :32], labels


def _png_lines(png: bytes) -> bytes:
    """The filtered scan lines of a 32x32 RGB PNG."""
    if png[:8] != _SIGNATURE or png[12:29] != _HEADER:
        raise ValueError("an image is not a 32x32 RGB PNG")
    position, data = 33, b""
    while position < len(png):
        (length,) = struct.unpack_from(">I", png, position)
        if png[position + 4 : position + 8] == b"IDAT":
            data += png[position + 8 : position + 8 + length]
        position += 12 + length
    lines = zlib.decompressobj().decompress(data, _LINES + 1)
    if len(lines) != _LINES:
        raise ValueError(f"an image has {len(lines)} bytes, expected {_LINES}")
    return lines


def _png_chunk(content: bytes) -> bytes:
    return struct.pack(">I", len(content) - 4) + content + struct.pack(">I", zlib.crc32(content))
