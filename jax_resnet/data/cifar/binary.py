"""The original "binary version" of CIFAR-10 and CIFAR-100: what it is, and reading it.

A file is a run of records: one byte for each label, then 3,072 of pixels, channel by channel
(https://www.cs.toronto.edu/~kriz/cifar.html). Archives are read in memory: nothing is extracted
to disk, so no member can land anywhere.
"""

import dataclasses
import hashlib
import posixpath
import tarfile
import zlib
from pathlib import Path

import numpy as np

from jax_resnet.errors import UserError

COUNTS = {"train": 50_000, "test": 10_000}
_PIXELS = 3 * 32 * 32
_MOST_TEXT = 65_536


@dataclasses.dataclass(frozen=True)
class Layout:
    """What the original of one data set consists of.

    Attributes:
        name: as in `--dataset`, and TFDS's name.
        url: where the authors keep the archive.
        size: of that archive, in bytes; this and `sha256` are as registered in TFDS.
        sha256: of that archive.
        folder: what the archive holds, and unpacks to.
        pickled: folder and archive of the Python version, which is not to be opened.
        files: for each split, its files in order.
        label_files: for each label of a record, in order, TFDS's key and the file of its names.
    """

    name: str
    url: str
    size: int
    sha256: str
    folder: str
    pickled: tuple[str, str]
    files: dict[str, tuple[str, ...]]
    label_files: dict[str, str]

    @property
    def archive(self) -> str:
        return posixpath.basename(self.url)

    @property
    def sizes(self) -> dict[str, int]:
        """How many bytes each file of pixels has."""
        record = len(self.label_files) + _PIXELS
        return {
            file: COUNTS[split] // len(files) * record
            for split, files in self.files.items()
            for file in files
        }


@dataclasses.dataclass(frozen=True)
class Original:
    """A data set as read from its original.

    Attributes:
        images: for each split, uint8 `(count, 32, 32, 3)`.
        labels: for each split and TFDS key of a label, uint8 `(count,)`.
        names: for each TFDS key of a label, the names of its values.
    """

    images: dict[str, np.ndarray]
    labels: dict[str, dict[str, np.ndarray]]
    names: dict[str, tuple[str, ...]]


LAYOUTS = {
    "cifar10": Layout(
        name="cifar10",
        url="https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",
        size=170_052_171,
        sha256="c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
        folder="cifar-10-batches-bin",
        pickled=("cifar-10-batches-py", "cifar-10-python.tar.gz"),
        files={
            "train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)),
            "test": ("test_batch.bin",),
        },
        label_files={"label": "batches.meta.txt"},
    ),
    "cifar100": Layout(
        name="cifar100",
        url="https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz",
        size=168_513_733,
        sha256="58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec",
        folder="cifar-100-binary",
        pickled=("cifar-100-python", "cifar-100-python.tar.gz"),
        files={"train": ("train.bin",), "test": ("test.bin",)},
        label_files={
            "coarse_label": "coarse_label_names.txt",
            "label": "fine_label_names.txt",
        },
    ),
}


def read_original(layout: Layout, path: Path) -> Original:
    """Reads the original from its folder or its archive.

    Raises:
        UserError: naming what is missing, of another size, or no plain file.
    """
    files = _read_folder(layout, path) if path.is_dir() else _read_archive(layout, path)
    names = {}
    for key, file in layout.label_files.items():
        text = files[file].decode("utf-8", "replace")
        names[key] = tuple(line.strip() for line in text.splitlines() if line.strip())
    images, labels = {}, {}
    for split, members in layout.files.items():
        data = np.frombuffer(b"".join(files[member] for member in members), np.uint8)
        records = data.reshape(COUNTS[split], -1)
        pixels = records[:, len(names) :].reshape(-1, 3, 32, 32)
        images[split] = np.ascontiguousarray(pixels.transpose(0, 2, 3, 1))
        labels[split] = {key: records[:, i].copy() for i, key in enumerate(names)}
    return Original(images, labels, names)


def check_archive(layout: Layout, path: Path) -> None:
    """Raises UserError unless the file is, byte for byte, the archive that TFDS registered."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != layout.sha256:
        raise UserError(
            f"{path}: truncated or altered, it is not the original {layout.archive}: "
            f"{path.stat().st_size} bytes with SHA-256 {sha256}, "
            f"expected {layout.size} with {layout.sha256}"
        )


def _read_folder(layout: Layout, folder: Path) -> dict[str, bytes]:
    files = {}
    for name in [*layout.sizes, *layout.label_files.values()]:
        path = folder / name
        if not path.is_file():
            raise UserError(f"{path}: missing, {layout.folder} is not whole")
        _check_size(layout, name, path.stat().st_size, path)
        files[name] = path.read_bytes()
    return files


def _read_archive(layout: Layout, path: Path) -> dict[str, bytes]:
    wanted = {f"{layout.folder}/{name}": name for name in layout.sizes}
    wanted |= {f"{layout.folder}/{name}": name for name in layout.label_files.values()}
    files: dict[str, bytes] = {}
    try:
        with tarfile.open(path, "r|gz") as archive:
            for member in archive:
                name = wanted.get(posixpath.normpath(member.name))
                if name is None:
                    continue
                content = archive.extractfile(member) if member.isreg() else None
                if content is None or name in files:
                    raise UserError(f"{path}: {member.name} is not one plain file: altered")
                _check_size(layout, name, member.size, f"{path}: {member.name}")
                files[name] = content.read()
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise UserError(
            f"{path}: truncated or altered, not a whole .tar.gz archive: {error}"
        ) from None
    missing = sorted(set(wanted.values()) - set(files))
    if missing:
        raise UserError(f"{path}: not {layout.archive}, it lacks {', '.join(missing)}")
    return files


def _check_size(layout: Layout, name: str, size: int, where: object) -> None:
    expected = layout.sizes.get(name)
    if expected is None:
        if size > _MOST_TEXT:
            raise UserError(f"{where}: {size} bytes, expected a short list of names")
    elif size != expected:
        raise UserError(f"{where}: truncated or altered, {size} bytes, expected {expected}")
