"""Images of all classes in one folder, with a table of their classes, as Kaggle has CIFAR-10."""

import csv
import io
from pathlib import Path

from jax_resnet.data.images import list_files
from jax_resnet.errors import UserError, printable, say, some
from jax_resnet.files import read_text, refuse_lost_link

_NAMES = ("labels.csv", "trainLabels.csv")


def find_table(root: Path) -> Path | None:
    """The table in a folder, or None.

    Raises:
        UserError: if there are two, or a link to none.
    """
    for name in _NAMES:
        refuse_lost_link(root / name)
    found = [root / name for name in _NAMES if (root / name).is_file()]
    if len(found) > 1:
        raise UserError(f"{root} has {' and '.join(_NAMES)}, expected one of them")
    return found[0] if found else None


def list_labeled(table: Path) -> dict[str, list[Path]]:
    """The image files of every class, classes and files sorted by name.

    The table has the columns `id` and `label`. Its images are `ID.png` in the folder `train` beside
    it, or else in its own folder; what is there and has no row is refused. If they are in `train`,
    what else is beside it, such as Kaggle's `test`, is not read, and a line on stderr says so.

    Raises:
        UserError: for another table, a row without its image, an image without a row, or fewer
            than two classes.
    """
    root = table.parent
    train = root / "train"
    folder = train if train.is_dir() else root
    files = {path.name: path for path in list_files(folder) if path != table}
    labels = _read(table)
    if bare := [name for name in files if name not in labels]:
        raise UserError(
            f"{table} has no row for {some(bare)} in {folder}, expected one for everything there, "
            f"or no {table.name} where folders are the classes; an id is a name without .png"
        )
    if lost := [name for name in labels if name not in files]:
        raise UserError(f"{folder} has no {some(lost)}, expected an image for each row of {table}")
    classes: dict[str, list[Path]] = {label: [] for label in sorted(set(labels.values()))}
    if len(classes) < 2:
        raise UserError(f"{table} has {len(classes)} classes, expected 2 or more")
    for name, path in files.items():
        classes[labels[name]].append(path)
    beside = [path.name for path in list_files(root) if path not in (table, train)]
    if folder == train and beside:
        say(f"{root}: not read, because {table.name} is of train: {some(beside)}")
    return classes


def _read(table: Path) -> dict[str, str]:
    """The label of each file name."""
    labels: dict[str, str] = {}
    reader = csv.reader(io.StringIO(read_text(table), newline=""), strict=True)
    try:
        rows = ([cell.strip() for cell in row] for row in reader)
        if (header := next(rows, [])) != ["id", "label"]:
            raise UserError(f"{table} begins with {some(header) or None}, expected id, label")
        for row in filter(None, rows):  # without blank lines
            if len(row) != 2 or not all(row):
                raise UserError(
                    f"{table}, line {reader.line_num}, is {some(row)}, expected an id and its label"
                )
            if printable(row[1]) != row[1]:
                raise UserError(
                    f"{table}, line {reader.line_num}: the label {row[1]!r} has control characters"
                )
            name, label = f"{row[0]}.png", row[1]
            if name in labels:
                raise UserError(f"{table}, line {reader.line_num}, has the id {row[0]} again")
            labels[name] = label
    except csv.Error as error:
        raise UserError(f"{table}, line {reader.line_num}, can't be read: {error}") from None
    return labels
