"""From a `Config` and a data set to a run's folder with its result."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from typing import Any

import jax

from jax_resnet.classifier import Classifier
from jax_resnet.data import Dataset
from jax_resnet.errors import UserError
from jax_resnet.run.distributed import check_same, first_decides, name_runtime_errors
from jax_resnet.run.environment import environment, pinned
from jax_resnet.run.folder import Run
from jax_resnet.run.progress import announce
from jax_resnet.run.records import OWN_DATA
from jax_resnet.run.signals import raise_if_stopped, stop_signals
from jax_resnet.training.begin import refuse_place, refuse_test_scores
from jax_resnet.training.config import OF_A_START, Config
from jax_resnet.training.config_file import refuse_changes
from jax_resnet.training.curves import Curves
from jax_resnet.training.divergence import scores_of
from jax_resnet.training.evaluation import classifier_of, to_device
from jax_resnet.training.initial import identity, read_init, start_from
from jax_resnet.training.loop import Training, fit
from jax_resnet.training.programs import (
    Programs,
    device_data,
    init_state,
    make_mesh,
    make_programs,
    replicated,
)
from jax_resnet.training.published import published
from jax_resnet.training.recipes import check_recipe
from jax_resnet.training.step import TrainState


def train(
    config: Config,
    dataset: Dataset,
    devices: Sequence[jax.Device] | None = None,
    signals: list[int] | None = None,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
) -> dict[str, Any]:
    """Trains the run that `config` describes, or continues it.

    Args:
        config: hyper-parameters, and where the run is kept.
        dataset: loaded and split, as by `load_dataset(config)`; or images of your own, whose
            name the run then records beside `config.dataset`, even if the two are equal.
        devices: to split each batch over; by default all, those of other processes too.
        signals: the run stops when a signal's number is appended; by default SIGINT, SIGTERM and
            SIGHUP stop it, which works in Python's main thread only.
        on_epoch: is called with each epoch's record, a line of `metrics.jsonl`, when that line and
            its checkpoint are written; of several processes in the first one. JAX's settings are
            then the run's: 32 bits, for example.

    Returns:
        What is also written to `result.json`: `last` and, where there are validation images,
        `best`, the scores of the last state and of the one that is best on validation. Each has
        `step`, `split`, `count`, `correct`, `accuracy` and `loss`; `best` has `lost_step` too if
        the checkpoint of a better step is lost.

    Raises:
        UserError: for what the caller can put right.
        Interrupted: when stopped; the run is saved.
        ProcessLost: if another process of the run has ended.
    """
    return train_together([(config, dataset)], devices, signals, on_epoch)[0]


@pinned()
def train_together(
    runs: Sequence[tuple[Config, Dataset]],
    devices: Sequence[jax.Device] | None = None,
    signals: list[int] | None = None,
    on_epoch: Callable[[dict[str, Any]], object] | None = None,
) -> list[dict[str, Any]]:
    """Trains runs that differ in their seeds alone, each as `train` does, in one program.

    Raises:
        UserError: as `train`, for the first run that has a reason; or if the runs that are
            continued have reached different steps.
        Interrupted, ProcessLost: as `train`.
    """
    listen = stop_signals() if signals is None else nullcontext(signals)
    with listen as stops, name_runtime_errors(), ExitStack() as held:
        check_same([config.of_all_processes() for config, _ in runs], "settings")
        config, dataset = runs[0]
        mesh = make_mesh(devices)
        programs = make_programs(config, len(dataset.train), mesh)
        opened = [open_training(held, *run, programs, stops) for run in runs]
        trainings, starts = zip(*opened, strict=True)
        steps = [int(start["state"].step) for start in starts]
        if len({*steps}) > 1:
            raise UserError(f"the runs have reached the steps {steps}, expected the same step")
        raise_if_stopped(stops)
        states = fit(trainings, programs, starts, stops, on_epoch)
        return [
            finish(training, state, programs, dataset, stops)
            for training, state, (_, dataset) in zip(trainings, states, runs, strict=True)
        ]


def open_training(
    held: ExitStack,
    config: Config,
    dataset: Dataset,
    programs: Programs,
    stops: list[int],
) -> tuple[Training, dict[str, Any]]:
    """Opens a run, which `held` closes; returns it with the state and totals it starts from."""
    check_recipe(config)
    data_set = dataset.identity()
    check_same(data_set, "images")
    check_suits(config, dataset)
    given = read_init(config, dataset)
    weights = identity(given)
    check_same(weights or None, "weights of `init`")
    data_set |= weights
    raise_if_stopped(stops)
    mesh = programs.mesh
    announce(config.run_name, dataset.name, dataset.counts, list(mesh.devices.flat))
    settings, where = config.to_json(), environment(mesh.devices.flat)
    settings |= {"flip": config.mirroring, **dict.fromkeys(OF_A_START)}
    if config.data_dir is not None:  # it is to be found from other working directories too
        settings["data_dir"] = str(config.data_dir.expanduser().absolute())
    is_own = not dataset.is_loaded or dataset.name != config.dataset
    if is_own:
        data_set[OWN_DATA] = dataset.name
    first_decides(lambda: None if is_own else refuse_place(config))
    refuse = partial(refuse_changes, config)
    opening = Run(config.folder).open(settings, where, data_set, config.resume, refuse)
    run = held.enter_context(opening)
    first_decides(partial(refuse_test_scores, config))
    data = device_data(dataset.train, config.normalization, mesh)
    state = init_state(config, dataset.num_classes, dataset.image_shape, mesh)
    if run.latest is None:
        state = start_from(state, config, given, dataset.class_names)
    raise_if_stopped(stops)
    training = Training(
        config=config,
        run=run,
        curves=Curves(config, run, {} if is_own else published(config)),
        data=data,
        classify=lambda state: classifier_of(config, dataset, state.variables, *data[2:]),
        validation=to_device(dataset.validation, sharding=replicated(mesh))
        if len(dataset.validation)
        else None,
    )
    return training, run.resume({"state": state, "totals": programs.zeros()})


def check_suits(config: Config, dataset: Dataset) -> None:
    """Raises a `UserError` if the config is of several runs, if there are too few images to train
    with, or none to evaluate, or if they must not be mirrored."""
    if config.seeds > 1:
        raise UserError(f"`seeds` is {config.seeds}, expected 1: `train_seeds` trains several")
    counts = dataset.counts
    if config.batch_size > counts["train"]:
        raise UserError(
            f"`batch_size` {config.batch_size} is larger than the data set, "
            f"expected at most {counts['train']}, the number of training images"
        )
    if not counts[config.scored_split]:
        other = config.test and counts["validation"]
        way = ", or --no-test (`test=False`) to have validation scored" if other else ""
        raise UserError(
            f"the data set has no {config.scored_split} images, expected at least one{way}"
        )
    if config.mirroring != "none" and not dataset.flippable:
        raise UserError(
            f"`flip` is {config.mirroring!r}, expected 'none': a mirrored image of {dataset.name} "
            "is of another class"
        )


def finish(
    training: Training, state: TrainState, programs: Programs, dataset: Dataset, stops: list[int]
) -> dict[str, Any]:
    """Draws the curves, evaluates the last and the best state on the test images (or, with
    `config.test` off, those of validation), and saves the one that is better on validation (the
    last where there is none) as the run's `Classifier`. If the checkpoint of a still better one is
    lost, the best one's scores name its step, `lost_step`."""
    config, run = training.config, training.run
    images = training.validation
    if config.test:
        images = to_device(dataset.test, sharding=replicated(programs.mesh))
    assert images is not None

    def scores(classifier: Classifier, step: int) -> dict[str, Any]:
        split = config.scored_split
        return {"step": step, "split": split} | scores_of(training, classifier, images, split, step)

    training.curves.draw()
    classifier = training.classify(state)
    last = scores(classifier, config.steps)
    raise_if_stopped(stops)
    result, best = {"last": last}, run.best
    if best == config.steps:
        result["best"] = last
    elif best is not None:
        tree = run.restore(best, {"state": state, "totals": programs.zeros()})
        classifier = training.classify(tree["state"])
        result["best"] = scores(classifier, best)
    if best is not None and (lost := run.lost) is not None:
        result["best"] = result["best"] | {"lost_step": lost}
    raise_if_stopped(stops)
    run.finish(classifier, result)
    return result
