"""One self-contained HTML page about a run, or about several side by side."""

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.pretrained import load_classifier
from jax_resnet.report import figures as figures
from jax_resnet.report.predictions import Answers
from jax_resnet.report.scores import run_dataset
from jax_resnet.run.folder import Run, chosen, read_json

MISTAKES = 24
TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A wrong answer, with its image as a data URI."""

    picture: str
    said: str
    confidence: float
    label: str


@dataclasses.dataclass(frozen=True)
class Reported:
    """What the page says of a run; `seconds` is the time of the training steps alone."""

    name: str
    config: dict[str, Any]
    records: list[dict[str, Any]]
    result: dict[str, Any]
    classifier: Classifier
    answers: Answers
    mistakes: list[Mistake]

    @property
    def shown(self) -> dict[str, Any]:
        """Loss and accuracy on the test images of the state that the page is about."""
        return chosen(self.result)

    @property
    def seconds(self) -> float:
        steps = np.diff([0, *(line["step"] for line in self.records)])
        speeds = [line["images_per_second"] for line in self.records]
        return float(sum(steps * self.config["batch_size"] / speeds))

    @property
    def parameters(self) -> int:
        def count(tree: Any) -> int:
            return sum(map(count, tree.values())) if isinstance(tree, dict) else tree.size

        return count(self.classifier.variables["params"])


def read_run(folder: Path, data_dir: Path | None = None) -> Reported:
    """Reads a finished run, and asks its classifier about the test images.

    Args:
        folder: the run's.
        data_dir: where its data lies now, by default where it lay.

    Raises:
        UserError: if the run has not finished, or its files or data can't be read.
    """
    run = Run(folder)
    classifier = load_classifier(folder)
    given = {} if data_dir is None else {"data_dir": data_dir}
    dataset = run_dataset(classifier, folder, given)
    records, result = run.records(), read_json(run.result_file)
    if not records or "last" not in result:
        raise UserError(f"{folder} holds no finished run: its metrics or results are empty")
    answers = Answers.of(classifier, dataset.test)
    names = dataset.class_names
    mistakes = [
        Mistake(
            data_uri(dataset.test.images[i]),
            names[answers.classes[i]],
            float(answers.confidences[i]),
            names[answers.labels[i]],
        )
        for i in answers.mistakes(MISTAKES)
    ]
    return Reported(
        folder.resolve().name, run.config(), records, result, classifier, answers, mistakes
    )


def data_uri(image: UInt8[np.ndarray, "h w c"]) -> str:
    """A PNG that needs no file."""
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(png, "PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def render(runs: Sequence[Reported]) -> str:
    """The page.

    Raises:
        UserError: if two runs have one name, or other classes.
    """
    import jinja2

    by_name = {run.name: run for run in runs}
    if len(by_name) < len(runs):
        names = ", ".join(run.name for run in runs)
        raise UserError(f"the runs are {names}, expected each to have a name of its own")
    if len({run.classifier.class_names for run in runs}) > 1:
        raise UserError("the runs tell different classes, expected all to be of one data set")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text())
    records = {name: run.records for name, run in by_name.items()}
    reliability = {name: run.answers.reliability() for name, run in by_name.items()}
    return template.render(runs=runs, records=records, reliability=reliability, figures=figures)
