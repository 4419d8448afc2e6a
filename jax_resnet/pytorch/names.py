"""The names of the tensors of these nets in three families of PyTorch implementations.

The article's has names such as `conv2x.0.conv1.0.weight` and `fc.weight`; akamaster's, from the
repository pytorch_resnet_cifar10, such as `layer1.0.conv1.weight` and `linear.weight`;
torchvision's, which many implementations use, such as `layer1.0.conv1.weight`,
`layer2.0.downsample.0.weight` and `fc.weight`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from jax_resnet.errors import UserError
from jax_resnet.model import ResNet, Shortcut

FamilyName = Literal["article", "akamaster", "torchvision"]


@dataclass(frozen=True)
class Family:
    """The names of one implementation's layers, with stage `{s}`, block `{b}` and layer `{k}`."""

    name: FamilyName
    stem_conv: str
    stem_norm: str
    first_stage: int
    conv: str
    norm: str
    shortcut_conv: str
    shortcut_norm: str
    head: str
    shortcuts: tuple[Shortcut, ...]  # that its nets compute; the first, where names show none
    published: tuple[Shortcut, ...]  # whose inputs have the mean and std below; others' differ
    mean: tuple[float, ...] = ()  # of the inputs, by RGB channel scaled to [0, 1]
    std: tuple[float, ...] = ()


_FAMILIES = (
    Family(
        name="article",
        stem_conv="conv1.0",
        stem_norm="conv1.1",
        first_stage=2,
        conv="conv{s}x.{b}.conv{k}.0",
        norm="conv{s}x.{b}.conv{k}.1",
        shortcut_conv="conv{s}x.{b}.conv1x1.0",
        shortcut_norm="conv{s}x.{b}.conv1x1.1",
        head="fc",
        shortcuts=("zeropad", "conv1x1", None),
        published=("zeropad", "conv1x1", None),
        mean=(0.4914, 0.4822, 0.4465),
        std=(0.2023, 0.1994, 0.2010),
    ),
    Family(
        name="akamaster",
        stem_conv="conv1",
        stem_norm="bn1",
        first_stage=1,
        conv="layer{s}.{b}.conv{k}",
        norm="layer{s}.{b}.bn{k}",
        shortcut_conv="layer{s}.{b}.shortcut.0",
        shortcut_norm="layer{s}.{b}.shortcut.1",
        head="linear",
        shortcuts=("subsample", "conv1x1"),
        published=("subsample",),
        mean=(0.485, 0.456, 0.406),  # ImageNet's, as that implementation was trained
        std=(0.229, 0.224, 0.225),
    ),
    Family(
        name="torchvision",
        stem_conv="conv1",
        stem_norm="bn1",
        first_stage=1,
        conv="layer{s}.{b}.conv{k}",
        norm="layer{s}.{b}.bn{k}",
        shortcut_conv="layer{s}.{b}.downsample.0",
        shortcut_norm="layer{s}.{b}.downsample.1",
        head="fc",
        shortcuts=("conv1x1",),
        published=(),
    ),
)
FAMILIES = {family.name: family for family in _FAMILIES}


def families_of(shortcut: Shortcut) -> list[FamilyName]:
    """The families whose nets compute this shortcut: weights may load into others too.

    Raises:
        UserError: if there is none.
    """
    able = [name for name, family in FAMILIES.items() if shortcut in family.shortcuts]
    if not able:
        raise UserError(
            f"the net has shortcut {shortcut}, expected one that a PyTorch family computes: none "
            f"of {', '.join(FAMILIES)} does"
        )
    return able


# For each kind of layer: PyTorch's name, Flax's collection and name, and PyTorch's axes in the
# order of Flax's array (OIHW to HWIO, and (out, in) to (in, out)).
Kind = Literal["conv", "norm", "dense"]
TENSORS: dict[Kind, tuple[tuple[str, str, str, tuple[int, ...]], ...]] = {
    "conv": (("weight", "params", "kernel", (2, 3, 1, 0)),),
    "norm": (
        ("weight", "params", "scale", (0,)),
        ("bias", "params", "bias", (0,)),
        ("running_mean", "batch_stats", "mean", (0,)),
        ("running_var", "batch_stats", "var", (0,)),
    ),
    "dense": (
        ("weight", "params", "kernel", (1, 0)),
        ("bias", "params", "bias", (0,)),
    ),
}


def layers(family: Family, model: ResNet) -> Iterator[tuple[str, tuple[str, ...], Kind]]:
    """PyTorch's prefix, Flax's path and the kind of each layer of `model`."""
    yield family.stem_conv, ("stem_conv",), "conv"
    yield family.stem_norm, ("stem_norm",), "norm"
    for stage in range(len(model.channels)):
        for block in range((model.depth - 2) // 6):
            place = {"s": stage + family.first_stage, "b": block}
            path = (f"stage{stage + 1}", f"block{block + 1}")
            for k in (1, 2):
                yield family.conv.format(k=k, **place), (*path, f"conv{k}"), "conv"
                yield family.norm.format(k=k, **place), (*path, f"norm{k}"), "norm"
            if model.shortcut == "conv1x1" and stage > 0 and block == 0:
                yield family.shortcut_conv.format(**place), (*path, "shortcut_conv"), "conv"
                yield family.shortcut_norm.format(**place), (*path, "shortcut_norm"), "norm"
    yield family.head, ("head",), "dense"


def tensors(
    family: Family, model: ResNet, paths: Iterable[tuple[str, ...]]
) -> dict[str, tuple[tuple[str, ...], tuple[int, ...]]]:
    """By PyTorch's names, the path in Flax's variables and the order of the axes of each tensor.

    Raises:
        UserError: if one of `paths`, which are those of all variables, has no PyTorch name.
    """
    found = {
        f"{prefix}.{torch_name}": ((collection, *path, name), axes)
        for prefix, path, kind in layers(family, model)
        for torch_name, collection, name, axes in TENSORS[kind]
    }
    if nameless := set(paths) - {path for path, _ in found.values()}:
        raise UserError(
            f"{family.name} has no names for variables of shortcut {model.shortcut or 'none'}: "
            f"{', '.join(sorted('/'.join(path) for path in nameless))}"
        )
    return found
