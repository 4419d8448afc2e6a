"""The Colab notebook runs from its first cell to its last, and is to be found where it says."""

import json
import re
import tomllib
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "colab.ipynb"


@pytest.mark.slow
def test_the_notebook_trains_draws_and_evaluates(tmp_path, monkeypatch):
    """On a CPU, where it takes digits; with few of its steps."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    (flags,) = [cell for cell in notebook.cells if "FLAGS = " in cell.source]
    assert "--steps 300" in flags.source
    flags.source = flags.source.replace("--steps 300", "--steps 12")
    resources = {"metadata": {"path": str(tmp_path)}}
    NotebookClient(notebook, timeout=300, kernel_name="python3", resources=resources).execute()
    run = tmp_path / "runs" / "colab"
    last = json.loads((run / "result.json").read_text())["last"]
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    said = "".join(output.get("text", "") for output in outputs)
    assert re.search(r"\d+ of 360 right", said)
    assert last["count"] == 360
    pictures = [output for output in outputs if "image/png" in output.get("data", {})]
    assert len(pictures) == 2, "curves, and images with their predictions"


def test_the_notebook_holds_no_output():
    for cell in nbformat.read(NOTEBOOK, as_version=4).cells:
        assert not cell.get("outputs"), "clear the outputs before saving"


def test_the_notebook_leaves_colabs_jax_alone():
    cells = ["".join(cell["source"]) for cell in json.loads(NOTEBOOK.read_text())["cells"]]
    text = "\n".join(cells)
    assert "--constraint" in text
    assert not re.search(r"jax\[|pip install .*(-U\b|--upgrade)", text)


def test_one_address_everywhere():
    """Badges and notebook name the repository that pyproject.toml names."""
    urls = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["urls"]
    path = urls["Repository"].removeprefix("https://github.com/")
    badge = f"https://colab.research.google.com/github/{path}/blob/main/notebooks/colab.ipynb"
    for file in (NOTEBOOK, ROOT / "README.md"):
        assert badge in file.read_text(), f"{file.name} has no badge to {badge}"
    assert f'REPOSITORY = \\"{urls["Repository"]}\\"' in NOTEBOOK.read_text()
