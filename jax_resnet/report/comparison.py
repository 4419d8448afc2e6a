"""Finished runs side by side: by variant and depth, seeds together."""

import dataclasses
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp

from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.run.folder import Run, chosen, read_json
from jax_resnet.training.config import Config, default_shortcut
from jax_resnet.training.job import initial, training_data
from jax_resnet.training.programs import make_mesh, make_programs

# Test accuracies on CIFAR-10.
ARTICLE = {"zeropad": 0.8990, "conv1x1": 0.9027, "cnn": 0.8982}  # depth 20
PAPER = {20: 0.9125, 32: 0.9249, 44: 0.9283, 56: 0.9303, 110: 0.9357}  # option A, by depth
INITIAL = "initial_gradient_norms.json"  # in a run's folder, where `compare.py` looked


@dataclasses.dataclass(frozen=True)
class Group:
    """The runs that differ in their seeds only.

    Attributes:
        variant: a shortcut's name, or "cnn".
        depth: of the net.
        records: the lines of `metrics.jsonl` of each run.
        accuracies: on the test images, of the state chosen on validation, one a run.
        initial: gradient norms of each part before the first step, of the runs that know them.
        dataset: what they were trained on.
    """

    variant: str
    depth: int
    records: list[list[dict[str, Any]]]
    accuracies: list[float]
    initial: list[dict[str, float]]
    dataset: str = "cifar10"

    @property
    def label(self) -> str:
        return f"{self.variant}-{self.depth}"

    @property
    def mean(self) -> float:
        return statistics.mean(self.accuracies)

    @property
    def deviation(self) -> float | None:
        """Standard deviation over the seeds (n - 1); None for one."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else None

    @property
    def article(self) -> float | None:
        """The article's test accuracy of this net."""
        same = (self.dataset, self.depth) == ("cifar10", 20)
        return ARTICLE.get(self.variant) if same else None

    @property
    def paper(self) -> float | None:
        """The paper's, of this depth (table 6). Its shortcuts pad with zeros."""
        same = self.dataset == "cifar10" and self.variant in ("zeropad", "subsample")
        return PAPER.get(self.depth) if same else None


def collect(folders: Iterable[Path]) -> list[Group]:
    """The finished runs of these folders, wherever they were made, in the order given.

    Raises:
        UserError: if a folder holds no finished run.
    """
    groups: dict[tuple[str, int], Group] = {}
    for folder in folders:
        run = Run(folder)
        config, result = run.config(), read_json(run.result_file)
        try:
            variant = config["shortcut"] or default_shortcut(config["model"]) or "cnn"
            scores = chosen(result)
            accuracy, depth = float(scores["accuracy"]), int(config["depth"])
            dataset = str(config["dataset"])
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            raise UserError(f"{folder} holds no finished run: {error!r}") from error
        group = groups.setdefault((variant, depth), Group(variant, depth, [], [], [], dataset))
        group.records.append(run.records())
        group.accuracies.append(accuracy)
        if (folder / INITIAL).is_file():
            group.initial.append(read_json(folder / INITIAL))
    return list(groups.values())


def table(groups: Sequence[Group]) -> str:
    """Test accuracies as Markdown, beside the article's and the paper's."""
    lines = [
        "| net | depth | seeds | test accuracy | the article | the paper |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for group in groups:
        spread = "" if group.deviation is None else f" ± {group.deviation:.4f}"
        published = (group.article, group.paper)
        theirs = ["" if value is None else f"{value:.4f}" for value in published]
        lines.append(
            f"| {group.variant} | {group.depth} | {len(group.accuracies)} | "
            f"{group.mean:.4f}{spread} | {theirs[0]} | {theirs[1]} |"
        )
    return "\n".join(lines) + "\n"


def initial_gradient_norms(config: Config, dataset: Dataset) -> dict[str, float]:
    """L2 norms of each part's gradient on the run's first batch, before any step."""
    mesh = make_mesh()
    programs = make_programs(config, len(dataset.train), dataset.flippable, mesh, single_steps=True)
    state = initial(config, dataset, mesh)
    data = training_data(config, dataset, mesh)
    orders = programs.orders(jnp.asarray(state.step))
    _, totals = programs.advance(state, programs.zeros(), data, orders)
    return {part: float(norm) for part, norm in totals["gradient_norms"].items()}
