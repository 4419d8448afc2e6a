"""Train a CIFAR-10 ResNet, with one seed or several, or go on with a run."""

import os
import sys
from collections.abc import Sequence
from typing import Any

from jax_resnet.cli.flags import main, parse_config
from jax_resnet.cpu.allocator import keep_memory


def command(arguments: Sequence[str]) -> None:
    config = parse_config(arguments)
    from jax_resnet.run.distributed import HostLost, is_first, join
    from jax_resnet.run.signals import Interrupted
    from jax_resnet.training.loop import train
    from jax_resnet.training.seeds import each_seed, train_seeds

    join(config)
    try:
        result = train_seeds(config) if config.seeds > 1 else train(config)
    except Interrupted as stop:
        if is_first():
            folders = [run.folder for run in each_seed(config)]
            begun = ", ".join(str(folder) for folder in folders if folder.exists())
            saved = f"saved in {begun}" if begun else "nothing was begun"
            print(f"{stop}: {saved}; go on with the same command and --resume", file=sys.stderr)
        sys.exit(stop.exit_code)
    except HostLost as lost:
        print(f"error: {lost}", file=sys.stderr, flush=True)
        os._exit(1)  # JAX's own end would wait for the lost one
    if is_first():
        show(result)


def show(result: dict[str, Any]) -> None:
    """Test accuracies, of a run or of several seeds."""
    if "mean" in result:
        print(
            f"test accuracy {result['mean']:.4f} +- {result['deviation']:.4f} over the seeds "
            f"{', '.join(map(str, result['seeds']))}"
        )
        return
    for which, scores in result.items():
        print(
            f"{which} (step {scores['step']}): test accuracy {scores['accuracy']:.4f} "
            f"({scores['correct']} of {scores['count']}), loss {scores['loss']:.4f}"
        )


if __name__ == "__main__":
    keep_memory()
    main(command)
