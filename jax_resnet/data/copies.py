"""Images that several splits share."""

from jax_resnet.data.dataset import Split
from jax_resnet.errors import say


def say_copies(source: object, **splits: Split) -> None:
    """Says of each split how many of its images are, with the same label, in one named before it.

    Args:
        source: where the images are from.
        splits: in the order in which their images are used, by their names.
    """
    before: dict[str, set[bytes]] = {}
    for name, split in splits.items():
        hashes = split.hashes()
        for other, seen in before.items():
            if count := sum(each in seen for each in hashes):
                say(
                    f"{source}: {count} of the {len(split)} {name} images are equal to {other} "
                    "images of the same class: scores on them say little of new images"
                )
        before[name] = {*hashes}
