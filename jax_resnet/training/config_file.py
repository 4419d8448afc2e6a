"""Config files: a JSON object whose keys are fields of `Config`, checked against their types."""

import difflib
import json
import os
import reprlib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jax_resnet.errors import UserError
from jax_resnet.training.config import Config

# A run's own `config.json` holds this besides; it says where the run was made, and sets nothing.
IGNORED = frozenset({"environment"})
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    Path: "text, a path",
    type(None): "null",
}


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values that a config file gives to fields of `Config`, in the fields' types.

    Raises:
        UserError: if the file can't be read, is no JSON object, has an unknown key or the same one
            twice, or gives a field a value of another type; naming file, key and value.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
        values = json.loads(text, object_pairs_hook=_without_doubles)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"--config {path} can't be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"--config {path} is {_show(values)}, expected a JSON object of flags")
    kinds = get_type_hints(Config)
    typed = {}
    for key, value in values.items():
        if key in IGNORED:
            continue
        if key not in kinds:
            raise UserError(f"--config {path}: unknown key {_show(key)}, {_nearest(key, kinds)}")
        try:
            typed[key] = convert(value, kinds[key])
        except ValueError:
            wanted = describe(kinds[key])
            raise UserError(
                f"--config {path}: {key} is {_show(value)}, expected {wanted}"
            ) from None
    return typed


def convert(value: Any, kind: Any) -> Any:
    """What JSON's `value` is as a `kind`; raises a `ValueError` if it is none."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return convert(value, type(None) if value is None else arguments[0])
    if origin is Literal:
        good = any(type(value) is type(each) and value == each for each in arguments)
    elif origin is tuple:
        good = isinstance(value, list) and len(value) == len(arguments)
        if good:
            return tuple(map(convert, value, arguments))
    elif kind is float:
        if type(value) in (int, float) and abs(value) < 2**1000:
            return float(value)
        good = type(value) is float  # infinity and NaN: `Config` says what would do
    elif kind in (str, Path):
        if type(value) is str and value:
            return kind(value)
        good = False
    else:
        good = type(value) is kind
    if not good:
        raise ValueError
    return value


def describe(kind: Any) -> str:
    """What `convert` takes for a `kind`, in words."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return " or ".join(map(describe, arguments))
    if origin is Literal:
        return "one of " + ", ".join(map(json.dumps, arguments))
    if origin is tuple:
        return f"a list [{', '.join(map(describe, arguments))}]"
    return _WORDS[kind]


def _nearest(key: str, known: Sequence[str] | dict[str, Any]) -> str:
    near = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0)
    return f"the nearest known one is {near[0]!r}"


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if doubled := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"the key {_show(doubled[0])} is there twice")
    return dict(pairs)


def _show(value: Any) -> str:
    short = reprlib.Repr()
    short.maxstring = short.maxother = 80
    return short.repr(value)
