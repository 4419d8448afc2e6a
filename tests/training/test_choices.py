"""Every hyper-parameter of training changes the program: a new one that nothing reads, or a new
value that a branch lacks, fails here by its name."""

import dataclasses
from functools import cache
from typing import Annotated, Literal, get_args, get_origin, get_type_hints

import jax
import pytest

from jax_resnet.data import load
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config
from jax_resnet.training.programs import (
    device_data,
    init_state,
    make_mesh,
    make_programs,
    make_step,
)
from jax_resnet.training.recipes import RECIPES

DIGITS = load("digits")
BASE = Config(depth=8, steps=8, batch_size=16, flip="none")
MUON = dataclasses.replace(BASE, optimizer="muon")
TUNED = dataclasses.replace(BASE, init="resnet20-zeropad")
# For each field that is no choice, a configuration in which it has an effect, and another value.
OTHERS = {
    "depth": (BASE, 14),
    "batch_size": (BASE, 32),
    "steps": (BASE, 16),
    "learning_rate": (BASE, 0.3),
    "muon_learning_rate": (MUON, 0.3),
    "warmup_steps": (BASE, 3),
    "momentum": (BASE, 0.8),
    "muon_momentum": (MUON, 0.8),
    "nesterov": (BASE, True),
    "weight_decay": (BASE, 0.3),
    "decay_all": (BASE, False),
    "label_smoothing": (BASE, 0.3),
    "pad": (dataclasses.replace(BASE, pad=0), 1),
    "precision": (BASE, "float32"),  # on a CPU the others are one
}
# These choose the data and the weights that a program is given, or stand for other fields' values.
GIVEN = {"dataset", "image_size", "channels", "split_proportions", "val_fraction", "seed", "init"}
NAMES = {"recipe", "model"}


def values_of(hint):
    """The values of the `Literal`s in a type."""
    if get_origin(hint) is Literal:
        return list(get_args(hint))
    inner = get_args(hint)[:1] if get_origin(hint) is Annotated else get_args(hint)
    return [value for part in inner for value in values_of(part)]


HINTS = get_type_hints(Config, include_extras=True)
FIELDS = BASE.hyper_parameters().keys() - GIVEN - NAMES - OTHERS.keys()
CHOICES = [(field, value) for field in sorted(FIELDS) for value in values_of(HINTS[field])]


@cache
def program(config):
    """A training step as text; its state keeps its structure."""
    mesh = make_mesh()
    data = device_data(DIGITS.train, config.normalization, mesh)
    state = jax.eval_shape(lambda: init_state(config, 10, (8, 8, 1), mesh))
    programs = make_programs(config, len(DIGITS.train), mesh)
    epoch = jax.eval_shape(programs.draw_epoch, config.seed, 0)
    step = make_step(config, mesh)
    traced, ends = jax.make_jaxpr(step, return_shape=True)(state, programs.zeros(), data, epoch)
    assert jax.tree.structure(ends[0]) == jax.tree.structure(state)
    assert ends[1]["loss"].shape == ()
    return str(traced)


def test_every_field_has_an_example_or_choices():
    assert {field for field, _ in CHOICES} == FIELDS, "a field has neither values nor an example"
    assert {"shortcut", "optimizer", "schedule", "pad_mode", "flip", "normalization"} <= FIELDS


@pytest.mark.parametrize(("field", "value"), CHOICES)
def test_every_choice_is_a_program_of_its_own(field, value):
    base = TUNED if field == "freeze" else BASE
    values = [each for each in values_of(HINTS[field]) if each != value]
    if field == "shortcut":
        values.append(None)

    def of(value):
        model = "cnn" if (field, value) == ("shortcut", None) else "resnet"
        return program(dataclasses.replace(base, **{field: value, "model": model}))

    for other in values:
        assert of(value) != of(other), f"`{field}` {value} and {other} train by one program"


@pytest.mark.parametrize("field", OTHERS)
def test_every_value_is_a_program_of_its_own(field):
    base, value = OTHERS[field]
    changed = dataclasses.replace(base, **{field: value})
    assert program(changed) != program(base), f"`{field}` changes nothing"


@pytest.mark.slow
@pytest.mark.parametrize("field", OTHERS)
@pytest.mark.parametrize(
    ("choice", "name"),
    [(choice, name) for choice in ("schedule", "optimizer") for name in values_of(HINTS[choice])],
)
def test_a_value_beside_each_choice_has_an_effect_or_is_refused(choice, name, field):
    base, value = OTHERS[field]
    base = dataclasses.replace(base, **{choice: name})
    try:
        changed = dataclasses.replace(base, **{field: value})
    except UserError:
        return
    assert program(changed) != program(base), f"`{field}` changes nothing beside {name}"


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=RECIPES)
def test_every_recipe_can_be_traced(recipe):
    assert program(dataclasses.replace(recipe, depth=8, steps=8, batch_size=16))
