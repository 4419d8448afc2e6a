"""CIFAR-10 and CIFAR-100: found, or downloaded and prepared, and verified in either case."""

import os
from pathlib import Path

from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.data.cifar.fingerprint import verify
from jax_resnet.data.cifar.tfds import VERSION, read_tfds
from jax_resnet.data.dataset import Dataset


def load_cifar(
    dataset: str, data_dir: str | os.PathLike[str] | None = None, mirror: str | None = None
) -> Dataset:
    """Loads CIFAR-10 or CIFAR-100 (fine labels): 50,000 + 10,000 RGB images of 32x32.

    The first of these that exists is read:

    1. `data_dir/DATASET/3.0.2`, prepared by TFDS or by this function (`array_record`);
    2. the original `cifar-10-batches-bin` or `cifar-10-binary.tar.gz` (`cifar-100-binary`,
       `cifar-100-binary.tar.gz`), which is `data_dir` or lies in it;
    3. the original archive from `mirror`, or from its authors' server; it is prepared in
       `data_dir` as under 1, and then deleted.

    Every image and label of CIFAR-10 is checked by fingerprint, whatever the source. There is no
    fingerprint for CIFAR-100: its archive must be the authors' byte for byte, and of a prepared
    or unpacked copy only counts, shapes and labels are checked. The images are in the same order
    from every source. Arguments and errors are those of `jax_resnet.data.load`.
    """
    layout = LAYOUTS[dataset]
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    root = root.expanduser()
    prepared = root / dataset / VERSION
    if not prepared.exists():
        from jax_resnet.data.cifar.binary import find_original, read_original
        from jax_resnet.data.cifar.prepare import prepare

        path = find_original(layout, root)
        if path is not None:
            original = read_original(layout, path)
            return verify(layout, original.splits, original.names["label"], path)
        prepare(layout, prepared, mirror)
    splits, class_names = read_tfds(prepared)
    return verify(layout, splits, class_names, prepared)
