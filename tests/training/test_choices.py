"""Every value of every choice trains: a new one that a branch lacks fails here by its name."""

import dataclasses
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import jax
import pytest

from jax_resnet.data import load
from jax_resnet.training.config import Config
from jax_resnet.training.programs import device_data, make_init, make_mesh, make_programs
from jax_resnet.training.recipes import RECIPES

DIGITS = load("digits")


def values_of(hint):
    """The values of the `Literal`s in a type."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return [value for part in inner for value in values_of(part)]


HINTS = get_type_hints(Config, include_extras=True)
CHOICES = [(field, value) for field, hint in HINTS.items() for value in values_of(hint)]


def test_the_choices_are_found():
    assert {"shortcut", "optimizer", "schedule", "pad_mode", "flip", "normalization"} <= {
        field for field, _ in CHOICES
    }
    assert ("recipe", "fast") in CHOICES


@pytest.mark.parametrize(("field", "value"), CHOICES)
def test_a_step_of_every_choice_can_be_traced(field, value):
    base = RECIPES[value] if field == "recipe" else Config()
    config = dataclasses.replace(base, depth=8, steps=8, batch_size=16)
    if value == "cnn":
        config = dataclasses.replace(config, shortcut=None, model="cnn")
    else:
        init = "resnet20-zeropad" if field == "freeze" else None
        config = dataclasses.replace(config, **{field: value}, init=init)
    mesh = make_mesh()
    programs = make_programs(config, len(DIGITS.train), mesh)
    data = device_data(DIGITS.train, config.normalization, mesh)
    state = jax.eval_shape(lambda: make_init(config, 10, (8, 8, 1), mesh)(config.seed))
    epoch = jax.eval_shape(programs.draw_epoch, config.seed, 0)
    after, totals = jax.eval_shape(programs.advance, state, programs.zeros(), data, epoch)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert totals["loss"].shape == ()
