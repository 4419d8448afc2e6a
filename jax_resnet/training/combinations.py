"""Which values of `Config`'s fields suit each other."""

from typing import TYPE_CHECKING

from jax_resnet.errors import UserError
from jax_resnet.training.fields import MAX_IMAGES, expected

if TYPE_CHECKING:
    from jax_resnet.training.config import Config

MUON_FIELDS = ("muon_learning_rate", "muon_momentum")  # without effect under SGD


def check_together(config: "Config") -> None:
    """Raises a `UserError` unless the fields suit each other."""

    def require(good: bool, field: str, wanted: str) -> None:
        if not good:
            raise UserError(expected(field, getattr(config, field), wanted))

    wanted = "None with the `model` cnn, which has no shortcuts"
    require(config.model == "resnet" or config.shortcut is None, "shortcut", wanted)
    if config.freeze != "none":
        require(bool(config.init), "freeze", "'none' without `init`, whose layers are to be frozen")
    most = MAX_IMAGES // config.batch_size
    wanted = f"at most {most} with `batch_size` {config.batch_size}, {MAX_IMAGES} images in all"
    require(config.steps <= most, "steps", wanted)
    most = 2**32 - config.seed
    require(config.seeds <= most, "seeds", f"at most {most}, as seeds end at 2**32")
    if config.freeze != "none":
        wanted = "sgd with `freeze` stages: Muon trains no last layer"
        require(config.optimizer == "sgd", "optimizer", wanted)
    for name in MUON_FIELDS if config.optimizer == "sgd" else ():
        default = getattr(type(config), name)
        wanted = f"{default}, its default, with the `optimizer` sgd, which has no Muon"
        require(getattr(config, name) == default, name, wanted)
    if warmup := config.warmup:
        wanted = f"0 with the `schedule` {config.schedule}, which has no warm-up"
        require(config.schedule == "step", "warmup_steps", wanted)
        if config.warmup_steps is None:
            wanted = f"more than the {warmup} of warm-up at `depth` {config.depth}"
            require(warmup < config.steps, "steps", wanted)
        wanted = f"fewer than the {config.steps} `steps`, which would all be warm-up"
        require(warmup < config.steps, "warmup_steps", wanted)
    coordinator, count, index = config.coordinator, config.num_processes, config.process_id
    if coordinator == "auto":
        for field in ("num_processes", "process_id"):
            require(getattr(config, field) is None, field, "None with the `coordinator` auto")
    elif (coordinator, count, index) != (None, None, None):
        require(coordinator is not None, "coordinator", "HOST:PORT of the first process, or auto")
        require(count is not None, "num_processes", "1 or more")
        good = index is not None and index < (count or 0)
        require(good, "process_id", f"0 to {(count or 0) - 1}")
    if config.seeds > 1:
        require(coordinator is None, "seeds", "1 where several processes train together")
        require(not config.profile, "profile", "0 with several `seeds`")
        config.of_seed(config.seed + config.seeds - 1)  # has the longest name
