"""Pictures are the same whatever a user's matplotlib is told to do."""

import subprocess
import sys

import matplotlib
import numpy as np
import pytest

from jax_resnet.plots import draw_curves, draw_grid
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


@pytest.mark.slow
def test_settings_that_matplotlib_refuses_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "nonsense")
    words = (
        f"from jax_resnet.plots import draw_curves; draw_curves([], {str(tmp_path / 'a')!r}, '')"
    )
    ended = subprocess.run([sys.executable, "-c", words], capture_output=True, text=True)
    assert "UserError: matplotlib can't read its settings" in ended.stderr
    assert "nonsense" in ended.stderr
