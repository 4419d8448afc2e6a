"""The figures of a report: SVG in the color of the surrounding text, light or dark."""

import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from jax_resnet.model import PARTS
from jax_resnet.plots import (
    colors_of,
    corner,
    curve_label,
    draw_references,
    drawing,
    marker_of,
)
from jax_resnet.report.predictions import Bin

MAX_IN_CORNER = 8  # entries of a legend
_INK = "#010203"  # replaced by `currentColor`
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

Records = Sequence[Mapping[str, Any]]  # the lines of `metrics.jsonl`


def curves(
    runs: Mapping[str, Records],
    quantity: str,
    smoothings: Mapping[str, float] | None = None,
    references: Mapping[str, float] | None = None,
) -> str:
    """`loss` or `accuracy` over the steps: training dashed, validation solid, a color per run.

    Args:
        runs: the records of each run by its name.
        quantity: `loss` or `accuracy`.
        smoothings: label smoothing of each run's training loss, by default 0; the legend says it.
        references: values to compare with, by their names in the legend.
    """

    def draw(axes: Any) -> None:
        for color, (name, records) in zip(colors_of(len(runs)), runs.items(), strict=True):
            for split, style in (("train", "--"), ("validation", "-")):
                key = f"{split}_{quantity}"
                if records and key in records[0]:
                    label = curve_label(split, quantity, (smoothings or {}).get(name, 0.0))
                    label = f"{_plain(name)} {label}" if len(runs) > 1 else label
                    steps = [record["step"] for record in records]
                    values = [record[key] for record in records]
                    marker = marker_of(steps)
                    axes.plot(steps, values, style, marker=marker, color=color, label=label)
        draw_references(axes, references or {})
        axes.set(xlabel="step", ylabel=quantity)
        _draw_legend(axes, corner(quantity))

    return _svg(draw, quantity)


def gradient_norms(records: Records, name: str) -> str:
    """The L2 norm of the gradient of each part of the net, mean over each epoch, of a run."""

    def draw(axes: Any) -> None:
        for part in PARTS:
            values = [record["gradient_norms"][part] for record in records]
            steps = [record["step"] for record in records]
            if any(values):  # those of a frozen part are 0
                axes.plot(steps, values, marker=marker_of(steps), label=part)
        axes.set(xlabel="step", ylabel="L2 norm of the gradient", yscale="log")
        axes.margins(y=0.3)  # room for the legend
        axes.legend(loc="upper center", ncols=3, fontsize="small")

    return _svg(draw, f"gradients of {name}")


def reliability(runs: Mapping[str, Sequence[Bin]]) -> str:
    """Accuracy over confidence in bins; a calibrated classifier lies on the diagonal."""

    def draw(axes: Any) -> None:
        axes.plot([0, 1], [0, 1], ":", color=_INK)
        axes.set_prop_cycle(color=colors_of(len(runs)))
        for name, bins in runs.items():
            x, y = [b.confidence for b in bins], [b.accuracy for b in bins]
            axes.plot(x, y, "o-", label=_plain(name), markersize=4)
        axes.set(xlabel="confidence", ylabel="accuracy", xlim=(0, 1), ylim=(0, 1))
        if len(runs) > 1:
            _draw_legend(axes, "upper left")

    return _svg(draw, "reliability")


def _draw_legend(axes: Any, corner: str) -> None:
    """A legend in a corner; one of many entries is below, and the figure as much higher."""
    handles, labels = axes.get_legend_handles_labels()
    if len(labels) <= MAX_IN_CORNER:
        axes.legend(loc=corner)
        return
    figure = axes.figure
    figure.set_figheight(figure.get_figheight() + 0.2 * len(labels))
    figure.legend(handles, labels, loc="outside lower center", fontsize="small")


def _plain(name: str) -> str:
    """A run's name as a label: matplotlib typesets what stands between dollars, and hides labels
    that begin with `_` from the legend."""
    name = name.replace("$", r"\$")
    return f" {name}" if name.startswith("_") else name


def _svg(draw: Callable[[Any], None], name: str) -> str:
    style = _STYLE | {"svg.hashsalt": name}  # ids differ between figures
    with drawing(5, 3.4, **style) as figure:
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_INK, "currentColor")
