"""The words of a command line: those that are no flags, and what `--help` shows."""

import re
import sys

import pytest

from jax_resnet import pretrained
from jax_resnet.cli import main
from jax_resnet.cli.train import parse_config
from jax_resnet.errors import UserError


@pytest.mark.parametrize(
    ("words", "named"),
    [
        ("--steps abc", "--steps"),
        ("--steps", "--steps"),
        ("--recipe", "--recipe"),
        ("--config", "--config"),
        ("--dataset mnist", "'cifar10'"),
        ("--model vgg", "'resnet'"),
        ("--recipe slow", "'article'"),
        ("--depht 8", "--depth"),
        ("nonsense", "nonsense"),
        ("--image-size 8", "--image-size"),
        (f"--steps {'9' * 5000}", "--steps"),
    ],
)
def test_words_that_are_no_flags_end_the_command_with_a_hint(words, named, capsys):
    with pytest.raises(SystemExit, match="2"):
        parse_config(words.split(" "))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert named in printed.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--lr 0.1", "there is no `lr`, expected `learning_rate`"),
        (
            "--recipe fast --epochs 12",
            "12 epochs of 45,000 images in batches of 128 are 4219",
        ),
        (
            "--epochs=2 --batch-size 100",
            "2 epochs of 40,000 images in batches of 100 are 800",
        ),
        ("--epochs 1 --val-fraction 0.5", "of 25,000 images in batches of 128 are 196 steps"),
        ("--epochs 12 --val-fraction 0", "12 epochs of 50,000 images in batches of 128 are 4688"),
        ("--epochs 12 --val-fraction 20", "epochs times training images, divided by `batch_size`$"),
        ("--epochs 12 --val-fraction inf", "epochs times training images, divided by"),
        ("--epochs twelve", "epochs times training images, divided by `batch_size`$"),
        ("--epochs 12 --val_fraction=0.1", "12 epochs of 45,000 images"),
        ("--epochs 12 --batch_size 256", "12 epochs of 40,000 images in batches of 256 are 1875"),
        ("--epochs 3 --dataset digits", "expected `steps`: epochs times training images, divided"),
        ("--epochs", "epochs times training images, divided by `batch_size`$"),
        ("--epochs nan --batch-size 0", "there is no `epochs`, expected `steps`"),
    ],
)
def test_flags_of_other_programs_are_named_as_they_are_here(words, message):
    with pytest.raises(UserError, match=message):
        parse_config(words.split(" "))


@pytest.mark.parametrize("command", ["train", "compare", "evaluate", "predict", "export"])
def test_help_says_something_of_every_flag(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main(command)
    lines = [line.strip("│| ") for line in capsys.readouterr().out.splitlines()]
    flags = re.split(r"\n(?=--[a-z])", "\n".join(lines))[1:]
    assert flags
    for flag in flags:
        name, _, rest = flag.partition(" ")
        said = re.sub(r"\{[^}]*\}|\((default|required|optional)[^)]*\)", "", rest)
        assert len(re.findall(r"\w{2,}", said)) > 2, f"--help says nothing of {name}: {flag}"


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_help_lists_the_nets_of_the_package(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main(command)
    shown = re.sub(r"[\s│]", "", capsys.readouterr().out)  # a name may be broken over two lines
    for name in pretrained():
        assert name in shown, f"--help of {command} lacks {name}"
