"""CIFAR-10 and CIFAR-100: found, else downloaded and prepared, and in any case verified."""

import os
from pathlib import Path

import numpy as np

from jax_resnet.data.cifar.binary import (
    COUNTS,
    LAYOUTS,
    Layout,
    Original,
    check_archive,
    read_original,
)
from jax_resnet.data.cifar.download import download
from jax_resnet.data.cifar.fingerprint import canonical_order
from jax_resnet.data.cifar.tfds import VERSION, read_tfds, write_tfds
from jax_resnet.data.dataset import Dataset, Split
from jax_resnet.errors import UserError
from jax_resnet.files import locked

CIFAR10_NAMES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
# Of the genuine images and labels, by `canonical_order`; CIFAR-100 has none here.
_FINGERPRINTS = {
    "train": "3b42cd734d79cf22b17acd86b0875a49",
    "test": "01a220f3431e101ef608853e9d5d0a48",
}


def load_cifar(
    name: str, data_dir: str | os.PathLike[str] | None = None, mirror: str | None = None
) -> Dataset:
    """Loads CIFAR-10 or CIFAR-100 (fine labels): 50,000 + 10,000 RGB images of 32x32.

    Taken from the first that is there:

    1. `data_dir/NAME/3.0.2`, prepared by TFDS or by this function (`array_record`);
    2. the original `cifar-10-batches-bin` or `cifar-10-binary.tar.gz` (`cifar-100-binary`,
       `cifar-100-binary.tar.gz`), as `data_dir` or in it;
    3. the original archive from `mirror`, else from its authors' server; it is then prepared in
       `data_dir` as under 1, and deleted.

    Every image and label of CIFAR-10 is checked by fingerprint, whatever the source. There is no
    fingerprint for CIFAR-100: its archives must be the authors' byte for byte, mirrored or not,
    and of a prepared or unpacked copy only counts, shapes and labels are checked. The order of
    the images is the same from every source.

    Args:
        name: "cifar10" or "cifar100".
        data_dir: by default TFDS's: `$TFDS_DATA_DIR`, or `~/tensorflow_datasets`.
        mirror: the http(s) URL of the archive, or, ending in "/", of the folder it lies in.

    Raises:
        UserError: if the data is truncated, altered, or cannot be had.
    """
    layout = LAYOUTS[name]
    root = Path(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")
    root = root.expanduser()
    prepared = root / name / VERSION
    if not prepared.exists():
        original = _find_original(layout, root)
        if original is not None:
            return _from_original(layout, _read(layout, original), original)
        _prepare(layout, root, mirror)
    splits, names = read_tfds(prepared)
    return _dataset(name, splits, names, prepared)


def _find_original(layout: Layout, root: Path) -> Path | None:
    """The original's folder or archive: `root` itself, or in it."""
    if root.is_file() or root.name in (layout.archive, layout.folder, *layout.pickled):
        if not root.exists():
            raise UserError(f"--data-dir {root}: there is no such file or folder")
        found: Path | None = root
    elif any((root / file).exists() for file in layout.sizes):
        found = root
    else:
        names = (layout.folder, layout.archive, *layout.pickled)
        found = next((root / name for name in names if (root / name).exists()), None)
    if found is not None and found.name in layout.pickled:
        raise UserError(
            f"{found}: the Python version, whose pickles can run code and are never opened; "
            f"--data-dir takes the binary version, {layout.archive}"
        )
    return found


def _read(layout: Layout, path: Path) -> Original:
    if layout.name != "cifar10" and path.is_file():
        check_archive(layout, path)
    return read_original(layout, path)


def _from_original(layout: Layout, original: Original, source: Path | str) -> Dataset:
    splits = {
        split: Split(images, original.labels[split]["label"].astype(np.int32))
        for split, images in original.images.items()
    }
    return _dataset(layout.name, splits, original.names["label"], source)


def _dataset(
    name: str, splits: dict[str, Split], names: tuple[str, ...], source: Path | str
) -> Dataset:
    """The data set in its canonical order, if it is what it should be."""
    classes = {"cifar10": 10, "cifar100": 100}[name]
    expected_names = CIFAR10_NAMES if name == "cifar10" else names
    if names != expected_names or len(set(names)) != classes:
        raise UserError(f"{source}: altered, these are not the {classes} class names of {name}")
    ordered = {}
    for split, expected in COUNTS.items():
        labels = splits[split].labels
        if len(labels) != expected:
            raise UserError(
                f"{source}: truncated or altered, {len(labels)} {split} images, expected {expected}"
            )
        in_range = labels.min() >= 0 and labels.max() < classes
        if not in_range or np.any(np.bincount(labels, minlength=classes) != expected // classes):
            raise UserError(
                f"{source}: altered, expected {expected // classes} {split} images of each class"
            )
        ordered[split], fingerprint = canonical_order(splits[split])
        if name == "cifar10" and fingerprint != _FINGERPRINTS[split]:
            raise UserError(
                f"{source}: altered, the {split} images or labels are not CIFAR-10's "
                f"(fingerprint {fingerprint}, expected {_FINGERPRINTS[split]})"
            )
    train = ordered["train"]
    nothing = Split(train.images[:0], train.labels[:0])
    return Dataset(name, train, nothing, ordered["test"], tuple(names), flippable=True)


def _prepare(layout: Layout, root: Path, mirror: str | None) -> None:
    """Downloads the archive, checks it, and writes it as TFDS would, unless another thread or
    process is at it: then that is waited for."""
    url = mirror or layout.url
    if url.endswith("/"):
        url += layout.archive
    archive = root / "downloads" / layout.archive
    try:
        archive.parent.mkdir(parents=True, exist_ok=True)
        with locked(archive.parent, wait=True):
            if not (root / layout.name / VERSION).exists():
                _fetch(layout, root, url, archive, genuine=mirror is None)
    except (UserError, OSError) as error:
        raise UserError(
            f"{layout.name} is not in {root} and could not be had from {url}: {error}\n"
            f"Three ways on: --data-dir DIR with {layout.archive}, {layout.folder} or TFDS's "
            f"{layout.name} in it; --mirror URL of {layout.archive}; or --dataset digits, which "
            "needs no download."
        ) from None


def _fetch(layout: Layout, root: Path, url: str, archive: Path, genuine: bool) -> None:
    # It is there already if writing broke off last time.
    if not archive.exists():
        download(url, archive)
    try:
        if genuine:
            check_archive(layout, archive)
        original = _read(layout, archive)
        _from_original(layout, original, archive)
    except UserError:
        archive.unlink()
        raise
    write_tfds(layout.name, original, root)
    archive.unlink()
