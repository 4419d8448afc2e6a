"""The examples of README.md, docs and cards work as printed, and the links lead somewhere.

The blocks of a page are executed in order, in one folder. Python blocks share a namespace. Shell
blocks are read by bash, in which functions record the commands instead of running them; then

- commands of this package that need a few seconds and no CIFAR-10 are run;
- of all others (training, evaluation on CIFAR-10, benchmarks) only the flags are parsed;
- `make demo` trains for two steps; other targets, and the extras of `pip install`, must exist;
- `git clone`, `cd`, `source` and `pre-commit` are not checked.

The folder holds what a reader of the page has: this repository's recorded runs, and pictures.
"""

import re
import shutil
import subprocess
import tomllib
from contextlib import nullcontext
from importlib import import_module
from itertools import groupby
from pathlib import Path

import flax
import numpy as np
import pytest
from PIL import Image
from support import ROOT, train

from jax_resnet import pretrained
from jax_resnet.cli.flags import parse
from jax_resnet.cli.train import parse_config

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
CARDS = sorted((ROOT / "docs" / "cards").glob("*.md"))
ALL = [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
MAKEFILE = (ROOT / "Makefile").read_text()
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
STUBS = """
for name in python jax-resnet make pip git cd source pre-commit; do
    eval "$name() { printf '%s\\0' $name \\"\\$@\\" ''; }"
done
"""


def name(page):
    return str(page.relative_to(ROOT))


def quick_or_slow(page):
    """The page as a parameter; one of them compiles several training steps."""
    is_slow = page.stem == "inside_other_code"
    reason = "the page says that its example of NNX needs a newer flax"
    marks = [pytest.mark.slow, pytest.mark.skipif(flax.__version__ == "0.11.2", reason=reason)]
    return pytest.param(page, id=name(page), marks=marks if is_slow else [])


def commands(block):
    """The commands of a shell block, each a list of words, as bash reads them."""
    words = subprocess.run(
        [shutil.which("bash"), "-euc", STUBS + block],
        capture_output=True, text=True, env={"PATH": ""},
    )  # fmt: skip
    assert words.returncode == 0, words.stderr
    return [list(group) for full, group in groupby(words.stdout.split("\0"), bool) if full]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The current folder of a page's examples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    shutil.copytree(ROOT / "docs" / "runs", "docs/runs")
    (tmp_path / "photos").mkdir()
    for picture in ("cat.jpg", "photos/dog.png"):
        Image.fromarray(np.zeros((40, 30, 3), np.uint8)).save(picture)
    return tmp_path


@pytest.mark.parametrize("page", [quick_or_slow(page) for page in PAGES + CARDS])
def test_examples(page, folder):
    text, namespace = page.read_text(), {}
    for block in BLOCK.finditer(text):
        kind, source = block.groups()
        match kind:
            case "python":
                lines_above = "\n" * text.count("\n", 0, block.start(2))  # for tracebacks
                exec(compile(lines_above + source, page, "exec"), namespace)
            case "json":
                (folder / "config.json").write_text(source)
                parse_config(["--config", "config.json"])
            case "sh":
                for words in commands(source):
                    check_command(words)
            case _:
                assert kind == "bibtex"
    for table in folder.rglob("table.md"):  # drawn by `compare`
        assert table.read_text() in text


def check_command(words):
    match words:
        case ["python", script, *arguments] if script.startswith("scripts/"):
            assert (ROOT / script).is_file()
            check_own(Path(script).stem, arguments)
        case ["jax-resnet", command, *arguments]:
            check_own(command, arguments)
        case ["python", script, *arguments] if script.startswith("benchmarks/"):
            assert (ROOT / script).is_file()
            if script == "benchmarks/benchmark.py":
                parse(import_module("benchmark").Benchmark, arguments)
        case ["make", target]:
            assert re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)
            if target == "demo":
                (flags,) = re.findall(r"\btrain\S* (.*--name demo)", MAKEFILE)
                flags = flags.replace("$(RUNS)", "runs")  # its value where none is given
                train(parse_config([*flags.split(), "--steps", "2"]))
        case ["pip", "install", *packages]:
            extras = re.findall(r"\[([\w,]+)\] @", " ".join(packages))
            assert {*",".join(extras).split(",")} <= {"", *PROJECT["optional-dependencies"]}
        case _:
            assert words[0] in ("git", "cd", "source", "pre-commit"), words


def check_own(command, arguments):
    """Runs a command of this package, or parses its flags."""
    module = import_module(f"jax_resnet.cli.{command}")
    if command == "train":
        with nullcontext() if "--help" not in arguments else pytest.raises(SystemExit, match="0"):
            module.parse_config(arguments)
        return
    flags = parse(getattr(module, command.capitalize()), arguments)
    match command:
        case "predict" | "export":
            runs = True
        case "evaluate" | "report":
            runs = "runs/demo" in arguments
        case "convert":
            runs = flags.source.exists() or str(flags.source) in pretrained()
        case "compare":
            runs = all(config.folder.exists() for config in module.configs(flags))
    if runs:
        module.command(arguments)


@pytest.mark.parametrize("page", ALL, ids=name)
def test_links(page):
    """Files exist, headings too, and so do the tests that tables name."""
    text = page.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("https://"):
            continue
        file, _, heading = target.partition("#")
        linked = (page.parent / file).resolve() if file else page
        assert linked.exists(), target
        if heading:
            titles = re.findall(r"^#+ (.*)$", linked.read_text(), re.MULTILINE)
            slugs = [re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles]
            assert heading in slugs, target
    for test in re.findall(r"`(\w+/test_\w+\.py)`", text):
        assert (ROOT / "tests" / test).exists(), test


def test_one_version():
    """The package, the changelog and what is to be cited are of one version."""
    version = PROJECT["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"version = {{{version}}}" in (ROOT / "README.md").read_text()
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest.group(1) == version
