"""The paper's depths, each a function (He et al., section 4.2 and table 6).

`"Shortcut"` is in quotes so that `help` shows that name, and not what it stands for.
"""

from typing import Any

from jax_resnet.model import ResNet, Shortcut


def resnet20(*, num_classes: int = 10, shortcut: "Shortcut" = "zeropad", **fields: Any) -> ResNet:
    """`ResNet` of depth 20, 3 blocks a stage: 0.27 million parameters. `fields` as in `ResNet`."""
    return ResNet(20, num_classes, shortcut, **fields)


def resnet32(*, num_classes: int = 10, shortcut: "Shortcut" = "zeropad", **fields: Any) -> ResNet:
    """`ResNet` of depth 32, 5 blocks a stage: 0.46 million parameters. `fields` as in `ResNet`."""
    return ResNet(32, num_classes, shortcut, **fields)


def resnet44(*, num_classes: int = 10, shortcut: "Shortcut" = "zeropad", **fields: Any) -> ResNet:
    """`ResNet` of depth 44, 7 blocks a stage: 0.66 million parameters. `fields` as in `ResNet`."""
    return ResNet(44, num_classes, shortcut, **fields)


def resnet56(*, num_classes: int = 10, shortcut: "Shortcut" = "zeropad", **fields: Any) -> ResNet:
    """`ResNet` of depth 56, 9 blocks a stage: 0.85 million parameters. `fields` as in `ResNet`."""
    return ResNet(56, num_classes, shortcut, **fields)


def resnet110(*, num_classes: int = 10, shortcut: "Shortcut" = "zeropad", **fields: Any) -> ResNet:
    """`ResNet` of depth 110, 18 blocks a stage: 1.7 million parameters. `fields` as in `ResNet`."""
    return ResNet(110, num_classes, shortcut, **fields)
