"""Images that several splits share, or that have two labels."""

from collections import defaultdict

from jax_resnet.data.dataset import Split
from jax_resnet.errors import say


def say_copies(source: object, *, within: bool, **splits: Split) -> None:
    """Says of each split how many of its images are also in one named before it, with the same
    label and with another one.

    Args:
        source: where the images are from.
        within: also count the images of a split that are in it with another label.
        splits: in the order in which their images are used, by their names.
    """
    before: dict[str, dict[bytes, set[int]]] = {}
    for name, split in splits.items():
        labels: defaultdict[bytes, set[int]] = defaultdict(set)
        images = list(zip(split.image_hashes(), split.labels.tolist(), strict=True))
        for image, label in images:
            labels[image].add(label)
        before[name] = labels
        for other, seen in before.items():
            if other == name and not within:
                continue
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
                    "images of another class: one of the classes is wrong, or the images are too "
                    "small to be told apart"
                )
