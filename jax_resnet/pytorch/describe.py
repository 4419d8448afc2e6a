"""What net the names and shapes of a PyTorch state dict describe."""

import re
from collections.abc import Mapping
from typing import Literal

import numpy as np

from jax_resnet.errors import UserError
from jax_resnet.model import ResNet, Shortcut
from jax_resnet.pytorch.names import FAMILIES, Family


def recognize(state: Mapping[str, np.ndarray]) -> Family:
    """The family whose names of the stem and the head are among the keys.

    Raises:
        UserError: if none has.
    """
    for family in FAMILIES.values():
        if f"{family.stem_conv}.weight" in state and f"{family.head}.weight" in state:
            return family
    known = "; ".join(
        f"{name}: {f.stem_conv}.weight and {f.head}.weight" for name, f in FAMILIES.items()
    )
    found = ", ".join(list(state)[:3]) or "nothing"
    raise UserError(f"no known names of layers: expected those of {known}; found {found}, ...")


def describe(
    state: Mapping[str, np.ndarray], family: Family, shortcut: Shortcut | Literal["auto"]
) -> ResNet:
    """The net that the names and shapes describe.

    Args:
        state: arrays by names without prefixes.
        family: whose names they are.
        shortcut: the net's; "auto" for what names and widths suggest.

    Raises:
        UserError: for a shortcut that no net of the family has, or a kernel or head of another
            number of dimensions.
    """

    def blocks(layer: str) -> set[str]:
        pattern = layer.replace(".", r"\.").format(s=r"\d+", b=r"(\d+)", k="[12]")
        return {match[1] for match in (re.match(pattern, name) for name in state) if match}

    num_classes = shape_of(state, f"{family.head}.weight", 2)[0]
    first = [family.conv.format(s=family.first_stage + i, b=0, k=1) for i in range(3)]
    channels = [
        shape_of(state, f"{conv}.weight", 4)[0] if f"{conv}.weight" in state else usual
        for conv, usual in zip(first, ResNet.channels, strict=True)
    ]
    if shortcut == "auto":
        shortcut = "conv1x1" if blocks(family.shortcut_conv) else family.shortcuts[0]
        if shortcut != "conv1x1" and channels != sorted(channels) and None in family.shortcuts:
            shortcut = None  # no other has fewer channels than in the stage before
    elif shortcut not in family.shortcuts:
        able = " or ".join(each or "none" for each in family.shortcuts)
        raise UserError(
            f"`shortcut` is {shortcut or 'none'}, which no net with {family.name}'s names has: "
            f"expected {able}"
        )
    depth = 6 * max(len(blocks(family.conv)), 1) + 2
    return ResNet(depth, num_classes, shortcut, channels=(channels[0], channels[1], channels[2]))


def shape_of(state: Mapping[str, np.ndarray], name: str, dimensions: int) -> tuple[int, ...]:
    """The shape of an array; a `UserError` if it has another number of dimensions, or no values."""
    shape = state[name].shape
    if len(shape) != dimensions or 0 in shape:
        raise UserError(f"{name} has shape {shape}, expected {dimensions} dimensions above 0")
    return shape
