"""One self-contained HTML page about a run, or about several side by side."""

import base64
import dataclasses
import io
from collections import ChainMap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8

from jax_resnet.classifier import Classifier
from jax_resnet.data.dataset import fingerprint
from jax_resnet.errors import UserError, say
from jax_resnet.report import figures
from jax_resnet.report.finished import check_metrics, read_finished, read_starts
from jax_resnet.report.predictions import Predictions
from jax_resnet.report.run_model import RunModel, load_run
from jax_resnet.run.folder import Run
from jax_resnet.run.records import chosen
from jax_resnet.training.config import Config
from jax_resnet.training.config_file import read_config
from jax_resnet.training.evaluation import evaluate, to_device
from jax_resnet.training.published import published
from jax_resnet.training.unfinished import known_records

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
    starts: list[dict[str, Any]]
    records: list[dict[str, Any]]
    result: dict[str, Any]
    classifier: Classifier
    predictions: Predictions
    mistakes: list[Mistake]
    references: dict[str, float]
    test_images: str
    is_finished: bool = True

    @property
    def scores(self) -> dict[str, Any]:
        """Step, loss and test accuracy of the classifier."""
        return chosen(self.result)

    @property
    def devices(self) -> str:
        """That the run was made on, in order."""
        kinds = [start["devices"] for start in self.starts]
        return ", then ".join(dict.fromkeys(f"{len(each)} x {each[0]}" for each in kinds))

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
    """Reads a run, and predicts its test images; with the best or else last checkpoint of a run
    that has not finished.

    Args:
        folder: the run's.
        data_dir: where its data lies now, by default where it lay in training.

    Raises:
        UserError: if the run has no checkpoint or no epoch of it has ended, or its files or data
            can't be read.
    """
    run = Run(folder)
    loaded = load_run(folder, {} if data_dir is None else {"data_dir": data_dir})
    classifier, dataset = loaded.classifier, loaded.dataset
    config = Config(**read_config(run.config_file))
    if loaded.step is None:
        records, result = read_finished(folder)
    else:
        records, result = read_so_far(run, loaded)
    predictions = Predictions.of(classifier, dataset.test)
    correct, scores = int(predictions.correct.sum()), chosen(result)
    if correct != scores["correct"]:
        say(
            f"{folder}: the classifier is right on {correct} of {scores['count']} test images "
            f"here, and was on {scores['correct']}"
        )
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
    return RunReport(
        name, config.to_json(), read_starts(run), records, result, classifier, predictions,
        mistakes, references=published(config),
        test_images=fingerprint(sorted(dataset.test.hashes())), is_finished=loaded.step is None,
    )  # fmt: skip


def read_so_far(run: Run, loaded: RunModel) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The metrics of a run that has not finished, and the result that it would have now.

    Raises:
        UserError: if no epoch has ended, or the run is one for tuning, whose test images are not to
            be looked at.
    """
    if not Config(**read_config(run.config_file)).test:
        raise UserError(f"{run.folder} is trained without `test`: resume it with `test`")
    assert loaded.step is not None
    records = check_metrics(known_records(run, loaded.step), run.metrics_file)
    if not records:
        raise UserError(
            f"{run.metrics_file} is missing or empty, expected a run of which an epoch has ended"
        )
    scores = evaluate(loaded.classifier, to_device(loaded.dataset.test))
    return records, {"last": {"step": loaded.step, "split": "test"} | scores}


def data_uri(image: UInt8[np.ndarray, "h w c"]) -> str:
    """The image as a PNG in a `data:` URI."""
    from PIL import Image

    png = io.BytesIO()
    Image.fromarray(image.squeeze(-1) if image.shape[-1] == 1 else image).save(png, "PNG")
    return f"data:image/png;base64,{base64.b64encode(png.getvalue()).decode()}"


def render(runs: Sequence[RunReport]) -> str:
    """The HTML page.

    Raises:
        UserError: if two runs have the same name, or different classes or test images.
    """
    import jinja2

    by_name = {run.name: run for run in runs}
    if len(by_name) < len(runs):
        names = ", ".join(run.name for run in runs)
        raise UserError(f"the runs are named {names}, expected a different name for each")
    if len({run.classifier.class_names for run in runs}) > 1:
        raise UserError("the runs have different classes, expected runs on one data set")
    if len({run.test_images for run in runs}) > 1:
        raise UserError("the runs have different test images, expected runs on one data set")
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string(TEMPLATE.read_text(encoding="utf-8"))
    records = {name: run.records for name, run in by_name.items()}
    reliability = {name: run.predictions.reliability() for name, run in by_name.items()}
    smoothings = {name: run.config["label_smoothing"] for name, run in by_name.items()}
    references = dict(ChainMap(*(run.references for run in runs)))
    return template.render(
        runs=runs,
        records=records,
        reliability=reliability,
        smoothings=smoothings,
        references=references,
        figures=figures,
    )
