"""`Config`: every hyper-parameter and every flag, once."""

import dataclasses
import unicodedata
from pathlib import Path
from typing import Any, Literal

from jax_resnet.errors import UserError
from jax_resnet.model import SMALLEST_IMAGE, ResNet, Shortcut, check_depth
from jax_resnet.training.batches import Flip, PadMode

# What says where and how a run is made, but not what comes out of it: may differ on `--resume`.
NOT_HYPER_PARAMETERS = frozenset(
    {"data_dir", "mirror", "runs_dir", "name", "resume", "profile"}
    | {"seeds", "coordinator", "num_processes", "process_id"}
)

# Limits, so that a slip of the keyboard is told from a run.
MAX_IMAGES = 2**31 - 1  # steps * batch size, which the device counts in int32
DEEPEST = 1202  # of the paper's nets
HIGHEST_RATE = 1e38  # a float32 holds little more
LARGEST_IMAGE = 4096
LONGEST_NAME = 200


@dataclasses.dataclass(frozen=True)
class Config:
    """Train a CIFAR-10 ResNet. The defaults are the recipe `article`."""

    recipe: Literal["article", "paper", "fast"] = "article"
    """Named values for the flags below; any flag after it still counts."""

    model: Literal["resnet", "cnn"] = "resnet"
    """The residual net, or the same net without shortcuts."""
    depth: int = 20
    """Layers with weights: 6n + 2, from 8 to 1202."""
    shortcut: Shortcut | None = None
    """Past a block that strides: max-pool and zero channels (zeropad, the default), convolution
    of 1x1 (conv1x1), or every second pixel and zero channels (subsample)."""

    dataset: Literal["cifar10", "cifar100", "digits", "folder"] = "cifar10"
    """The images; digits are embedded and need no download."""
    data_dir: Path | None = None
    """Where the data set lies or is to lie; TFDS's own place by default."""
    mirror: str | None = None
    """URL to download the data set's archive from instead of its original host."""
    image_size: tuple[int, int] | None = None
    """Height and width, in pixels, of a folder's images."""
    channels: Literal[1, 3] | None = None
    """1 (grey) or 3 (RGB), for a folder's images."""
    split_proportions: tuple[float, float, float] | None = None
    """Parts of one folder for training, validation and test; they sum to 1."""
    val_fraction: float = 0.2
    """Part of the training images kept for validation, where the data has no images for it; 0
    trains on all and has no best."""

    batch_size: int = 128
    """Images a step, over all devices."""
    steps: int = 64_000
    """Steps of training."""
    optimizer: Literal["sgd", "muon"] = "sgd"
    """SGD, or Muon for the kernels of the blocks and SGD for the rest."""
    learning_rate: float = 0.1
    """Highest rate of SGD."""
    muon_learning_rate: float = 0.05
    """Highest rate of Muon, under the same schedule."""
    schedule: Literal["step", "linear", "triangle"] = "step"
    """Divide the rate by 10 at 1/2 and 3/4 of the steps; or lower it linearly to 0, from the
    first step on or (triangle) after rising for a fifth of the steps."""
    warmup_steps: int = 0
    """Steps at a tenth of the rate at first, with the schedule `step` in nets of depth 110 and more
    (paper, 4.2)."""
    momentum: float = 0.9
    """Momentum of SGD."""
    muon_momentum: float = 0.6
    """Momentum of Muon."""
    nesterov: bool = False
    """Nesterov's form of SGD's momentum."""
    weight_decay: float = 1e-4
    """Decay of the weights that SGD trains, added to the gradient."""
    decay_all: bool = True
    """Whether BatchNorm's parameters and biases decay too."""
    label_smoothing: float = 0.0
    """Part of each target spread over all classes."""

    normalization: Literal["channel", "pixel"] = "channel"
    """Mean and deviation by channel, or the mean by pixel alone, of the training images."""
    pad: int = 4
    """Pixels that an image of 32 may move by, each way; in proportion for another size."""
    pad_mode: PadMode = "black"
    """What comes in from outside: black, the mean, or the image's reflection."""
    flip: Flip = "random"
    """Mirror images at random or every second epoch, where the data set admits it."""

    precision: Literal["tf32", "float32", "bf16"] = "tf32"
    """The hardware's own fast float32, exact float32, or bfloat16 with float32 parameters."""
    seed: int = 0
    """Of initialisation, split, order and augmentation."""
    seeds: int = 1
    """Runs to make, with this seed and those after it; several devices take one each."""

    runs_dir: Path = Path("runs")
    """Where runs have their folders."""
    name: str | None = None
    """The run's folder there; made of model, data set, recipe and seed by default."""
    resume: bool = False
    """Go on from the run's last checkpoint, or start where there is none."""
    profile: int = 0
    """Steps to record, after the first few, as a trace for Perfetto or xprof."""

    coordinator: str | None = None
    """HOST:PORT of the first of several processes, a run's parts; or auto, on a Cloud TPU."""
    num_processes: int | None = None
    """Number of processes that a run is made of, where no cluster says so."""
    process_id: int | None = None
    """Which of them this is: 0, the first, prints and writes."""

    def __post_init__(self) -> None:
        check(self)

    @property
    def run_name(self) -> str:
        kind = "cnn" if self.model == "cnn" else f"resnet-{self.effective_shortcut}"
        name = self.name or f"{kind}-{self.depth}-{self.dataset}-{self.recipe}"
        if self.seeds > 1:
            return f"{name}-seeds{self.seed}-{self.seed + self.seeds - 1}"
        return self.name or f"{name}-seed{self.seed}"

    @property
    def folder(self) -> Path:
        """The run's."""
        return self.runs_dir.expanduser() / self.run_name

    @property
    def effective_shortcut(self) -> Shortcut | None:
        return self.shortcut or default_shortcut(self.model)

    def hyper_parameters(self) -> dict[str, Any]:
        """What decides the result, as JSON has it."""
        decisive = {k: v for k, v in to_json(self).items() if k not in NOT_HYPER_PARAMETERS}
        return decisive | {"shortcut": self.effective_shortcut}


def default_shortcut(model: str) -> Shortcut | None:
    """What no `shortcut` stands for."""
    return None if model == "cnn" else "zeropad"


def to_json(config: Config) -> dict[str, Any]:
    """The fields as JSON's types."""

    def plain(value: Any) -> Any:
        if isinstance(value, Path):
            return str(value)
        return list(value) if isinstance(value, tuple) else value

    return {k: plain(v) for k, v in dataclasses.asdict(config).items()}


def check(config: Config) -> None:
    """Raises a `UserError` that names flag, value and what would do."""
    for name, value in vars(config).items():
        if isinstance(value, (str, Path)):
            plain = not any(unicodedata.category(letter) in ("Cc", "Cs") for letter in str(value))
            _require(plain, name, str(value), "text without control characters")
    _require_range(config, "depth", 8, DEEPEST)
    try:
        check_depth(config.depth)
    except ValueError as error:
        raise UserError(f"--{error}") from error
    _require(
        config.model == "resnet" or config.shortcut is None, "shortcut", config.shortcut,
        "none with --model cnn, which has no shortcuts",
    )  # fmt: skip
    for name in ("batch_size", "steps"):
        _require_range(config, name, 1, MAX_IMAGES)
    most = MAX_IMAGES // config.batch_size
    wanted = f"at most {most} with --batch-size {config.batch_size}, {MAX_IMAGES} images in all"
    _require(config.steps <= most, "steps", config.steps, wanted)
    for name in ("warmup_steps", "profile"):
        _require_range(config, name, 0, MAX_IMAGES)
    _require_range(config, "pad", 0, 31)
    _require_range(config, "seed", 0, 2**32 - 1)
    _require_range(config, "seeds", 1, 2**32 - config.seed)
    for name in ("learning_rate", "muon_learning_rate", "weight_decay"):
        _require_range(config, name, 0, HIGHEST_RATE)
    for name in ("momentum", "muon_momentum", "val_fraction", "label_smoothing"):
        value = getattr(config, name)
        _require(0 <= value < 1, name, value, "0 or more, and less than 1")
    good = all(0 <= share <= 1 for share in config.split_proportions or ())
    wanted = "three shares from 0 to 1"
    _require(good, "split_proportions", config.split_proportions, wanted)
    good = all(SMALLEST_IMAGE <= side <= LARGEST_IMAGE for side in config.image_size or ())
    wanted = f"two numbers from {SMALLEST_IMAGE} to {LARGEST_IMAGE}"
    _require(good, "image_size", config.image_size, wanted)
    for name in ("data_dir", "runs_dir"):
        try:
            (getattr(config, name) or Path()).expanduser()
        except RuntimeError:
            path = str(getattr(config, name))
            _require(False, name, path, "a folder; there is no such home")
    check_processes(config)
    if config.name is not None:
        plain = config.name not in ("", ".", "..") and not set(config.name) & set("/\\")
        short = len(config.name.encode()) <= LONGEST_NAME
        wanted = f"the name of one folder, at most {LONGEST_NAME} bytes"
        _require(plain and short, "name", config.name, wanted)


def check_processes(config: Config) -> None:
    """Raises a `UserError` unless the flags for several processes make sense together."""
    several = (config.coordinator, config.num_processes, config.process_id)
    if config.coordinator == "auto":
        for name in ("num_processes", "process_id"):
            _require(getattr(config, name) is None, name, getattr(config, name), "none with auto")
    elif several != (None, None, None):
        host, _, port = (config.coordinator or "").rpartition(":")
        good = bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 2**16
        _require(good, "coordinator", config.coordinator, "HOST:PORT of the first process, or auto")
        count, which = config.num_processes, config.process_id
        _require(count is not None and count > 0, "num_processes", count, "1 or more")
        good = which is not None and 0 <= which < (count or 0)
        _require(
            good, "process_id", which, f"0 to {(count or 0) - 1}, one less than --num-processes"
        )
    alone = config.seeds == 1 or several == (None, None, None)
    _require(alone, "seeds", config.seeds, "1 where a run is made of several processes")
    _require(config.seeds == 1 or not config.profile, "profile", config.profile, "0 with --seeds")


def _require_range(config: Config, field: str, least: int, most: float) -> None:
    value = getattr(config, field)
    _require(least <= value <= most, field, value, f"{least} to {most}")


def _require(good: bool, field: str, value: Any, wanted: str) -> None:
    if not good:
        shown = repr(value)
        shown = shown if len(shown) <= 100 else f"{shown[:100]}..."
        raise UserError(f"--{field.replace('_', '-')} is {shown}, expected {wanted}")


def make_model(config: Config, num_classes: int, **fields: Any) -> ResNet:
    """The net that the flags describe."""
    return ResNet(config.depth, num_classes, config.effective_shortcut, **fields)
