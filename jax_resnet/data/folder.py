"""A folder of images as a data set: one subfolder for each class, or a table of the classes."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jax_resnet.data.copies import say_copies
from jax_resnet.data.dataset import Dataset, Split
from jax_resnet.data.images import decode_images, is_skipped, list_files
from jax_resnet.data.labels_csv import find_table, list_labeled
from jax_resnet.errors import UserError, as_words, printable, say, some
from jax_resnet.files import expand_home, refuse_lost_link
from jax_resnet.model import check_image_size

_SPLITS = {"train": "training", "val": "validation", "test": "test"}  # and how they are called
_VALIDATION = ("val", "valid", "validation")  # names that people give to one folder
_LIKE_SPLITS = {*_SPLITS, *_VALIDATION, "training", "testing", "dev", "eval"}
_SPLIT_SEED = 0
_PROPORTIONS = (0.8, 0.1, 0.1)

Files = dict[str, list[Path]]
"""The image files of each class."""


def load_folder(
    data_dir: str | os.PathLike[str] | None,
    image_size: Sequence[int] | None,
    channels: int | None,
    split_proportions: Sequence[float] | None = None,
) -> Dataset:
    """Loads a folder of images; `jax_resnet.data.images` describes how each file is decoded.

    Either `data_dir` holds `train` and at least one of `test` and `val` (also called `valid` or
    `validation`), each with the same subfolders, one for each class; or it holds these subfolders
    directly; or it holds images and a table of their classes, which `list_labeled` describes. In
    these two cases each class is shuffled and divided by `split_proportions`, always in the same
    way. Every file is decoded, and all bad ones are listed at once. Images that two splits share
    or that have two classes are counted on stderr, and classes that a division leaves without
    images of a split are named there. The data set is flippable: a mirrored image is of the same
    class.

    Arguments are those of `jax_resnet.data.load`.

    Raises:
        UserError: for an argument that does not fit, another layout of the folder, a link to
            nothing in it, or bad files.
    """
    root, (height, width) = _check_options(data_dir, image_size, channels)
    assert channels is not None
    table = find_table(root)
    if table is None and ((root / "train").is_dir() or (root / "test").is_dir()):
        if split_proportions is not None:
            raise UserError(
                f"`split_proportions` is {as_words(split_proportions)}, expected none: {root} is "
                "already split into folders"
            )
        files = _read_splits(root)
    else:
        classes = _list_undivided(root) if table is None else list_labeled(table)
        shares = _PROPORTIONS if split_proportions is None else split_proportions
        files = _divide(root, classes, shares)
    names = sorted(files["train"])
    paths = [path for split in _SPLITS for name in names for path in files[split][name]]
    images = decode_images(paths, height, width, channels)
    counts = [[len(files[split][name]) for name in names] for split in _SPLITS]
    labels = [np.repeat(np.arange(len(names), dtype=np.int32), each) for each in counts]
    ends = np.cumsum([*map(len, labels)])
    train, validation, test = map(Split, np.split(images, ends[:-1]), labels)
    say_copies(root, within=True, training=train, validation=validation, test=test)
    return Dataset("folder", train, validation, test, tuple(names), flippable=True)


def refuse_among_images(folder: Path, data_dir: Path) -> None:
    """Raises a `UserError` if a run's folder would lie among the images of `data_dir`, where its
    files would be taken for a class or for images of one."""
    root = data_dir.expanduser()
    if (root / "train").is_dir() and find_table(root) is not None:
        root = root / "train"  # what is beside it is not read
    for place in (os.path.realpath, os.path.abspath):  # a link in it, or to it
        own, images = Path(place(folder)), Path(place(root))
        if own.is_relative_to(images):
            parts = own.relative_to(images).parts
            if not any(map(is_skipped, parts[:2])):
                raise UserError(
                    f"`runs_dir` is {folder.parent}, and {folder} would lie among the images of "
                    f"{root}: expected a folder outside of it"
                )


def _check_options(
    data_dir: str | os.PathLike[str] | None,
    image_size: Sequence[int] | None,
    channels: int | None,
) -> tuple[Path, tuple[int, int]]:
    if data_dir is None:
        raise UserError("`data_dir` is None, expected the folder of images")
    root = expand_home(data_dir, "`data_dir`")
    if not root.is_dir():
        raise UserError(f"`data_dir` is {root}, which is not a folder: expected one of images")
    size = check_image_size(image_size)
    is_whole = isinstance(channels, int | np.integer) and not isinstance(channels, bool)
    if not is_whole or channels not in (1, 3):
        raise UserError(f"`channels` is {channels}, expected 1 (gray) or 3 (RGB)")
    return root, size


def _read_splits(root: Path) -> dict[str, Files]:
    """The files of the folders that are there; other splits have none."""
    folders = _find_splits(root)
    files = {split: _list_classes(root / name) for split, name in folders.items()}
    for split, classes in files.items():
        if odd := sorted(classes.keys() ^ files["train"].keys()):
            raise UserError(
                f"{root}: the classes of train and {folders[split]} differ in {', '.join(odd)}, "
                "expected the same folders in both"
            )
    none: dict[str, Files] = {split: {name: [] for name in files["train"]} for split in _SPLITS}
    return none | files


def _find_splits(root: Path) -> dict[str, str]:
    """The name of each split's folder: of training, and of test or validation or both."""
    beside = [path.name for path in _list_folders(root)]
    if odd := [name for name in beside if name not in ("train", "test", *_VALIDATION)]:
        raise UserError(
            f"{root} has {', '.join(odd)} beside its splits: expected train, test and "
            f"one of {', '.join(_VALIDATION)}"
        )
    validation = [name for name in _VALIDATION if name in beside]
    if len(validation) > 1:
        raise UserError(f"{root} has {' and '.join(validation)}: expected one folder of validation")
    if "train" not in beside or ("test" not in beside and not validation):
        lacking = "test" if "train" in beside else "train"
        raise UserError(
            f"{root} has no folder {lacking}: expected train, and test or val or both of them"
        )
    say_loose(root, "splits")
    found = {"train": "train", "val": "".join(validation), "test": "test"}
    return {split: name for split, name in found.items() if name in beside}


def _list_undivided(root: Path) -> Files:
    """The files of every class; subfolders that are all named like splits, such as Train and Test,
    are refused."""
    names = [path.name for path in _list_folders(root)]
    if names and all(name.lower() in _LIKE_SPLITS for name in names):
        raise UserError(
            f"{root} has {', '.join(names)}, expected train, and test or val or both of them; or a "
            "folder for each class"
        )
    return _list_classes(root)


def _list_classes(folder: Path) -> Files:
    """The files of every class folder, sorted by name: file systems list them in any order."""
    classes = {_text(each): list_files(each) for each in _list_folders(folder)}
    if len(classes) < 2:
        raise UserError(f"{folder} has {len(classes)} subfolders, expected one for each class")
    say_loose(folder, "classes")
    if empty := [name for name, paths in classes.items() if not paths]:
        raise UserError(f"{folder} has no images in {', '.join(empty)}")
    return classes


def _list_folders(folder: Path) -> list[Path]:
    """The subfolders; a link to nothing, which may have been one, is refused."""
    found = list_files(folder)
    for path in found:
        refuse_lost_link(path)
    return [path for path in found if path.is_dir()]


def say_loose(folder: Path, what: str) -> None:
    """Says which files lie beside the folders that are read."""
    if loose := [path.name for path in list_files(folder) if not path.is_dir()]:
        say(f"{folder}: not read, because folders are its {what}: {some(loose)}")


def _text(folder: Path) -> str:
    """The name of a folder, the same in every locale."""
    try:
        name = os.fsencode(folder.name).decode()
    except UnicodeDecodeError:
        raise UserError(f"{folder}: the name is not UTF-8, rename the folder") from None
    if printable(name) != name:
        raise UserError(f"{folder}: the name has control characters, rename the folder")
    return name


def _divide(root: Path, classes: Files, proportions: Sequence[float]) -> dict[str, Files]:
    """Divides every class by the proportions."""
    try:
        shares = np.asarray(proportions, dtype=float)
    except (TypeError, ValueError):
        shares = np.zeros(0)
    if shares.shape != (3,) or not np.all(shares >= 0) or abs(shares.sum() - 1) > 1e-6:
        raise UserError(
            f"`split_proportions` is {as_words(proportions)}, expected three shares (training, "
            "validation, test) of at least 0 that sum to 1"
        )
    files: dict[str, Files] = {split: {} for split in _SPLITS}
    for index, (name, paths) in enumerate(classes.items()):
        permutation = np.random.default_rng([_SPLIT_SEED, index]).permutation(len(paths))
        # Rounded after 9 digits, so that 0.8 + 0.1 of 15 is 13.5 on every machine.
        ends = np.floor(np.round(np.cumsum(shares) * len(paths), 9) + 0.5).astype(int)
        for split, start, end in zip(_SPLITS, (0, *ends), ends, strict=False):
            files[split][name] = [paths[i] for i in sorted(permutation[start:end])]
        if not files["train"][name]:
            raise UserError(
                f"`split_proportions` is {as_words(proportions)}, which leaves none of the "
                f"{len(paths)} images of {name} in {root} for training"
            )
    for split, share in zip(_SPLITS, shares, strict=True):
        if share > 0 and not any(files[split].values()):
            raise UserError(
                f"`split_proportions` is {as_words(proportions)}, which leaves none of the images "
                f"in {root} for {_SPLITS[split]}"
            )
        if share > 0 and (without := [name for name in classes if not files[split][name]]):
            say(
                f"{root}: too few images of {some(without)} for {_SPLITS[split]} at "
                f"`split_proportions` {as_words(proportions)}: its scores say nothing of them"
            )
    return files
