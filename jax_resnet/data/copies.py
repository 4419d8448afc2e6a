"""Images that several splits share, or that have two labels."""

from collections import defaultdict

from jax_resnet.data.dataset import Split
from jax_resnet.errors import say


def say_copies(source: object, **splits: Split) -> None:
    """Says of each split how many of its images are also in one named before it, and how many are
    there, or in the split itself, with another label.

    Args:
        source: where the images are from.
        splits: in the order in which their images are used, by their names.
    """
    before: dict[str, dict[bytes, set[int]]] = {}
    for name, split in splits.items():
        labels: defaultdict[bytes, set[int]] = defaultdict(set)
        images = list(zip(split.hashes(with_labels=False), split.labels.tolist(), strict=True))
        for image, label in images:
            labels[image].add(label)
        before[name] = labels
        for other, seen in before.items():
            same = sum(label in seen.get(image, ()) for image, label in images)
            contrary = sum(bool(seen.get(image, set()) - {label}) for image, label in images)
            if same and other != name:
                say(
                    f"{source}: {same} of the {len(split)} {name} images are equal to {other} "
                    "images of the same class: scores on them say little of new images"
                )
            if contrary:
                say(
                    f"{source}: {contrary} of the {len(split)} {name} images are also {other} "
                    "images of another class: one of the classes is wrong"
                )
