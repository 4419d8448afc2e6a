"""Published test accuracies of the nets on CIFAR-10, after 64,000 steps."""

from jax_resnet.training.config import Config

STEPS = "64,000 steps"  # of every published run
# By source, variant (the shortcut, or cnn) and depth. The paper (table 6, option A) gives those of
# its plain nets in a figure only. At depth 110 it has the best of five runs, and this mean of them.
PUBLISHED: dict[str, dict[tuple[str, int], float]] = {
    f"the article, {STEPS}": {
        ("zeropad", 20): 0.8990,
        ("conv1x1", 20): 0.9027,
        ("cnn", 20): 0.8982,
    },
    f"the paper, {STEPS}": {
        ("subsample", 20): 0.9125,
        ("subsample", 32): 0.9249,
        ("subsample", 44): 0.9283,
        ("subsample", 56): 0.9303,
        ("subsample", 110): 0.9339,
    },
}


def published(config: Config) -> dict[str, float]:
    """The published test accuracy of a run's net, trained on CIFAR-10 with the run's recipe, by
    what it is called; empty if there is none."""
    if config.dataset != "cifar10":
        return {}
    source = f"the {config.recipe}, {STEPS}"
    accuracy = PUBLISHED.get(source, {}).get((config.shortcut or "cnn", config.depth))
    return {} if accuracy is None else {f"{source}, on test {accuracy:.4f}": accuracy}
