"""One self-contained HTML page about a run, or about several side by side."""

import base64
import dataclasses
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jax_resnet.classifier import Classifier
from jax_resnet.errors import UserError
from jax_resnet.pretrained import load_classifier
from jax_resnet.report import figures
from jax_resnet.report.finished import Environment, checked, read_finished
from jax_resnet.report.predictions import Predictions
from jax_resnet.report.scores import run_dataset
from jax_resnet.run.folder import Run, chosen
from jax_resnet.run.records import read_environment
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import read_config

MAX_MISTAKES = 24
TEMPLATE = Path(__file__).with_name("page.html.jinja")


@dataclasses.dataclass(frozen=True)
class Mistake:
    """A misclassified image, as a data URI."""

    image: str
    predicted: str
    confidence: float
    label: str


@dataclasses.dataclass(frozen=True)
class RunReport:
    """What the page shows of a run."""

    name: str
    config: dict[str, Any]
    environment: dict[str, Any]
    records: list[dict[str, Any]]
    result: dict[str, Any]
    classifier: Classifier
    predictions: Predictions
    mistakes: list[Mistake]

    @property
    def scores(self) -> dict[str, Any]:
        """Step, loss and test accuracy of the classifier."""
        return chosen(self.result)

    @property
    def seconds(self) -> float:
        """Time of the training steps alone."""
        steps = np.diff([0, *(line["step"] for line in self.records)])
        speeds = [line["images_per_second"] for line in self.records]
        return float(sum(steps * self.config["batch_size"] / speeds))

    @property
    def parameters(self) -> int:
        """Number of trained parameters."""
        return sum(leaf.size for leaf in jax.tree.leaves(self.classifier.variables["params"]))


def read_run(folder: Path, data_dir: Path | None = None) -> RunReport:
    """Reads a finished run, and predicts its test images.

    Args:
        folder: the run's.
        data_dir: where its data lies now, by default where it lay in training.

    Raises:
        UserError: if the run has not finished, or its files or data can't be read.
    """
    run = Run(folder)
    classifier = load_classifier(folder)
    dataset = run_dataset(classifier, folder, {} if data_dir is None else {"data_dir": data_dir})
    records, result = read_finished(folder)
    config = Config(**read_config(run.config_file)).to_json()
    environment = checked(Environment, read_environment(run.config_file), run.config_file)
    predictions = Predictions.of(classifier, dataset.test)
    names = dataset.class_names
    mistakes = [
        Mistake(
            data_uri(dataset.test.images[i]),
            names[predictions.classes[i]],
            float(predictions.confidences[i]),
            names[predictions.labels[i]],
        )
        for i in predictions.mistakes(MAX_MISTAKES)
    ]
    name = folder.resolve().name
    return RunReport(name, config, environment, records, result, classifier, predictions, mistakes)


def data_uri(image: UInt8[np.ndarray, "h w c"]) -> str:
    """The image as a PNG in a `data:` URI."""
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(png, "PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def render(runs: Sequence[RunReport]) -> str:
    """The HTML page.

    Raises:
        UserError: if two runs have the same name, or different classes.
    """
    import jinja2

    by_name = {run.name: run for run in runs}
    if len(by_name) < len(runs):
        names = ", ".join(run.name for run in runs)
        raise UserError(f"the runs are named {names}, expected a different name for each")
    if len({run.classifier.class_names for run in runs}) > 1:
        raise UserError("the runs have different classes, expected runs on one data set")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    records = {name: run.records for name, run in by_name.items()}
    reliability = {name: run.predictions.reliability() for name, run in by_name.items()}
    return template.render(runs=runs, records=records, reliability=reliability, figures=figures)
