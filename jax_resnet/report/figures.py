"""The drawings of a report: SVG in the colour of the text around it, light or dark."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax_resnet.report.predictions import Bin
from jax_resnet.training.programs import PARTS

_INK = "#010203"  # replaced by the page's own colour
_STYLE: Any = {
    "svg.fonttype": "none",
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "legend.frameon": False,
    "grid.alpha": 0.3,
    "axes.grid": True,
} | dict.fromkeys(
    ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
)

Lines = Sequence[Mapping[str, Any]]  # of metrics.jsonl


def curves(runs: Mapping[str, Lines], quantity: str) -> str:
    """`loss` or `accuracy` over the steps: training dashed, validation solid, a colour a run."""

    def draw(axes: Any) -> None:
        for number, (name, lines) in enumerate(runs.items()):
            for split, style in (("train", "--"), ("validation", "-")):
                key = f"{split}_{quantity}"
                if lines and key in lines[0]:
                    label = f"{_plain(name)} {split}" if len(runs) > 1 else split
                    values = [line[key] for line in lines]
                    axes.plot([x["step"] for x in lines], values, style, color=f"C{number}",
                              label=label)  # fmt: skip
        axes.set(xlabel="step", ylabel=quantity)
        axes.legend()

    return _svg(draw, quantity)


def gradient_norms(lines: Lines, name: str) -> str:
    """The L2 norm of each part's gradient, means over an epoch, of the run called `name`."""

    def draw(axes: Any) -> None:
        for part in PARTS:
            values = [line["gradient_norms"][part] for line in lines]
            axes.plot([line["step"] for line in lines], values, label=part)
        axes.set(xlabel="step", ylabel="L2 norm of the gradient", yscale="log")
        axes.margins(y=0.3)  # room for the legend
        axes.legend(ncols=3, fontsize="small")

    return _svg(draw, f"gradients of {name}")


def reliability(runs: Mapping[str, Sequence[Bin]]) -> str:
    """Accuracy over confidence; on the diagonal where a classifier knows how sure it may be."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], ":", color=_INK)
        for name, bins in runs.items():
            x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
            axes.plot(x, y, "o-", label=_plain(name), markersize=4)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        if len(runs) > 1:
            axes.legend()

    return _svg(draw, "reliability")


def _plain(name: str) -> str:
    """A run's name as a label: no mathematics between its dollars, no meaning in its first `_`,
    which hides a line from the legend."""
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def _svg(draw: Callable[[Any], None], name: str) -> str:
    import matplotlib
    from matplotlib.figure import Figure  # no pyplot: it wants a display, and keeps every figure

    with matplotlib.rc_context(_STYLE | {"svg.hashsalt": name}):  # ids of its own on the page
        figure = Figure(figsize=(5, 3.4), layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
