"""CIFAR-10 and CIFAR-100: found, or downloaded and prepared, and verified in either case."""

import os
from pathlib import Path

from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.data.cifar.fingerprint import verify
from jax_resnet.data.cifar.tfds import VERSION, read_tfds
from jax_resnet.data.dataset import Dataset
from jax_resnet.errors import UserError
from jax_resnet.files import expand_home, refuse_lost_link


def load_cifar(
    dataset: str, data_dir: str | os.PathLike[str] | None = None, mirror: str | None = None
) -> Dataset:
    """Loads CIFAR-10 or CIFAR-100 (fine labels): 50,000 + 10,000 RGB images of 32x32.

    The first of these that exists is read:

    1. `data_dir/DATASET/3.0.2`, prepared by TFDS or by this function (`array_record`); `data_dir`
       may also be one of these two folders;
    2. the original `cifar-10-batches-bin` or `cifar-10-binary.tar.gz`, or its Python version
       `cifar-10-batches-py` or `cifar-10-python.tar.gz` (for CIFAR-100, `cifar-100-binary` and
       `cifar-100-python`), which is `data_dir` or lies in it; or `data_dir` with Hugging Face's
       two parquet files. `data_dir` may also be the cache of Keras (`~/.keras/datasets`) or of
       Hugging Face's hub (`~/.cache/huggingface/hub`, or a folder of the data set in it);
    3. these parquet files from Hugging Face, or else the original archive from its authors'
       server; or either of them from `mirror`. The data set is prepared in `data_dir` as under 1,
       and what was downloaded is deleted.

    Every image and label of CIFAR-10 is checked by fingerprint, whatever the source. There is no
    fingerprint for CIFAR-100: its archive or parquet files must be the authors' or Hugging Face's
    byte for byte, and of a prepared or unpacked copy only counts, shapes and labels are checked.
    The images are in the same order from every source. Arguments and errors are those of
    `jax_resnet.data.load`.
    """
    layout = LAYOUTS[dataset]
    root = _find_root(data_dir, dataset)
    prepared = root / dataset / VERSION
    if not prepared.exists():
        from jax_resnet.data.cifar.find import find_original, read_original
        from jax_resnet.data.cifar.prepare import prepare

        path = find_original(layout, root)
        if path is not None:
            return verify(layout, read_original(layout, path).splits, path)
        refuse_lost_link(prepared.parent)
        refuse_lost_link(prepared)
        prepare(layout, prepared, mirror)
    return verify(layout, read_tfds(prepared), prepared)


def _find_root(data_dir: str | os.PathLike[str] | None, dataset: str) -> Path:
    """The folder of data sets; that of the data set or of its version stands for it.

    The default place may be new. A `data_dir` that does not exist is more likely a typo.
    """
    if data_dir is None:  # where TensorFlow Datasets keeps data sets
        given = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
        root = expand_home(given, "$TFDS_DATA_DIR")
    elif not (root := expand_home(data_dir, "`data_dir`")).exists():
        raise UserError(
            f"`data_dir` is {root}, which does not exist: expected a folder, in which {dataset} "
            "is or is to be kept"
        )
    for path in (root.absolute(), root.resolve()):  # what is named so, or links to it
        if path.name == VERSION and path.parent.name == dataset:
            return path.parents[1]
        if path.name == dataset and (path / VERSION).is_dir():
            return path.parent
    return root
