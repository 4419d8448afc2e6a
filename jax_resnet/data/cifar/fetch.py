"""The original of a data set from the web: from the first source that has it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from jax_resnet.data.cifar import Layout
from jax_resnet.data.cifar.archive import MAX_BYTES
from jax_resnet.data.cifar.download import check_address, download
from jax_resnet.data.cifar.find import check_archive, read_original
from jax_resnet.data.cifar.fingerprint import verify
from jax_resnet.data.cifar.original import Original, check_bytes
from jax_resnet.data.cifar.parquet import read_parquet
from jax_resnet.errors import UserError, say


def fetch(layout: Layout, folder: Path, mirror: str | None) -> Original:
    """Downloads to `folder` and reads: Hugging Face's files, or else the authors' archive.

    Args:
        layout: of the data set.
        folder: exists; what it already holds of an earlier call is used first.
        mirror: the URL of an archive, which is then the only source; or of a folder with the
            parquet files or the archive: one that ends in "/", or a parquet file's own.

    Raises:
        UserError: naming every source that was tried, and why it failed.
    """
    if mirror is not None:
        try:
            check_address(mirror)
        except UserError as error:
            raise UserError(f"downloading it from {mirror} failed: {error}") from error
    reasons: list[str] = []
    ways = _sources(layout, folder, mirror)
    for number, (where, get) in enumerate(ways, 1):
        try:
            return get()
        except UserError as error:
            reasons.append(f"downloading it from {where} failed: {error}")
            if number < len(ways):
                say(f"{reasons[-1]}; continuing with {ways[number][0]}")
    raise UserError("; ".join(reasons))


def discard(layout: Layout, folder: Path) -> None:
    """Deletes what `fetch` left in `folder`."""
    for name in (layout.archive, *(path.name for path in _parquet_paths(layout, folder).values())):
        for path in (folder / name, *folder.glob(f"{name}.*.part")):
            path.unlink(missing_ok=True)


def _sources(
    layout: Layout, folder: Path, mirror: str | None
) -> list[tuple[str, Callable[[], Original]]]:
    """Where from, and what downloads and reads it, in the order to try."""
    parts = urlsplit(mirror or "")
    base, _, name = parts.path.rpartition("/")

    def beside(file: str) -> str:
        """The URL of another file in the mirror's folder."""
        return urlunsplit(parts._replace(path=f"{base}/{file}"))

    urls = {
        split: file.url if mirror is None else beside(file.name)
        for split, file in layout.parquet.items()
    }
    archive_url = beside(layout.archive) if mirror and not name else mirror or layout.url
    parquet_url = urlsplit(urls["train"])._replace(query="", fragment="").geturl()
    where = parquet_url.rpartition("/")[0] + "/"
    parquet = where, partial(_from_parquet, layout, folder, urls)
    archive = archive_url, partial(_from_archive, layout, folder, archive_url, mirror is None)
    if name.endswith(".parquet"):
        return [parquet]
    if name:
        return [archive]
    # It is there if writing was interrupted.
    return [archive, parquet] if (folder / layout.archive).exists() else [parquet, archive]


def _from_parquet(layout: Layout, folder: Path, urls: dict[str, str]) -> Original:
    paths = _parquet_paths(layout, folder)
    for split in sorted(paths):  # the small one first
        file, path = layout.parquet[split], paths[split]
        if not path.exists():
            download(urls[split], path, file.size, file.size)
        try:
            check_bytes(path, f"{layout.name}'s", file.sha256)
        except UserError:
            path.unlink()
            raise
    original = read_parquet(layout, paths)
    verify(layout, original.splits, paths["train"])
    return original


def _parquet_paths(layout: Layout, folder: Path) -> dict[str, Path]:
    """Where each split's file is kept; CIFAR-10 and CIFAR-100 have files of the same names."""
    return {split: folder / f"{layout.name}-{file.name}" for split, file in layout.parquet.items()}


def _from_archive(layout: Layout, folder: Path, url: str, is_original: bool) -> Original:
    path = folder / layout.archive
    if not path.exists():
        is_exact = is_original or layout.fingerprints is None
        download(url, path, layout.size if is_exact else MAX_BYTES, layout.size)
    try:
        if is_original:
            check_archive(layout, path)
        original = read_original(layout, path)
        verify(layout, original.splits, path)
    except UserError:
        path.unlink()
        raise
    return original
