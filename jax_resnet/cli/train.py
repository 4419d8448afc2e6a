"""Train a CIFAR-10 ResNet, with one seed or several, or continue a run."""

import argparse
import dataclasses
import itertools
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jax_resnet.cli import reason_of, show_error
from jax_resnet.cli.flags import hyphened, parse
from jax_resnet.cli.hints import OF_HINTS, refuse_foreign_flags
from jax_resnet.cpu.allocator import keep_memory
from jax_resnet.errors import UserError, say
from jax_resnet.training.combinations import MUON_FIELDS
from jax_resnet.training.config import Config, RecipeName, divide
from jax_resnet.training.config_file import read_config
from jax_resnet.training.recipes import RECIPES


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
    arguments = hyphened(arguments)
    words = first_words(arguments)
    file = words.get("config")
    values = read_config(file) if file else {}
    if values.get("shortcut", "") is None:
        del values["shortcut"]  # which stands for the default, of the recipe too
    recipe = (values | words).get("recipe", "article")
    known: RecipeName = recipe if recipe in RECIPES else "article"  # tyro refuses others
    chosen = recipe_values(known, values | words) | values
    of_file = values.get("recipe", known)
    if of_file != known and recipe_values(of_file, values | words) | values == chosen:
        raise UserError(
            f"`recipe` is {known!r}, expected {of_file!r} as in {file}, which gives all its values"
        )
    default = Train(**chosen)
    refuse_foreign_flags(words, default)
    flags = vars(parse(Train, arguments, default))
    try:
        return Config(**{field.name: flags[field.name] for field in dataclasses.fields(Config)})
    except UserError as error:
        raise UserError(f"{error} (with --config {file})" if file else error) from None


def first_words(arguments: Sequence[str]) -> dict[str, str]:
    """The flags on which the others' defaults depend, and those that the hints look at, as they are
    given; an empty text where a value is missing."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("recipe", "model", "dataset", "optimizer", "freeze", "config", *OF_HINTS):
        parser.add_argument(f"--{name}", nargs="?", const="")
    given = vars(parser.parse_known_args(arguments)[0])
    return {name: word for name, word in given.items() if word is not None}


def recipe_values(name: RecipeName, chosen: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's values, without those that don't suit the chosen ones."""
    values = dict(vars(RECIPES[name]))
    if chosen.get("model") == "cnn":
        values["shortcut"] = None
    if chosen.get("dataset") == "digits":
        values["flip"] = None
    if chosen.get("freeze") == "stages":  # SGD trains the last layer
        values["optimizer"] = "sgd"
    if chosen.get("optimizer", values["optimizer"]) == "sgd":
        values |= {field: getattr(Config, field) for field in MUON_FIELDS}
    return values


def command(arguments: Sequence[str]) -> None:
    keep_memory()
    config = parse_config(arguments)
    import jax

    from jax_resnet.run.checkpoints import saved_step
    from jax_resnet.run.cluster import join
    from jax_resnet.run.distributed import ProcessLost, is_first
    from jax_resnet.run.folder import Run
    from jax_resnet.run.signals import Interrupted
    from jax_resnet.run.watch import LOST_SECONDS, leave, watch
    from jax_resnet.training.begin import check_folder, load_aloud
    from jax_resnet.training.train import train

    settings = config.of_all_processes()
    try:
        join(config.coordinator, config.num_processes, config.process_id, settings)
        with watch():
            if config.seeds > 1:
                from jax_resnet.training.seeds import train_seeds

                result = train_seeds(config)
            else:
                check_folder(config)
                result = train(config, divide(load_aloud(config), config))
    except Interrupted as stop:
        if is_first():
            begun = itertools.takewhile(Path.exists, (run.folder for run in config.each_seed()))
            folders = [str(each) for each in begun if saved_step(Run(each).checkpoints)]
            saved = f"saved in {', '.join(folders)}"
            words = saved if folders else "no step was made and nothing saved"
            say(f"{stop}: {words}; add --resume to the same command to continue")
        sys.exit(stop.exit_code)
    except ProcessLost as lost:
        show_error(str(lost))
        leave(1, seconds=3)
    except Exception as error:
        if not jax.distributed.is_initialized():
            raise
        if reason := reason_of(error, "train"):
            show_error(reason)
        else:
            traceback.print_exc()
        leave(2 if reason else 1, seconds=LOST_SECONDS + 3)
    if is_first():
        show(result)


def show(result: dict[str, Any]) -> None:
    """Prints accuracies, of a run or of several seeds."""
    if "mean" in result:
        print(
            f"{result['split']} accuracy {result['mean']:.4f} +- {result['std']:.4f} over the "
            f"seeds {', '.join(map(str, result['seeds']))}"
        )
        return
    for which, scores in result.items():
        print(
            f"{which} (step {scores['step']}): {scores['split']} accuracy {scores['accuracy']:.4f} "
            f"({scores['correct']} of {scores['count']}), loss {scores['loss']:.4f}"
        )
