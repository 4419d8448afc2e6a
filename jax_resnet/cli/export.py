"""Write a model as a file that runs without this package."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from jax_resnet.cli.flags import Model, parse
from jax_resnet.errors import printable
from jax_resnet.export import PLATFORMS, export_classifier
from jax_resnet.files import new_file, refuse_existing
from jax_resnet.report.models import load_model


@dataclass(frozen=True)
class Export:
    """Write a model with jax.export: uint8 NHWC images in, float32 logits out, one image or more.

    JAX promises to read the file for six months: archive the model's own safetensors file, which
    has no such limit, and export it again when needed.
    """

    model: Model
    out: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="OUT")]
    """The new file."""
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, of the images; by default as in training."""


def command(arguments: Sequence[str]) -> None:
    flags = parse(Export, arguments)
    refuse_existing(flags.out)
    content = export_classifier(load_model(flags.model), flags.image_size)
    with new_file(flags.out) as unfinished:
        unfinished.write_bytes(content)
    print(f"{printable(flags.out)}: {len(content)} bytes for {', '.join(PLATFORMS)}")
