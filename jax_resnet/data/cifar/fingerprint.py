"""Whether a copy of a data set is genuine, and an order of its images that all copies share."""

from pathlib import Path

import numpy as np

from jax_resnet.data.cifar import Layout
from jax_resnet.data.dataset import Dataset, Split, fingerprint
from jax_resnet.errors import UserError


def verify(layout: Layout, splits: dict[str, Split], source: Path) -> Dataset:
    """The data set that was read from `source`, in its canonical order.

    Raises:
        UserError: if it is truncated or altered.
    """
    class_names, ordered = layout.names["label"], {}
    classes = len(class_names)
    for name, count in layout.counts.items():
        order, found = canonical_order(splits[name])
        ordered[name] = Split(splits[name].images[order], splits[name].labels[order])
        labels = np.repeat(np.arange(classes), count // classes)
        if (
            splits[name].images.shape != (count, 32, 32, 3)
            or not np.array_equal(np.sort(splits[name].labels), labels)
            or (layout.fingerprints and found != layout.fingerprints[name])
        ):
            raise UserError(
                f"{source} is truncated or altered: its {name} images and labels are not the "
                f"{count} of {layout.name}, {count // classes} of each class"
            )
    train, test = ordered["train"], ordered["test"]
    validation = Split(train.images[:0], train.labels[:0])
    return Dataset(layout.name, train, validation, test, class_names, flippable=True)


def canonical_order(split: Split) -> tuple[list[int], str]:
    """Positions of images, sorted by a hash of each and its label; and the hash of these hashes.

    Every copy of a data set gives the same order, so a validation split drawn by position is the
    same from every source; and two splits have the same fingerprint of 32 hexadecimal digits if
    and only if they hold the same labeled images. 50,000 CIFAR images take about 0.4 s.
    """
    hashes = split.hashes()
    order = sorted(range(len(hashes)), key=hashes.__getitem__)
    return order, fingerprint([hashes[i] for i in order])
