"""Train a CIFAR-10 ResNet, or go on with a run."""

import sys
from collections.abc import Sequence

from jax_resnet.allocator import keep_memory
from jax_resnet.cli import main, parse_config


def command(arguments: Sequence[str]) -> None:
    config = parse_config(arguments)
    from jax_resnet.signals import Interrupted
    from jax_resnet.trainer import train

    try:
        result = train(config)
    except Interrupted as stop:
        folder = config.runs_dir / config.run_name
        saved = f"saved in {folder}" if folder.exists() else "nothing was begun"
        print(f"{stop}: {saved}; go on with the same command and --resume", file=sys.stderr)
        sys.exit(stop.exit_code)
    for which, scores in result.items():
        print(
            f"{which} (step {scores['step']}): test accuracy {scores['accuracy']:.4f} "
            f"({scores['correct']} of {scores['count']}), loss {scores['loss']:.4f}"
        )


if __name__ == "__main__":
    keep_memory()
    main(command)
