"""The Colab notebook runs from its first cell to its last, and badges lead to it."""

import importlib.metadata
import json
import re
import tomllib

import pytest
from support import ROOT

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


def test_another_project_of_the_same_name_is_not_taken_for_this_one(monkeypatch):
    """Where only PyPI's jax-resnet is installed, the notebook installs this package."""
    (cell,) = [cell for cell in cells("code") if "REPOSITORY" in cell]
    code = re.sub(r"^( *)[!%](.*)$", r"\1ran.append(r'''\2''')", cell, flags=re.MULTILINE)
    installed, ran = {"jax-resnet": "1.0"}, []

    def version(name):
        if name not in installed:
            raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    exec(code, {"ran": ran})
    assert [line.split()[0] for line in ran] == ["git", "pip", "pip"]
    installed["jax-resnet-cifar"] = "1.0"
    exec(code, {"ran": ran})
    assert len(ran) == 3, "installed again"


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
