"""Pictures are the same whatever a user's matplotlib is told to do."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import matplotlib
import numpy as np
import pytest
from matplotlib.figure import Figure

from jax_resnet.errors import UserError
from jax_resnet.plots import _draw_curves, draw_curves, draw_grid
from jax_resnet.report.figures import gradient_norms

LINE = {"step": 1, "train_loss": 1.0, "train_accuracy": 0.5}
USERS = {
    "text.usetex": True,  # without LaTeX that is an error
    "axes.facecolor": "black",
    "savefig.bbox": "tight",
    "svg.fonttype": "path",
}


def picture(tmp_path):
    draw_curves([LINE], tmp_path / "curves.png", "a run", 0.0, {"article": 0.9})
    return (tmp_path / "curves.png").read_bytes()


def grid(tmp_path):
    draw_grid(np.zeros((2, 8, 8, 1), np.uint8), ["a", "b"], tmp_path / "grid.png")
    return (tmp_path / "grid.png").read_bytes()


def report_figure(tmp_path):
    parts = ["stem_conv", "stem_norm", "stage1", "stage2", "stage3", "head"]
    return gradient_norms([{"step": 1, "gradient_norms": dict.fromkeys(parts, 1.0)}], "a run")


@pytest.mark.parametrize("draw", [picture, grid, report_figure])
def test_a_users_settings_change_no_picture(draw, tmp_path):
    usual = draw(tmp_path)
    with matplotlib.rc_context(USERS):
        assert draw(tmp_path) == usual
        assert matplotlib.rcParams["text.usetex"], "the user's settings are not put back"


def test_threads_draw_one_at_a_time(tmp_path):
    with matplotlib.rc_context(USERS), ThreadPoolExecutor(4) as pool:
        files = [tmp_path / f"{i}.png" for i in range(4)]
        [*pool.map(lambda file: draw_curves([LINE], file, "a run"), files)]
        assert matplotlib.rcParams["text.usetex"], "the user's settings are not put back"
    assert len({file.read_bytes() for file in files}) == 1


def test_a_line_stands_where_the_rate_falls_to_a_tenth(tmp_path):
    lines = {}
    for rates in ([0.1, 0.1, 0.01], [0.1, 0.05, 0.005 / 2], [0.003, 0.002, 0.00024]):
        records = [LINE | {"step": i, "learning_rate": rate} for i, rate in enumerate(rates)]
        figure = Figure()
        _draw_curves(figure, records, 0.0, {})
        lines[tuple(rates)] = len(figure.axes[0].lines) - 1  # one is the loss
    assert [*lines.values()] == [1, 0, 0], "a rate that falls otherwise is no step"


@pytest.mark.slow
def test_settings_that_matplotlib_refuses_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    words = (
        f"from jax_resnet.plots import draw_curves; draw_curves([], {str(tmp_path / 'a')!r}, '')"
    )
    ended = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert "UserError: matplotlib can't read its settings" in ended.stderr
    assert "nonsense" in ended.stderr


@pytest.mark.parametrize(
    ("count", "dtype", "captions"), [(0, "uint8", []), (2, "float32", "ab"), (2, "uint8", "a")]
)
def test_a_grid_that_would_be_wrong_is_refused(tmp_path, count, dtype, captions):
    with pytest.raises(UserError, match="expected uint8 pixels, and one caption for each"):
        draw_grid(np.zeros((count, 8, 8, 1), dtype), captions, tmp_path / "grid.png")
    assert not [*tmp_path.iterdir()]
