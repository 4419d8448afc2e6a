"""Predict the classes of image files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from jax_resnet.cli.flags import Json, Model, parse
from jax_resnet.data.images import FORMATS, decode_images, is_foreign, list_files
from jax_resnet.errors import UserError, printable, say, some
from jax_resnet.files import new_file, refuse_existing
from jax_resnet.plots import MAX_IN_GRID, draw_grid, drawing
from jax_resnet.predict import predict
from jax_resnet.report.models import load_model

TOP_K = 3  # classes of an image that are printed
MAX_NAMED = 5  # files that are named where many are skipped


@dataclass(frozen=True)
class Predict:
    """Predict the classes of image files, with probabilities.

    Images are rotated as EXIF says, and resized to the size that the model was trained on.
    """

    model: Model
    images: Annotated[tyro.conf.Positional[tuple[Path, ...]], tyro.conf.arg(metavar="IMAGE...")]
    """Image files of any size, and folders of them, without their subfolders; other files in a
    folder are skipped with a message."""
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, that the images are resized to instead."""
    as_json: Json = False
    """Print one JSON object: classes; and images, each with file, class and probabilities."""
    grid: Path | None = None
    """A new PNG file with the images and their predictions."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Predict, arguments)
    classifier = load_model(flags.model)
    if classifier.channels not in (1, 3):
        raise UserError(
            f"{flags.model} takes images of {classifier.channels} channels, expected a model that "
            "takes 1 or 3, which image files have"
        )
    files = find_images(flags.images)
    check_grid(flags.grid, len(files))
    images = decode_images(files, *classifier.input_shape(flags.image_size))
    names = classifier.class_names
    probabilities = predict(classifier, images)
    if flags.as_json:
        print(json.dumps(as_object(files, names, probabilities)))
    else:
        print("\n".join(as_table(files, names, probabilities)))
    if flags.grid:
        write_grid(flags.grid, images, names, probabilities)


def find_images(paths: Sequence[Path]) -> list[Path]:
    """The files given, and the images in the folders given, in order; what else is in a folder is
    said on stderr, the first few by name.

    Raises:
        UserError: listing all folders that can't be read or have no images in them.
    """
    formats = ", ".join(FORMATS)
    files: list[Path] = []
    skipped: list[Path] = []
    bad = []
    for path in paths:
        try:
            found, others = images_in(path) if path.is_dir() else ([path], [])
        except OSError as error:
            bad.append(f"{path}: can't be read: {error.strerror}")
            continue
        if not found:
            bad.append(f"{path}: a folder without images of a known format ({formats})")
        files += found
        skipped += others
    if bad:
        raise UserError("\n  ".join(["expected image files and folders of them:", *bad]))
    if not files:
        raise UserError("no images are given, expected image files or folders of them")
    if skipped:
        names = some([*map(str, skipped)], MAX_NAMED)
        say(f"skipped, as neither named as images ({formats}) nor readable as such: {names}")
    return files


def images_in(folder: Path) -> tuple[list[Path], list[Path]]:
    """The images in a folder, and its other files."""
    files = [path for path in list_files(folder) if not path.is_dir()]
    foreign = {path for path in files if is_foreign(path)}
    return [path for path in files if path not in foreign], sorted(foreign)


def ranked(names: Sequence[str], row: np.ndarray) -> list[tuple[str, float]]:
    """Classes and probabilities, the likeliest first."""
    return [(names[i], float(row[i])) for i in (-row).argsort(kind="stable")]


def as_object(
    files: Sequence[Path], names: Sequence[str], probabilities: np.ndarray
) -> dict[str, Any]:
    """The predictions as JSON has them; `probabilities` are in the order of `classes`."""
    return {
        "classes": list(names),
        "images": [
            {
                "file": str(file),
                "class": ranked(names, row)[0][0],
                "probabilities": [float(value) for value in row],
            }
            for file, row in zip(files, probabilities, strict=True)
        ],
    }


def as_table(files: Sequence[Path], names: Sequence[str], probabilities: np.ndarray) -> list[str]:
    """A line for each image: the file and its likeliest classes."""
    labels, names = [printable(file) for file in files], [printable(name) for name in names]
    longest, wide = max(map(len, labels)), max(map(len, names))
    lines = []
    for label, row in zip(labels, probabilities, strict=True):
        best = [f"{name:<{wide}} {value:6.1%}" for name, value in ranked(names, row)[:TOP_K]]
        lines.append(f"{label:<{longest}}  {'   '.join(best)}")
    return lines


def check_grid(path: Path | None, count: int) -> None:
    """Raises a `UserError` for a picture that can't be made, before anything is computed."""
    if path is None:
        return
    with drawing(1, 1):  # if matplotlib is missing, that is said now
        pass
    refuse_existing(path, "name a new file as `grid`")
    if count > MAX_IN_GRID:
        raise UserError(f"`grid` shows at most {MAX_IN_GRID} images, {count} were given")


def write_grid(
    path: Path, images: np.ndarray, names: Sequence[str], probabilities: np.ndarray
) -> None:
    """The picture, whole or not at all."""
    best = [ranked(names, row)[0] for row in probabilities]
    with new_file(path) as unfinished:
        draw_grid(images, [f"{name}\n{value:.0%}" for name, value in best], unfinished)
    say(f"wrote {path}")
