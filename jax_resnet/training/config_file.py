"""Config files: JSON objects of `Config`'s fields, such as a run's `config.json`."""

import difflib
import json
import os
from pathlib import Path
from typing import Any

from jax_resnet.errors import UserError
from jax_resnet.files import read_text
from jax_resnet.run.records import ENVIRONMENT
from jax_resnet.training.config import OF_A_START, Config, validator
from jax_resnet.training.fields import readable_errors


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The values that a config file gives to fields of `Config`.

    Raises:
        UserError: if the file can't be read, is no JSON object, has an unknown key or the same one
            twice, or a value of another type; naming file, key and value.
    """
    text = read_text(path)
    try:
        values = json.loads(text, object_pairs_hook=_without_doubles)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} can't be read: {error}") from error
    if not isinstance(values, dict):
        raise UserError(f"{path} holds no JSON object of flags")
    if values.pop(ENVIRONMENT, None) is not None:  # a run's, which other processes may train on
        values = {key: value for key, value in values.items() if key not in OF_A_START}
    known = list(Config.__dataclass_fields__)
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key.lower().replace("-", "_"), known, n=1, cutoff=0)
            raise UserError(f"{path}: unknown key {key!r:.80}, the nearest one is {near[0]!r}")
    try:
        with readable_errors():
            return validator().validate_json(json.dumps(values))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    if doubled := sorted({key for key in keys if keys.count(key) > 1}):
        raise ValueError(f"the key {doubled[0]!r:.80} stands there twice")
    return dict(pairs)


def refuse_changes(config: Config, file: Path) -> None:
    """Raises a `UserError` that names the hyper-parameters that differ from those in a run's
    `config.json`; what is missing there had its default."""
    values = read_config(file)
    try:
        before = Config(**values)
    except UserError as error:
        raise UserError(f"{file} is damaged: {error}") from error
    old = before.hyper_parameters()
    changed = [
        f"`{name}` was {old[name]!r}, is {value!r}"
        for name, value in config.hyper_parameters().items()
        if old[name] != value
    ]
    if changed:
        way = "; choose another `name`"
        if old | {"steps": config.steps} == config.hyper_parameters():
            way += (
                f": with the `schedule` {before.schedule} every learning rate depends on the "
                f"number of all steps; `init` {file.parent} trains its net further, when it is "
                "finished"
            )
        raise UserError(
            f"{file.parent} holds a run with other hyper-parameters: {'; '.join(changed)}{way}"
        )
