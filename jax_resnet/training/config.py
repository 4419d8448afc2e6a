"""`Config`: every hyper-parameter and every flag, once."""

import dataclasses
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, get_type_hints

import pydantic
from pydantic import ConfigDict, Field
from typing_extensions import TypedDict

from jax_resnet.data import Dataset, DatasetName, load, split_validation
from jax_resnet.data.dataset import Normalization
from jax_resnet.model import Shortcut
from jax_resnet.training.batches import Cutout, Flip, PadMode
from jax_resnet.training.combinations import check_together
from jax_resnet.training.fields import (
    Address,
    Count,
    CountOrZero,
    Depth,
    FileName,
    Folder,
    Fraction,
    ImageSize,
    Rate,
    Share,
    Text,
    readable_errors,
)
from jax_resnet.training.optimizer import Optimizer, Schedule
from jax_resnet.training.precision import Precision
from jax_resnet.training.step import Freeze

OF_A_START = ("coordinator", "num_processes", "process_id")  # how processes find each other
# Where and how a run is made, without effect on its weights: `resume` may change these.
NOT_HYPER_PARAMETERS = frozenset(
    {"data_dir", "mirror", "runs_dir", "name", "resume", "profile", "test", "seeds", *OF_A_START}
)
OF_A_PROCESS = frozenset({"data_dir", "mirror", "coordinator", "process_id"})
RecipeName = Literal["article", "paper", "fast", "long"]


@dataclasses.dataclass(frozen=True)
class Config:
    """The hyper-parameters of a run, and where it is kept. The defaults are the recipe `article`.

    In Python `recipe` is only a name, and sets no other field (but `warmup` of the paper's deep
    nets). Its values are `RECIPES[name]` of `jax_resnet.training.recipes`, to be changed by
    `dataclasses.replace` (`freeze` with the recipe `fast` needs `optimizer="sgd"`, and its values).

    Raises:
        UserError: for a value of another type or out of bounds, naming the field, the value and
            what is accepted.
    """

    recipe: RecipeName = "article"
    """Named values for the flags below; any flag given as well takes precedence."""

    model: Literal["resnet", "cnn"] = "resnet"
    """The residual net, or the plain net: the same layers without shortcuts."""
    depth: Depth = 20
    """Layers with weights: 6n + 2, from 8 to 1202."""
    shortcut: Shortcut = None  # zeropad, unless the net is plain
    init: Text | None = None
    """A trained net to start from instead of random weights: a name in `jax_resnet.pretrained()`, a
    Classifier file or a finished run's folder. With other classes the last layer starts anew."""
    freeze: Freeze = "none"

    dataset: DatasetName = "cifar10"
    data_dir: Folder | None = None
    """Where the data set is, or an existing folder to keep it in; by default $TFDS_DATA_DIR, or
    ~/tensorflow_datasets."""
    mirror: Text | None = None
    """URL to download the data set from instead of Hugging Face and its original host: of the
    original archive, or, with / at the end, of a folder with it or with the parquet files."""
    image_size: ImageSize | None = None
    """Height and width, in pixels, of a folder's images."""
    channels: Literal[1, 3] | None = None
    """1 (gray) or 3 (RGB), for a folder's images."""
    split_proportions: tuple[Share, Share, Share] | None = None
    """Shares of one folder's images for training, validation and test; they sum to 1."""
    val_fraction: Fraction = 0.2
    """Share of the training images kept for validation, where the data set has no validation
    images; with 0 the net trains on all of them, and no state is chosen as the best."""

    batch_size: Count = 128
    """Images a step, over all devices."""
    steps: Count = 64_000
    """Steps of training."""
    optimizer: Optimizer = "sgd"
    learning_rate: Rate = 0.1
    """Highest learning rate of SGD."""
    muon_learning_rate: Rate = 0.05
    """Highest learning rate of Muon, under the same schedule."""
    schedule: Schedule = "step"
    warmup_steps: CountOrZero | None = None
    """Steps at a tenth of the learning rate at the start, with the schedule step. By default 400
    for the recipe paper at depth 110 and more (paper, 4.2), else 0."""
    momentum: Fraction = 0.9
    """Momentum of SGD."""
    muon_momentum: Fraction = 0.6
    """Momentum of Muon."""
    nesterov: bool = False
    """Use Nesterov's momentum in SGD."""
    weight_decay: Rate = 1e-4
    """L2 penalty of the weights that SGD trains: this times the weight is added to its gradient."""
    decay_all: bool = True
    """Decay BatchNorm's parameters and biases too."""
    label_smoothing: Fraction = 0.0
    """Share of each target that is spread over all classes."""

    normalization: Normalization = "channel"
    pad: Annotated[int, Field(ge=0, le=31)] = 4
    """Pixels that a 32x32 image is shifted by at most, each way; in proportion for other sizes, at
    least 1 unless this is 0."""
    pad_mode: PadMode = "black"
    flip: Flip | None = None
    """Mirror no images (always so for digits), each at random (otherwise the default), or each in
    every second epoch (alternating; Jordan, 2024, arXiv:2404.00498)."""
    cutout: Cutout = "none"

    precision: Precision = "default"
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 0
    """Of initialization, validation split, data order and augmentation."""
    seeds: Annotated[int, Field(ge=1)] = 1
    """Number of runs, with this seed and the following ones; several devices train one each."""

    runs_dir: Folder = Path("runs")
    """Where the runs' folders are."""
    name: FileName | None = None
    """The run's folder there; by default made of model, data set, recipe and seed."""
    resume: bool = False
    """Continue from the run's last checkpoint, or start where there is none."""
    test: bool = True
    """Evaluate on the test images at the end. Without, the result holds validation scores: for
    tuning, where no choice may depend on test images."""
    profile: CountOrZero = 0
    """Steps to record, after the first few, as a trace for Perfetto or XProf."""

    coordinator: Address | None = None
    """HOST:PORT of the first of several processes that train together; or auto, on a Cloud TPU."""
    num_processes: Annotated[int, Field(ge=1)] | None = None
    """Number of processes that train together, where no cluster says so."""
    process_id: Annotated[int, Field(ge=0)] | None = None
    """Index of this process: 0, the first, prints and writes."""

    def __post_init__(self) -> None:
        with readable_errors():
            values = validator().validate_python(vars(self))
        for name, value in values.items():  # a float of NumPy's is Python's then
            object.__setattr__(self, name, value)
        check_together(self)
        if self.model == "resnet" and self.shortcut is None:
            object.__setattr__(self, "shortcut", "zeropad")
        if self.precision == "tf32":
            object.__setattr__(self, "precision", "default")

    @property
    def warmup(self) -> int:
        """Steps of warm-up; `warmup_steps`, or what the recipe takes for the depth."""
        if self.warmup_steps is None:
            is_warmed = self.recipe == "paper" and self.depth >= 110 and self.schedule == "step"
            return 400 if is_warmed else 0
        return self.warmup_steps

    @property
    def mirroring(self) -> Flip:
        """`flip`, or what suits the data set."""
        return self.flip or ("none" if self.dataset == "digits" else "random")

    @property
    def run_name(self) -> str:
        kind = "cnn" if self.model == "cnn" else f"resnet-{self.shortcut}"
        name = self.name or f"{kind}-{self.depth}-{self.dataset}-{self.recipe}"
        if self.seeds > 1:
            return f"{name}-seeds{self.seed}-{self.seed + self.seeds - 1}"
        return self.name or f"{name}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.runs_dir.expanduser() / self.run_name

    @property
    def scored_split(self) -> Literal["test", "validation"]:
        """The split that the result's scores are of."""
        return "test" if self.test else "validation"

    def each_seed(self) -> Iterator["Config"]:
        """The runs that `seeds` stands for; of one seed, the run itself."""
        if self.seeds == 1:
            yield self
            return
        for seed in range(self.seed, self.seed + self.seeds):
            yield self.of_seed(seed)

    def of_seed(self, seed: int) -> "Config":
        """The run of one of several seeds."""
        name = f"{self.name}-seed{seed}" if self.name else None
        return dataclasses.replace(self, seed=seed, seeds=1, name=name)

    def of_any_seed(self) -> "Config":
        """The same hyper-parameters, with the default of the seed and of all that has no effect on
        the weights: runs that have this in common run the same programs."""
        names = NOT_HYPER_PARAMETERS | {"seed"}
        return dataclasses.replace(self, **{name: getattr(Config, name) for name in names})

    def to_json(self) -> dict[str, Any]:
        """The fields as JSON's types."""
        return validator().dump_python(vars(self), mode="json")

    def of_all_processes(self) -> dict[str, Any]:
        """The fields that are the same in all processes that train together, as JSON's types."""
        return {k: v for k, v in self.to_json().items() if k not in OF_A_PROCESS}

    def hyper_parameters(self) -> dict[str, Any]:
        """The fields that the result depends on, as JSON's types."""
        values = self.to_json() | {"warmup_steps": self.warmup, "flip": self.mirroring}
        return {k: v for k, v in values.items() if k not in NOT_HYPER_PARAMETERS}


@cache
def validator() -> pydantic.TypeAdapter[dict[str, Any]]:
    """Validates a dictionary of some of `Config`'s fields."""
    hints = get_type_hints(Config, include_extras=True)
    strict = pydantic.with_config(ConfigDict(strict=True, extra="forbid"))
    some: Any = strict(TypedDict("some", hints, total=False))  # type: ignore
    return pydantic.TypeAdapter(some)


def load_dataset(config: Config) -> Dataset:
    """The data set that the fields name, with its validation split."""
    return divide(load_images(config), config)


def divide(images: Dataset, config: Config) -> Dataset:
    """The data set of `load_images`, with the validation split that the fields name."""
    return split_validation(images, config.val_fraction, config.seed)


def load_images(config: Config) -> Dataset:
    """The data set that the fields name, as its source divides it: the same for all seeds."""
    return load(
        config.dataset,
        config.data_dir,
        mirror=config.mirror,
        image_size=config.image_size,
        channels=config.channels,
        split_proportions=config.split_proportions,
    )
