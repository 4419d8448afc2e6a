"""The Colab notebook runs from its first cell to its last, and badges lead to it."""

import importlib.metadata
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest
from support import ROOT

from jax_resnet.cli.train import parse_config
from jax_resnet.errors import UserError
from jax_resnet.run.signals import Interrupted

NOTEBOOK = ROOT / "notebooks" / "colab.ipynb"


def cells(kind):
    """The sources of the cells of a kind, in order."""
    found = json.loads(NOTEBOOK.read_text())["cells"]
    return ["".join(cell["source"]) for cell in found if cell["cell_type"] == kind]


@pytest.mark.slow
def test_the_notebook_trains_draws_and_evaluates(tmp_path, monkeypatch):
    """On a CPU, where it takes digits; with few of its steps."""
    nbformat = pytest.importorskip("nbformat", reason="nbformat is not installed")
    nbclient = pytest.importorskip("nbclient", reason="nbclient is not installed")
    pytest.importorskip("ipykernel", reason="ipykernel is not installed")
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (flags,) = [cell for cell in notebook.cells if "FLAGS = " in cell.source]
    assert "--steps 300" in flags.source
    flags.source = flags.source.replace("--steps 300", "--steps 12")
    resources = {"metadata": {"path": str(tmp_path)}}
    nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources=resources
    ).execute()
    last = json.loads((tmp_path / "runs" / "colab" / "result.json").read_text())["last"]
    assert last["count"] == 360
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"\d+ of 360 correct", said)
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2, "curves, and images with their predictions"
    assert "The net is in runs/colab/classifier.safetensors." in said


@pytest.fixture
def setup(monkeypatch, tmp_path):
    """Runs the setup cell; `setup.installed` are the distributions, `setup.ran` pip's words, and
    `setup.end` is what pip ends with."""
    (cell,) = [cell for cell in cells("code") if "REPOSITORY" in cell]
    monkeypatch.chdir(tmp_path)

    def version(name):
        if name not in run.installed:
            raise importlib.metadata.PackageNotFoundError(name)

    def pip(words, **_):
        run.ran.append(words[2:])
        if isinstance(run.end, BaseException):
            raise run.end
        return subprocess.CompletedProcess(words, run.end, "", "no such host")

    def run():
        exec(cell, {"__name__": "cell"})

    run.installed, run.ran, run.end = {"jax-resnet": "1.0"}, [], 0
    monkeypatch.setattr(importlib.metadata, "version", version)
    monkeypatch.setattr(subprocess, "run", pip)
    return run


def test_another_project_of_the_same_name_is_not_taken_for_this_one(setup):
    """Where only PyPI's jax-resnet is installed, the notebook installs this package, once, and
    keeps the runtime's own jax."""
    setup()
    ((*_, package, option, file),) = setup.ran
    assert package.startswith("jax-resnet-cifar[train,report] @ git+https://")
    assert option == "--constraint"
    assert f"jax=={jax.__version__}\n" in Path(file).read_text()
    setup.installed["jax-resnet-cifar"] = "1.0"
    setup()
    assert len(setup.ran) == 1, "installed again"


@pytest.mark.parametrize(
    ("end", "words"), [(1, "installation failed"), (KeyboardInterrupt(), "was interrupted")]
)
def test_the_setup_stops_where_it_fails_and_says_so(setup, end, words):
    setup.end = end
    with pytest.raises(Exception, match=words) as stop:
        setup()
    (said,) = stop.value._render_traceback_()
    assert said == str(stop.value), "a sentence, no traceback"
    assert ("no such host" in said) == (end == 1)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Interrupted(2), "Interrupted: run this cell again"),
        (KeyboardInterrupt(), "Interrupted: run this cell again"),
        (UserError("`depth` is 9, expected 8"), "error: --depth is 9, expected 8"),
    ],
)
def test_a_training_cell_ends_in_a_sentence(monkeypatch, error, words):
    (cell,) = [cell for cell in cells("code") if "load_dataset" in cell]

    def train(*_):
        raise error

    monkeypatch.setattr("jax_resnet.training.train.train", train)
    names = {"FLAGS": "--dataset digits --depth 8", "PLACE": [], "Stop": RuntimeError}
    with pytest.raises(RuntimeError, match=words):
        exec(cell, names)


def test_runs_and_data_are_kept_on_drive_if_asked(monkeypatch):
    (cell,) = [cell for cell in cells("code") if "ON_DRIVE" in cell]
    made, mounted = [], []
    drive = SimpleNamespace(mount=mounted.append)
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(drive=drive))
    monkeypatch.setattr(Path, "mkdir", lambda path, **_: made.append(str(path)))
    names = {"Path": Path}
    exec(cell, names)
    assert (names["PLACE"], mounted) == ([], [])
    exec(cell.replace("ON_DRIVE = False", "ON_DRIVE = True", 1), names)
    config = parse_config(names["PLACE"])
    assert mounted == ["/content/drive"]
    assert str(config.runs_dir) == "/content/drive/MyDrive/jax_resnet/runs"
    assert made == [str(config.data_dir)], "a folder for data has to exist"


def test_the_notebook_holds_no_output():
    for cell in json.loads(NOTEBOOK.read_text())["cells"]:
        assert not cell.get("outputs"), "clear the outputs before saving"


def test_the_notebook_leaves_colabs_jax_alone():
    text = "\n".join(cells("code"))
    assert "--constraint" in text
    assert not re.search(r"jax\[|pip install .*(-U\b|--upgrade)", text)


def test_one_address_everywhere():
    """Badges and notebook name the repository that pyproject.toml names."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    path = urls["Repository"].removeprefix("https://github.com/")
    badge = f"https://colab.research.google.com/github/{path}/blob/main/notebooks/colab.ipynb"
    for file in (NOTEBOOK, ROOT / "README.md"):
        assert badge in file.read_text(), f"{file.name} has no badge to {badge}"
    assert any(f'REPOSITORY = "{urls["Repository"]}"' in cell for cell in cells("code"))
