"""CIFAR in a form that people hold: the original archives and folders, and Hugging Face's files."""

import itertools
from pathlib import Path

from jax_resnet.data.cifar import Layout
from jax_resnet.data.cifar.archive import MAX_BYTES, read_archive
from jax_resnet.data.cifar.binary import read_binary
from jax_resnet.data.cifar.original import Original, check_bytes
from jax_resnet.data.cifar.parquet import (
    has_parquet,
    has_sizes,
    read_parquet,
    refuse_half_parquet,
)
from jax_resnet.data.cifar.pickled import read_pickled
from jax_resnet.errors import UserError
from jax_resnet.files import refuse_lost_link, refuse_special


def find_original(layout: Layout, root: Path) -> Path | None:
    """The folder or archive of any of these forms: `root` itself, or in it.

    None if there is nothing of these. `root` may also be Keras' folder of data sets; or, in the
    cache of Hugging Face's hub, the folder of the hub, of the data set, of a revision or of the
    files.

    Raises:
        UserError: if there are only links to nothing, or one parquet file of two.
    """
    names = [layout.folder, layout.archive, *layout.pickled]
    if root.name in names or root.is_file():
        return root
    files = _files(layout.files) + _files(layout.pickled_files)
    if has_parquet(layout, root) or any((root / file).is_file() for file in files):
        return root
    python = layout.pickled[0]  # Keras' archives are named after the folder
    names += [f"{python}-target/{python}", f"{python}.tar.gz", f"{python}-target_archive"]
    found = [root / name for name in names if (root / name).exists()]
    levels = layout.hub.split("/")
    for i in (0, 1, 3):  # not */plain_text, which other data sets in any folder have too
        folders = [each for each in root.glob("/".join(levels[i:])) if has_parquet(layout, each)]
        found += sorted(folders, key=lambda each: (not has_sizes(layout, each), each))
    if found:
        return found[0]
    for name in names + [file.name for file in layout.parquet.values()]:
        refuse_lost_link(root / name)
    refuse_half_parquet(layout, root)
    return None


def read_original(layout: Layout, path: Path) -> Original:
    """Reads the folder or archive; what it holds says in which form.

    Raises:
        UserError: for one that is incomplete, truncated or no archive, or for a data set without
            fingerprints if the archive is not the authors'.
    """
    if path.is_file() and path.suffix == ".parquet":
        files = " and ".join(file.name for file in layout.parquet.values())
        raise UserError(f"{path} is a single file, expected the folder of {files}")
    if path.is_dir() and has_parquet(layout, path):
        return read_parquet(layout, {k: path / file.name for k, file in layout.parquet.items()})
    binary, pickled = _files(layout.files), _files(layout.pickled_files)
    if path.is_dir():
        found = [path / name for name in binary + pickled if (path / name).is_file()]
        if large := [file for file in found if file.stat().st_size > MAX_BYTES]:
            raise UserError(f"{large[0]} has more than {MAX_BYTES} bytes")
        contents = {file.name: file.read_bytes() for file in found}
    else:
        refuse_special(path)
        if layout.fingerprints is None:
            check_archive(layout, path)
        contents = read_archive(path, (layout.folder, layout.pickled[0]))
    is_pickled = path.name in layout.pickled or any(name in contents for name in pickled)
    wanted, archive = (pickled, layout.pickled[1]) if is_pickled else (binary, layout.archive)
    if missing := sorted(set(wanted) - contents.keys()):
        raise UserError(f"{path} is not {archive}: it lacks {', '.join(missing)}")
    return (read_pickled if is_pickled else read_binary)(layout, contents, path)


def check_archive(layout: Layout, path: Path) -> None:
    """Raises a `UserError` unless the file is, byte for byte, an archive of the authors'."""
    known = {layout.archive: layout.sha256}
    if layout.pickled_sha256:
        known[layout.pickled[1]] = layout.pickled_sha256
    check_bytes(path, f"the original {' or '.join(known)}", *known.values())


def _files(splits: dict[str, tuple[str, ...]]) -> list[str]:
    return [*itertools.chain(*splits.values())]
