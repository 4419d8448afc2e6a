"""What the project's own files promise."""

import re
import tomllib

from packaging.requirements import Requirement
from support import ROOT

COLAB = {  # what Colab's TPU runtime brings; another jax would leave the TPU unused
    "jax": "0.7.2",
    "jaxlib": "0.7.2",
    "flax": "0.11.2",
    "optax": "0.2.8",
    "orbax-checkpoint": "0.12.4",
    "numpy": "2.1.3",
    "tensorflow-datasets": "4.9.10",
}


def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def requirements():
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def test_requirements_are_all_that_the_package_and_its_tests_need():
    *ranges, package = requirements()
    assert package == "."
    extras = project()["optional-dependencies"]
    expected = {*project()["dependencies"], *extras["train"], *extras["report"]}
    of_tests = ("pytest>", "hypothesis>", "beartype>")
    expected |= {each for each in extras["dev"] if each.startswith(of_tests)}
    assert set(ranges) == {each for each in expected if not each.startswith("jax-resnet-cifar[")}


def test_requirements_admit_colabs_versions():
    ranges = {r.name: r.specifier for r in map(Requirement, requirements()[:-1])}
    for name, version in COLAB.items():
        assert ranges[name].contains(version), f"{name} {version} is outside {ranges[name]}"
    exact = [str(r) for r in ranges.values() if "==" in str(r)]
    assert not exact, f"exact pins: {exact}"


def test_the_other_distribution_is_never_recommended():
    assert project()["name"] != "jax-resnet"
    for path in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        found = re.search(r"pip install (-\S+ )*jax[-_]resnet\b(?!-cifar)", path.read_text())
        assert not found, f"{path.name} tells the reader to install another project"
