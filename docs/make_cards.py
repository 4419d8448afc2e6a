"""Writes what is said about each net in the package, from the files of its run and its weights.

python docs/make_cards.py          # docs/cards/NAME.md, and the table of docs/models.md
python docs/make_cards.py --check  # writes nothing, fails if one of them is not up to date
"""

import argparse
import itertools
import re
import sys
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import Template
from typing import Any

import jax

from jax_resnet import Classifier, UserError, pretrained
from jax_resnet.cli import REPOSITORY
from jax_resnet.errors import as_words
from jax_resnet.files import replace_file
from jax_resnet.report.finished import Scores, read_finished, read_starts
from jax_resnet.run.folder import Run
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import read_config
from jax_resnet.training.recipes import RECIPES

DOCS = Path(__file__).parent
MODELS = DOCS / "models.md"
TEMPLATE = DOCS / "card.template"
COMMAND = "python docs/make_cards.py"
TABLE = re.compile(rf"(<!-- by {COMMAND} -->\n\n).*?(\n<!-- end -->\n)", re.DOTALL)
TRAINING_IMAGES = 50_000  # of CIFAR-10, before some are kept for validation
RUNS = {  # a net's folder in docs/runs
    "resnet20-subsample": "resnet-subsample-20-cifar10-paper-seed0",
    "resnet20-zeropad": "resnet-zeropad-20-cifar10-article-seed0",
    "resnet20-conv1x1": "resnet-conv1x1-20-cifar10-article-seed0",
    "cnn20": "cnn-20-cifar10-article-seed0",
    "resnet20-zeropad-12epochs": "resnet-zeropad-20-cifar10-fast-seed0",
    "resnet20-conv1x1-12epochs": "resnet-conv1x1-20-cifar10-fast-seed0",
    "cnn20-12epochs": "cnn-20-cifar10-fast-seed0",
    "resnet20-conv1x1-30epochs": "conv1x1-30-seed0",
    "resnet20-zeropad-30epochs": "zeropad-30-seed0",
    "resnet20-conv1x1-200epochs": "resnet-conv1x1-20-cifar10-long-seed10",
}
# The last steps of runs that began on a GPU and ended on a CPU, which no file of theirs says.
LAST_ON_CPU = {"resnet20-zeropad-12epochs": 351, "resnet20-conv1x1-30epochs": 1_757}
UNSAID = {"model", "shortcut", "steps", "precision", "seed"}  # in the table's column of the recipe
SHORTCUTS = {
    "zeropad": "In a block with stride 2 the shortcut is 2x2 max-pooling and zero channels.",
    "conv1x1": "In a block with stride 2 the shortcut is a 1x1 convolution (their option B).",
    "subsample": "In a block with stride 2 the shortcut is every second pixel and zero channels "
    "(their option A).",
    None: "It has the layers of the residual net, without shortcuts.",
}
IN_SIGHT = (
    "The values of the recipe `fast`, however, were chosen with test accuracies known, so the "
    f"test accuracies may be slightly too high ([how it was found]({REPOSITORY}/blob/main/docs/"
    "results.md#how-the-fast-recipe-was-found))."
)
PUBLISHED = "The values of the recipe are published ones, so test images chose nothing."
BY_OTHERS = (
    "The values of the recipe are published ones, which were taken because others report a high "
    "test accuracy with them; nothing was changed after a look at this net's test accuracy."
)
CHOICES = {"fast": IN_SIGHT, "long": BY_OTHERS, "article": PUBLISHED, "paper": PUBLISHED}


@dataclass(frozen=True)
class Net:
    """A net in the package, and what the files of its run say."""

    name: str
    classifier: Classifier
    config: Config
    starts: list[dict[str, Any]]  # as `read_starts` gives them
    epochs: int
    validation_accuracy: float
    best: Scores
    last: Scores

    @property
    def parameters(self) -> int:
        return sum(x.size for x in jax.tree.leaves(self.classifier.variables["params"]))


def read_net(name: str) -> Net:
    """Reads the weights and the run of a net.

    Raises:
        UserError: which names what is missing or damaged.
    """
    run = Run(DOCS / "runs" / RUNS[name])
    for file in (run.config_file, run.metrics_file, run.result_file):
        if not file.is_file():
            raise UserError(f"{file} is missing, expected that of the run of {name}")
    records, result = read_finished(run.folder)
    best = result.get("best", {"step": None})
    validated = [x["validation_accuracy"] for x in records if x["step"] == best["step"]]
    if len(validated) != 1:
        raise UserError(f"{run.folder} has no state that is best on validation, expected one")
    starts = read_starts(run)
    config = Config(**read_config(run.config_file))
    version = starts[0]["versions"]["jax-resnet-cifar"]
    if version == "0.1.0" and config.depth < 110:  # its `warmup_steps` had no effect
        config = replace(config, warmup_steps=None)
    return Net(
        name=name,
        classifier=pretrained(name),
        config=config,
        starts=starts,
        epochs=round(records[-1]["epoch"]),
        validation_accuracy=validated[0],
        best=best,
        last=result["last"],
    )


def changed_values(config: Config) -> dict[str, Any]:
    """The hyper-parameters that are not the recipe's."""
    recipe = RECIPES[config.recipe].hyper_parameters()
    return {k: v for k, v in config.hyper_parameters().items() if v != recipe[k] and v is not None}


def train_command(config: Config) -> str:
    """The command that makes such a run."""
    values = {"recipe": config.recipe} | changed_values(config)
    if config.name:
        values["name"] = config.name
    flags = [flag(name.replace("_", "-"), value) for name, value in values.items()]
    lines = textwrap.wrap(f"python scripts/train.py {' '.join(flags)}", 92, break_on_hyphens=False)
    return " \\\n    ".join(lines)


def flag(name: str, value: Any) -> str:
    """The words that give a hyper-parameter its value on the command line."""
    if isinstance(value, bool):
        return f"--{'' if value else 'no-'}{name}"
    return f"--{name} {as_words(value)}"


def table(nets: Sequence[Net]) -> str:
    """The nets as Markdown."""
    lines = [
        "| name | correct on test | validation accuracy | recipe | epochs | parameters |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for net in nets:
        others = changed_values(net.config).keys() - UNSAID
        lines.append(
            f"| [`{net.name}`](cards/{net.name}.md) | {correct(net.best)} | "
            f"{net.validation_accuracy:.4f} | {net.config.recipe}{', other values' * bool(others)} "
            f"| {net.epochs} | {net.parameters:,} |"
        )
    return "\n".join(lines) + "\n"


def places(net: Net) -> str:
    """On what the run was made, and from which step on elsewhere."""
    cpu = "a CPU, in float32," if net.config.precision == "bf16" else "a CPU"
    found = []
    for (devices, python, versions), (start, *_) in itertools.groupby(
        net.starts, lambda start: (start["devices"], start["python"], start["versions"])
    ):
        programs = {"Python": python, **versions}.items()
        with_programs = ", ".join(f"{name} {version}" for name, version in programs if version)
        place = f"{', '.join(devices).replace('cpu', cpu)} with {with_programs}"
        found.append((start["step"], place))
    (_, first), *others = found
    went_on = "".join(f", and went on at step {step:,} on {place}" for step, place in others)
    on_cpu = LAST_ON_CPU.get(net.name)
    return f"The run began on {first}{went_on}." + (
        f" Its last {on_cpu:,} steps were made on a CPU." if on_cpu else ""
    )


def correct(scores: Scores) -> str:
    return f"{scores['correct']:,} of {scores['count']:,}"


def card(net: Net) -> str:
    """A model card in the form of Hugging Face's."""
    config = net.config
    validation_images = round(config.val_fraction * TRAINING_IMAGES)
    values = {
        "name": net.name,
        "kind": "residual" if config.shortcut else "plain",
        "depth": config.depth,
        "shortcut": SHORTCUTS[config.shortcut],
        "parameters": f"{net.parameters:,}",
        "accuracy": net.best["accuracy"],
        "best": f"{net.best['step']:,} | {correct(net.best)} | {net.best['accuracy']:.4f}",
        "last": f"{net.last['step']:,} | {correct(net.last)} | {net.last['accuracy']:.4f}",
        "validation": f"{net.validation_accuracy:.4f}",
        "validation_images": f"{validation_images:,}",
        "choice": CHOICES[config.recipe],
        "command": train_command(config),
        "steps": f"{config.steps:,}",
        "batch_size": config.batch_size,
        "epochs": net.epochs,
        "images": f"{TRAINING_IMAGES - validation_images:,}",
        "seed": config.seed,
        "places": places(net),
        "run": RUNS[net.name],
        "mean": "mean by pixel" if config.normalization == "pixel" else "mean and std by channel",
        "classes": ", ".join(net.classifier.class_names),
        "repository": REPOSITORY,
    }
    return Template(TEMPLATE.read_text()).substitute(values)


def pages() -> dict[Path, str]:
    """What each file is to hold.

    Raises:
        UserError: if a net has no run or a run no net, or a file is missing or damaged.
    """
    if odd := sorted(set(pretrained()) ^ RUNS.keys()):
        raise UserError(f"{odd[0]} is not both in jax_resnet/weights and in RUNS, expected in both")
    nets = [read_net(name) for name in RUNS]
    text, found = TABLE.subn(rf"\g<1>{table(nets)}\g<2>", MODELS.read_text())
    if found != 1:
        raise UserError(f"{MODELS} has {found} places for the table, expected one")
    return {MODELS: text} | {DOCS / "cards" / f"{net.name}.md": card(net) for net in nets}


def stale(expected: dict[Path, str]) -> list[Path]:
    """The files that differ, that are missing, and the cards of no net."""
    cards = set((DOCS / "cards").glob("*.md"))
    return sorted(
        path
        for path in expected.keys() | cards
        if not path.exists() or path.read_text() != expected.get(path)
    )


def main(check: bool) -> None:
    expected = pages()
    differing = stale(expected)
    for path in differing:
        done = "is written" if path in expected else "is deleted, as no net has it"
        print(f"{path.relative_to(DOCS.parent)} {'is not up to date' if check else done}")
        if check:
            continue
        if path in expected:
            replace_file(path, expected[path].encode())
        else:
            path.unlink()
    if check and differing:
        sys.exit(f"`{COMMAND}` brings them up to date")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="write nothing, fail if one differs")
    try:
        main(parser.parse_args().check)
    except UserError as error:
        sys.exit(f"error: {error}")
