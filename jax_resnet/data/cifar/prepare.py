"""The original of a data set, downloaded, verified and written as TensorFlow Datasets would."""

import contextlib
import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jax_resnet.checksums import seal
from jax_resnet.data.cifar import Layout
from jax_resnet.data.cifar.fetch import discard, fetch
from jax_resnet.data.cifar.fingerprint import canonical_order
from jax_resnet.data.cifar.original import Original
from jax_resnet.data.cifar.tfds import VERSION
from jax_resnet.errors import UserError
from jax_resnet.files import locked


def prepare(layout: Layout, folder: Path, mirror: str | None) -> None:
    """Makes the TFDS folder `DATA_DIR/DATASET/VERSION`, or waits for another process to make it.

    The records are in the canonical order, so that every source gives the same folder.

    Raises:
        UserError: naming the other ways to the data, if it can't be downloaded or written, or if
            what was downloaded is not genuine.
    """
    root = folder.parents[1]
    # TFDS and people keep files in `downloads` itself; what lies in this folder is deleted.
    downloads = root / "downloads" / "jax_resnet"
    new = [each for each in (downloads, downloads.parent) if not each.exists()]
    try:
        downloads.mkdir(parents=True, exist_ok=True)
        with locked(downloads, wait=True):
            if folder.exists():
                return
            try:
                original = fetch(layout, downloads, mirror)
            except UserError:
                _remove(new)
                raise
            order = {name: canonical_order(each)[0] for name, each in original.splits.items()}
            images = {name: each[order[name]] for name, each in original.images.items()}
            labels = {name: each[order[name]] for name, each in original.labels.items()}
            write_tfds(layout, Original(images, labels), root)
            discard(layout, downloads)
    except (UserError, OSError) as error:
        raise UserError(
            f"{layout.name} is not in {root}, and {error}\n  "
            f"There are three ways to continue: `data_dir` with {layout.archive}, {layout.folder}, "
            f"{layout.pickled[0]}, Hugging Face's parquet files or TFDS's {layout.name} in it; "
            f"training with `mirror` and a URL of {layout.archive} or of a folder with the parquet "
            "files, which prepares the data for all commands; or training with `dataset` digits, "
            "which needs no download."
        ) from None


def _remove(folders: list[Path]) -> None:
    """Removes folders that were made for a download, unless they keep a part of it: if they lie
    among a user's images, they are in the way there."""
    with contextlib.suppress(OSError):
        for folder in folders:
            if [path.name for path in folder.iterdir()] == ["lock"]:
                (folder / "lock").unlink()
            folder.rmdir()


def write_tfds(layout: Layout, original: Original, data_dir: Path) -> None:
    """Writes `DATA_DIR/NAME/VERSION` as TFDS does, as `array_record`, and checksums of its files.

    TFDS's builder writes, to a temporary folder that it renames; it is given PNG bytes, for which
    it does not need TensorFlow. Records and all metadata are those of TFDS, and so is their order
    for images in the order of the original archive.
    """
    import tensorflow_datasets as tfds

    stock = tfds.builder_cls(layout.name)

    class Builder(stock, skip_registration=True):  # type: ignore[misc, valid-type, call-arg]
        __module__ = stock.__module__
        name = stock.name
        VERSION = tfds.core.Version(VERSION)  # also where TFDS has a newer one

        def _split_generators(self, dl_manager: Any) -> dict[str, Iterator[tuple[int, dict]]]:
            for key, names in layout.names.items():
                self.info.features[key].names = names
            return {split: _examples(layout, original, split) for split in original.images}

    # TFDS reports on stdout, which belongs to the command that called.
    with contextlib.redirect_stdout(sys.stderr):
        builder = Builder(data_dir=data_dir, file_format="array_record")
        builder.download_and_prepare()
    folder = Path(builder.data_path)
    seal(folder)


def _examples(
    layout: Layout, original: Original, split: str
) -> Iterator[tuple[int, dict[str, Any]]]:
    from PIL import Image

    pairs = zip(original.images[split], original.labels[split], strict=True)
    for index, (pixels, labels) in enumerate(pairs):
        png = io.BytesIO()
        Image.fromarray(pixels).save(png, "PNG")
        named = dict(zip(layout.names, labels.tolist(), strict=True))
        yield index, {"id": f"{split}_{index:05d}", "image": png.getvalue(), **named}
