"""Which values of `Config`'s fields suit each other."""

from typing import TYPE_CHECKING, Any

from jax_resnet.errors import UserError
from jax_resnet.training.fields import MAX_IMAGES, expected

if TYPE_CHECKING:
    from jax_resnet.training.config import Config

MUON_FIELDS = ("muon_learning_rate", "muon_momentum")  # without effect under SGD


def _require(good: bool, field: str, value: Any, wanted: str) -> None:
    if not good:
        raise UserError(expected(field, value, wanted))


def check_together(config: "Config") -> None:
    """Raises a `UserError` unless the fields suit each other."""
    _require(
        config.model == "resnet" or config.shortcut is None, "shortcut", config.shortcut,
        "None with the `model` cnn, which has no shortcuts",
    )  # fmt: skip
    wanted = "'none' without `init`, whose layers are to be frozen"
    _require(config.freeze == "none" or bool(config.init), "freeze", config.freeze, wanted)
    most = MAX_IMAGES // config.batch_size
    wanted = f"at most {most} with `batch_size` {config.batch_size}, {MAX_IMAGES} images in all"
    _require(config.steps <= most, "steps", config.steps, wanted)
    most = 2**32 - config.seed
    _require(config.seeds <= most, "seeds", config.seeds, f"at most {most}, as seeds end at 2**32")
    wanted = "sgd with `freeze` stages: Muon trains no last layer"
    good = config.freeze == "none" or config.optimizer == "sgd"
    _require(good, "optimizer", config.optimizer, wanted)
    for name in MUON_FIELDS:
        value, default = getattr(config, name), getattr(type(config), name)
        wanted = f"{default}, its default, with the `optimizer` sgd, which has no Muon"
        _require(config.optimizer == "muon" or value == default, name, value, wanted)
    warmup, schedule, steps = config.warmup, config.schedule, config.steps
    wanted = f"0 with the `schedule` {schedule}, which has no warm-up"
    _require(warmup == 0 or schedule == "step", "warmup_steps", warmup, wanted)
    good = warmup == 0 or warmup < steps
    if config.warmup_steps is None:
        wanted = f"more than the {warmup} of warm-up at `depth` {config.depth}"
        _require(good, "steps", steps, wanted)
    wanted = f"fewer than the {steps} `steps`, which would all be warm-up"
    _require(good, "warmup_steps", warmup, wanted)
    count, index = config.num_processes, config.process_id
    if config.coordinator == "auto":
        _require(count is None, "num_processes", count, "None with the `coordinator` auto")
        _require(index is None, "process_id", index, "None with the `coordinator` auto")
    elif (config.coordinator, count, index) != (None, None, None):
        wanted = "HOST:PORT of the first process, or auto"
        _require(config.coordinator is not None, "coordinator", None, wanted)
        _require(count is not None, "num_processes", count, "1 or more")
        good, wanted = index is not None and index < (count or 0), f"0 to {(count or 0) - 1}"
        _require(good, "process_id", index, wanted)
    if config.seeds > 1:
        alone = config.coordinator is None
        _require(alone, "seeds", config.seeds, "1 where several processes train together")
        _require(not config.profile, "profile", config.profile, "0 with several `seeds`")
