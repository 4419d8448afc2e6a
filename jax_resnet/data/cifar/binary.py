"""The original "binary version" of CIFAR-10 and CIFAR-100: finding it and reading it.

A file is a run of records: one byte for each label, then 3,072 of pixels, channel by channel.
Archives are read in memory: nothing is extracted to disk, and no more is decompressed than
`MAX_BYTES`, whatever an archive says of its members.
"""

import dataclasses
import gzip
import hashlib
import posixpath
import tarfile
import zlib
from pathlib import Path

import numpy as np

from jax_resnet.data.cifar import Layout
from jax_resnet.data.dataset import Split
from jax_resnet.errors import UserError
from jax_resnet.files import refuse_special

MAX_BYTES = 2**28  # of an archive, decompressed; the genuine ones have 184,400,000


@dataclasses.dataclass(frozen=True)
class Original:
    """A data set as its authors wrote it.

    Attributes:
        splits: "train" and "test".
        labels: for each split, uint8 `(count, kinds)`; the last kind is that of `splits`.
        names: TFDS's key of each kind of label, in order, and the names of its values.
    """

    splits: dict[str, Split]
    labels: dict[str, np.ndarray]
    names: dict[str, tuple[str, ...]]


def find_original(layout: Layout, root: Path) -> Path | None:
    """The original's folder or archive: `root` itself, or in it.

    Raises:
        UserError: if that is the Python version, or if `root` should be one and does not exist.
    """
    names = (layout.folder, layout.archive, *layout.pickled)
    files = [file for files in layout.files.values() for file in files]
    found = next((root / name for name in names if (root / name).exists()), None)
    if root.name in names or root.is_file() or any((root / file).exists() for file in files):
        found = root
    if found == root and not root.exists():
        raise UserError(f"`data_dir` is {root}, which does not exist")
    if found is not None and found.name in layout.pickled:
        raise UserError(
            f"{found} is the Python version, whose pickles can run code and are never opened: "
            f"`data_dir` takes the binary version, {layout.archive}"
        )
    return found


def read_original(layout: Layout, path: Path) -> Original:
    """Reads the original from its folder or its archive.

    Raises:
        UserError: for one that is incomplete, truncated or no archive, or for a data set without
            fingerprints if the archive is not the authors'.
    """
    wanted = {*layout.label_files.values()}.union(*layout.files.values())
    if path.is_dir():
        found = [path / name for name in wanted if (path / name).is_file()]
        if large := [file for file in found if file.stat().st_size > MAX_BYTES]:
            raise UserError(f"{large[0]} has more than {MAX_BYTES} bytes")
        contents = {file.name: file.read_bytes() for file in found}
    else:
        refuse_special(path)
        if layout.fingerprints is None:
            check_archive(layout, path)
        contents = _read_archive(layout, path)
    if missing := sorted(wanted - contents.keys()):
        raise UserError(f"{path} is not {layout.archive}: it lacks {', '.join(missing)}")
    names = {
        key: tuple(filter(None, contents[file].decode("utf-8", "replace").splitlines()))
        for key, file in layout.label_files.items()
    }
    splits, labels = {}, {}
    for split, files in layout.files.items():
        data = np.frombuffer(b"".join(contents[file] for file in files), np.uint8)
        shape = (layout.counts[split], len(names) + 3 * 32 * 32)
        if len(data) != shape[0] * shape[1]:
            raise UserError(
                f"{path} is truncated or altered: {', '.join(files)} should have "
                f"{shape[0] * shape[1]} bytes, but {len(data)} are there"
            )
        records = data.reshape(shape)
        labels[split] = records[:, : len(names)]
        images = records[:, len(names) :].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        splits[split] = Split(np.ascontiguousarray(images), labels[split][:, -1].astype(np.int32))
    return Original(splits, labels, names)


def check_archive(layout: Layout, path: Path) -> None:
    """Raises UserError unless the file is, byte for byte, the authors' archive."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    if sha256 != layout.sha256:
        raise UserError(
            f"{path} is truncated or altered: {path.stat().st_size} bytes with SHA-256 {sha256}, "
            f"but the original {layout.archive} has {layout.size} with {layout.sha256}"
        )


def _read_archive(layout: Layout, path: Path) -> dict[str, bytes]:
    """The plain files in the archive's folder; links, long names and the like are passed over.

    `tarfile` would skip members of any size, and read names of any length into memory.
    """
    contents, left = {}, MAX_BYTES
    try:
        with gzip.open(path) as file:
            while (header := file.read(512)).strip(b"\0"):
                member = tarfile.TarInfo.frombuf(header, "utf-8", "replace")
                bare = member.isdir() or member.issym() or member.islnk() or member.isdev()
                size = 0 if bare else -(-member.size // 512) * 512
                left -= 512 + size
                if member.size < 0 or left < 0:
                    raise ValueError(f"its files have more than {MAX_BYTES} bytes")
                content = file.read(size)
                if len(content) < size:
                    raise EOFError("its last file is cut off")
                folder, name = posixpath.split(posixpath.normpath(member.name))
                if folder == layout.folder and member.isreg():  # never a link
                    contents[name] = content[: member.size]
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError) as error:
        raise UserError(f"{path} is truncated or altered, not a whole archive: {error}") from None
    return contents
