"""CIFAR as TensorFlow Datasets keeps it in `DATA_DIR/DATASET/VERSION`, read without TensorFlow."""

import io
from pathlib import Path

import numpy as np

from jax_resnet.checksums import CHECKSUMS, find_damage
from jax_resnet.data.dataset import Split
from jax_resnet.errors import UserError

VERSION = "3.0.2"


def read_tfds(folder: Path) -> dict[str, Split]:
    """Reads the `train` and `test` splits of a prepared folder.

    Raises:
        UserError: if the folder has no `array_record` copy, or a damaged one.
    """
    if not list(folder.glob("*.array_record-*")):
        raise UserError(
            f"{folder} has no array_record files, and other formats (tfrecord) need TensorFlow: "
            "give another `data_dir` to have a copy prepared there, or convert this one where "
            f'TensorFlow is installed: tfds.builder("{folder.parent.name}", '
            'file_format="array_record").download_and_prepare()'
        )
    if (folder / CHECKSUMS).exists() and (damage := find_damage(folder)) is not None:
        raise UserError(f"{damage}: move {folder} away to have it prepared again")
    try:
        return {name: _read_split(folder, name) for name in ("train", "test")}
    except ImportError:
        raise
    # A damaged copy can make array_record, protobuf or Pillow raise nearly anything.
    except Exception as error:
        raise UserError(f"{folder} is truncated or altered: {error}") from None


def _read_split(folder: Path, name: str) -> Split:
    from array_record.python.array_record_module import ArrayRecordReader
    from PIL import Image
    from tensorflow_datasets.proto import tf_example_pb2

    images, labels = [], []
    for path in sorted(folder.glob(f"*-{name}.array_record-*")):
        reader = ArrayRecordReader(str(path))
        try:
            records = reader.read_all()
        finally:
            reader.close()
        for record in records:
            feature = tf_example_pb2.Example.FromString(record).features.feature
            png = io.BytesIO(feature["image"].bytes_list.value[0])
            with Image.open(png, formats=["PNG"]) as image:
                images.append(np.asarray(image))
            labels.append(feature["label"].int64_list.value[0])
    return Split(np.stack(images), np.array(labels, np.int32))
