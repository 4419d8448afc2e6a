"""Train a CIFAR-10 ResNet, with one seed or several, or continue a run."""

import argparse
import dataclasses
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jax_resnet.cli import with_flags
from jax_resnet.cli.flags import parse
from jax_resnet.cpu.allocator import keep_memory
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config, load_dataset
from jax_resnet.training.config_file import read_config
from jax_resnet.training.recipes import RECIPES, recipe_values


@dataclasses.dataclass(frozen=True)
class Train(Config):
    """Train a CIFAR-10 ResNet. The defaults are the recipe `article`."""

    config: Path | None = None
    """A JSON object of flags, such as a run's config.json; flags take precedence over it."""

    def __post_init__(self) -> None:
        """Nothing is checked before all flags are known."""


def parse_config(arguments: Sequence[str]) -> Config:
    """The recipe's values, replaced by those of the `--config` file, replaced by the flags'.

    Raises:
        UserError: for values that don't suit.
        SystemExit: as `parse` does.
    """
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--recipe", "--model", "--dataset", "--optimizer", "--config"):
        first.add_argument(name, nargs="?")
    words = {k: v for k, v in vars(first.parse_known_args(arguments)[0]).items() if v is not None}
    file = words.pop("config", None)
    values = read_config(file) if file else {}
    recipe = (values | words).get("recipe", "article")
    recipe = recipe if recipe in RECIPES else "article"  # tyro refuses others
    default = Train(**recipe_values(recipe, values | words) | values)
    flags = vars(parse(Train, arguments, default))
    try:
        return Config(**{field.name: flags[field.name] for field in dataclasses.fields(Config)})
    except UserError as error:
        raise UserError(f"{error} (with --config {file})" if file else error) from None


def command(arguments: Sequence[str]) -> None:
    keep_memory()
    config = parse_config(arguments)
    from jax_resnet.run.cluster import join
    from jax_resnet.run.distributed import ProcessLost, is_first
    from jax_resnet.run.signals import Interrupted, raise_signals
    from jax_resnet.training.train import train

    settings = config.hyper_parameters()
    join(config.coordinator, config.num_processes, config.process_id, settings)
    try:
        if config.seeds > 1:
            from jax_resnet.training.seeds import train_seeds

            result = train_seeds(config)
        else:
            with raise_signals():
                dataset = load_dataset(config)
            result = train(config, dataset)
    except Interrupted as stop:
        if is_first():
            folders = [run.folder for run in config.each_seed()]
            begun = ", ".join(str(folder) for folder in folders if folder.exists())
            saved = f"saved in {begun}" if begun else "nothing was begun"
            print(f"{stop}: {saved}; add --resume to the same command to continue", file=sys.stderr)
        sys.exit(stop.exit_code)
    except ProcessLost as lost:
        print(f"error: {with_flags(str(lost))}", file=sys.stderr, flush=True)
        os._exit(1)  # JAX's own exit would wait for the lost process
    if is_first():
        show(result)


def show(result: dict[str, Any]) -> None:
    """Prints test accuracies, of a run or of several seeds."""
    if "mean" in result:
        print(
            f"test accuracy {result['mean']:.4f} +- {result['std']:.4f} over the seeds "
            f"{', '.join(map(str, result['seeds']))}"
        )
        return
    for which, scores in result.items():
        print(
            f"{which} (step {scores['step']}): test accuracy {scores['accuracy']:.4f} "
            f"({scores['correct']} of {scores['count']}), loss {scores['loss']:.4f}"
        )
