"""Finished runs side by side: runs that differ in their seeds only form a group."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from jax_resnet.data import Dataset
from jax_resnet.errors import UserError, say
from jax_resnet.files import read_json
from jax_resnet.model import ShortcutName
from jax_resnet.report.finished import GradientNorms, checked, read_finished
from jax_resnet.run.environment import pinned
from jax_resnet.run.folder import Run
from jax_resnet.run.records import chosen
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import read_config
from jax_resnet.training.programs import device_data, init_state, make_mesh, make_programs
from jax_resnet.training.published import PUBLISHED

Variant = Literal[ShortcutName, "cnn"]  # a residual net by its shortcut, or the plain net
INITIAL = "initial_gradient_norms.json"  # in a run's folder: `initial_gradient_norms`


@dataclasses.dataclass(frozen=True)
class Group:
    """Runs that differ in their seeds only.

    Attributes:
        dataset: what they were trained on.
        recipe: what their hyper-parameters started from.
        variant: one of `Variant`.
        depth: of the net.
        records: the lines of `metrics.jsonl` of each run.
        accuracies: test accuracy of each run, of the state chosen on validation.
        initial: gradient norms of each part before the first step, of the runs that have them.
    """

    dataset: str
    recipe: str
    variant: str
    depth: int
    records: list[list[dict[str, Any]]] = dataclasses.field(default_factory=list)
    accuracies: list[float] = dataclasses.field(default_factory=list)
    initial: list[dict[str, float]] = dataclasses.field(default_factory=list)

    @property
    def mean(self) -> float:
        """Mean test accuracy."""
        return statistics.mean(self.accuracies)

    @property
    def std(self) -> float | None:
        """Standard deviation of the test accuracy over the seeds (n - 1); None for one run."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None

    def published(self, source: str) -> float | None:
        """Test accuracy of the same net in one of `PUBLISHED`."""
        found = PUBLISHED[source].get((self.variant, self.depth))
        return found if self.dataset == "cifar10" else None


def collect(folders: Iterable[Path]) -> list[Group]:
    """Groups the finished runs of these folders, in the order given.

    Raises:
        UserError: if a folder holds no finished run, or two runs of a data set, a recipe, a variant
            and a depth differ in more than their seeds, or in the steps of their metrics.
    """
    groups: dict[tuple[str, str, str, int], Group] = {}
    first: dict[tuple[str, str, str, int], tuple[Path, Config]] = {}
    for folder in folders:
        config = Config(**read_config(Run(folder).config_file))
        records, result = read_finished(folder)
        key = (config.dataset, config.recipe, config.shortcut or "cnn", config.depth)
        refuse_differences(*first.setdefault(key, (folder, config)), folder, config)
        group = groups.setdefault(key, Group(*key))
        steps, *others = ([line["step"] for line in each] for each in (records, *group.records))
        if others and steps != others[0]:
            raise UserError(
                f"{first[key][0]} and {folder} can't be averaged: their epochs end at other steps, "
                "expected runs on one data set"
            )
        group.records.append(records)
        scores = chosen(result)
        group.accuracies.append(scores["accuracy"])
        if (lost := scores.get("lost_step")) is not None:
            say(f"{folder}: the checkpoint of step {lost}, better on validation, is lost")
        if (folder / INITIAL).is_file():
            initial = folder / INITIAL
            group.initial.append(checked(GradientNorms, read_json(initial), initial))
    return list(groups.values())


def refuse_differences(one: Path, config: Config, other: Path, other_config: Config) -> None:
    """Raises a `UserError` that names the hyper-parameters, other than the seed, that differ."""
    mine, theirs = config.hyper_parameters(), other_config.hyper_parameters()
    differences = [
        f"`{name}` is {value!r} and {theirs[name]!r}"
        for name, value in mine.items()
        if name != "seed" and value != theirs[name]
    ]
    if differences:
        raise UserError(
            f"{one} and {other} can't be averaged: {'; '.join(differences)}, expected runs of a "
            "recipe that differ in `seed` only"
        )


def net_names(groups: Sequence[Group]) -> list[str]:
    """The variant of each group, after its data set and recipe where these vary."""
    varied = [name for name in ("dataset", "recipe") if len({getattr(g, name) for g in groups}) > 1]
    return [" ".join([*(getattr(g, name) for name in varied), g.variant]) for g in groups]


def table(groups: Sequence[Group]) -> str:
    """Test accuracies, and those published of the same nets, as Markdown."""
    lines = [
        f"| net | depth | seeds | test accuracy | {' | '.join(PUBLISHED)} |",
        f"| --- | ---: | ---: | ---: |{' ---: |' * len(PUBLISHED)}",
    ]
    for name, group in zip(net_names(groups), groups, strict=True):
        spread = "" if group.std is None else f" ± {group.std:.4f}"
        published = [group.published(source) for source in PUBLISHED]
        others = " | ".join("" if value is None else f"{value:.4f}" for value in published)
        lines.append(
            f"| {name} | {group.depth} | {len(group.accuracies)} | {group.mean:.4f}{spread} | "
            f"{others} |"
        )
    return "\n".join(lines) + "\n"


@pinned()
def initial_gradient_norms(config: Config, dataset: Dataset) -> dict[str, float]:
    """L2 norm of the gradient of each part of the net on the run's first batch, before a step."""
    mesh = make_mesh()
    programs = make_programs(config, len(dataset.train), mesh, dispatch="step")
    state = init_state(config, dataset.num_classes, dataset.image_shape, mesh)
    data = device_data(dataset.train, config.normalization, mesh)
    epoch = programs.draw_epoch(config.seed, state.step)
    _, totals = programs.advance(state, programs.zeros(), data, epoch)
    return {part: float(norm) for part, norm in totals["gradient_norms"].items()}
