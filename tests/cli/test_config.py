"""Flags, recipes and config files: what replaces what, and how bad values are refused."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import SCRIPTS

from jax_resnet import pretrained
from jax_resnet.cli import main
from jax_resnet.cli.train import parse_config
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config
from jax_resnet.training.recipes import RECIPES

FIELDS = [field.name for field in dataclasses.fields(Config)]


@pytest.fixture(scope="session")
def write_config(tmp_path_factory):
    """Writes a config file and returns its path."""
    path = tmp_path_factory.mktemp("a folder") / "config ü.json"

    def write(content):
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_bytes(text.encode("utf-8", "surrogatepass"))
        return str(path)

    return write


def test_the_file_replaces_the_recipe_and_flags_replace_the_file(write_config):
    file = write_config({"recipe": "fast", "pad": 3, "seed": 7, "flip": "none", "pad_mode": "mean"})
    fast = RECIPES["fast"]
    expected = dataclasses.replace(fast, pad=3, seed=8, flip="none", pad_mode="mean", steps=50)
    assert parse_config(["--seed", "8", "--config", file, "--steps", "50"]) == expected


def test_a_recipe_on_the_command_line_comes_before_the_files(write_config):
    file = write_config({"recipe": "fast", "pad": 3})
    expected = dataclasses.replace(RECIPES["paper"], pad=3)
    assert parse_config(["--config", file, "--recipe", "paper"]) == expected
    assert parse_config(["--recipe=paper", f"--config={file}"]) == expected


def test_flags_mend_what_the_file_and_the_recipe_would_not_admit(write_config):
    file = write_config({"model": "cnn", "shortcut": "zeropad"})
    assert parse_config(["--config", file, "--shortcut", "None"]).shortcut is None
    with pytest.raises(UserError, match=r"`shortcut` is 'zeropad'.*with --config .*config"):
        parse_config(["--config", file])


def test_a_recipes_shortcut_is_for_residual_nets(write_config):
    expected = dataclasses.replace(RECIPES["paper"], model="cnn", shortcut=None)
    assert parse_config(["--recipe", "paper", "--model", "cnn"]) == expected
    file = write_config({"model": "cnn", "recipe": "paper"})
    assert parse_config(["--config", file]) == expected


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_alone_is_what_its_name_says(name):
    assert parse_config(["--recipe", name]) == RECIPES[name]
    assert RECIPES[name].recipe == name


def test_a_runs_own_config_is_taken_as_it_is(write_config):
    config = Config(
        depth=8,
        image_size=(8, 9),
        split_proportions=(0.5, 0.5, 0),
        data_dir=Path("a b/ü"),
        weight_decay=0,
        dataset="folder",
        channels=1,
    )
    file = write_config(config.to_json() | {"environment": {"python": "3"}})
    assert parse_config(["--config", file]) == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"batchsize": 3}, "unknown key 'batchsize', the nearest one is 'batch_size'"),
        ({"learning-rate": 3}, "unknown key 'learning-rate', .* 'learning_rate'"),
        ({"ü" * 1000: 3}, "unknown key .{,100}, the nearest one is"),
        ({"steps": "3"}, "`steps` is '3', expected a valid integer"),
        ({"steps": 3.0}, "`steps` is 3.0, expected a valid integer"),
        ({"steps": True}, "`steps` is True, expected a valid integer"),
        ({"steps": 0}, "`steps` is 0, expected greater than or equal to 1"),
        ({"momentum": None}, "`momentum` is None, expected a valid number"),
        ({"momentum": 10**400}, "`momentum` is .{,110}, expected a finite number"),
        ({"nesterov": 1}, "`nesterov` is 1, expected a valid boolean"),
        ({"dataset": "mnist"}, "`dataset` is 'mnist', expected 'cifar10', 'cifar100'"),
        ({"recipe": ["fast"]}, "`recipe` is .*, expected 'article', 'paper', 'fast' or 'long'"),
        ({"channels": 2}, "`channels` is 2, expected 1 or 3"),
        ({"image_size": [8]}, r"`image_size` is .*, expected "),
        ({"runs_dir": ""}, "`runs_dir` is '', expected text, not empty"),
        ({"name": "\0"}, r"`name` is '\\x00', expected text, not empty and without control"),
        ({"data_dir": "\ud800"}, "Invalid JSON"),
        ({"val_fraction": float("nan")}, "`val_fraction` is nan, expected a finite number"),
        ([], "holds no JSON object"),
        ("{", "can't be read"),
        ('{"pad": 1, "pad": 2}', "the key 'pad' stands there twice"),
        ("[" * 100_000, "can't be read"),
        ('{"pad": ' + "9" * 5000 + "}", "can't be read"),
    ],
)
def test_a_bad_file_is_refused_naming_file_key_and_value(write_config, content, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_config(["--config", write_config(content)])
    assert "config ü.json" in str(caught.value)
    assert len(str(caught.value)) < 500


def test_a_file_that_is_not_there_or_a_folder_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path, words in (
        (tmp_path, "no regular file"),
        (tmp_path / "pipe", "no regular file"),
        ("/dev/zero", "no regular file"),
        (tmp_path / "none", "can't be read"),
    ):
        with pytest.raises(UserError, match=words):
            parse_config(["--config", str(path)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--image-size 8 1000000000", "`image_size` is 1000000000, expected less than or equal"),
        ("--split-proportions nan 0 1", "`split_proportions` is nan, expected a finite number"),
        ("--depth 9", "`depth` is 9, expected 6n"),
        ("--depth 1000000004", "`depth` is 1000000004, expected less than or equal to 1202"),
        ("--steps 0", "`steps` is 0, expected greater than or equal to 1"),
        (f"--steps {10**30}", "`steps` is 10*, expected less than or equal to 2147483647"),
        (f"--batch-size {2**40}", "`batch_size` is 1099511627776, expected less than or equal"),
        ("--steps 100000000", "`steps` is 100000000, expected at most 16777215 with `batch_size`"),
        ("--seed -1", "`seed` is -1, expected greater than or equal to 0"),
        ("--seed 5 --seeds 4294967292", "`seeds` is 4294967292, expected at most 4294967291"),
        ("--pad 32", "`pad` is 32, expected less than or equal to 31"),
        ("--profile -1", "`profile` is -1"),
        ("--profile 5 --seeds 2", "`profile` is 5, expected 0 with several `seeds`"),
        ("--data-dir ~nobody_of_that_name/x", "`data_dir` is '~nobody_of_that_name/x'"),
        (f"--warmup-steps {2**31}", "`warmup_steps` is 2147483648"),
        ("--learning-rate nan", "`learning_rate` is nan, expected a finite number"),
        ("--learning-rate inf", "`learning_rate` is inf, expected a finite number"),
        ("--weight-decay -1e-9", "`weight_decay` is -1e-09"),
        ("--val-fraction 1", "`val_fraction` is 1.0, expected less than 1"),
        ("--momentum nan", "`momentum` is nan"),
        ("--name ..", "`name` is '..', expected the name of one folder"),
        ("--name a/b", "`name` is 'a/b', expected the name of one folder"),
        (f"--name {'a' * 201}", r"`name` is 'a*\.\.\., expected the name .* at most 200 bytes"),
        ("--name=", "--name is empty"),
        ("--model cnn --shortcut conv1x1", "`shortcut` is 'conv1x1', expected None with the"),
    ],
)
def test_a_bad_value_is_refused_in_one_short_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_config(words.split(" "))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


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
        ("--lr 0.1", "`lr` is no flag, expected `learning_rate`"),
        (
            "--recipe fast --epochs 12",
            "12 epochs of 45,000 images in batches of 128 are 4219",
        ),
        (
            "--epochs=2 --batch-size 100",
            "2 epochs of 40,000 images in batches of 100 are 800",
        ),
        ("--epochs 1 --val-fraction 0.5", "of 25,000 images in batches of 128 are 196 steps"),
        ("--epochs 3 --dataset digits", "expected `steps`: epochs times training images, divided"),
        ("--epochs", "`epochs` is no flag, expected `steps`"),
        ("--epochs nan --batch-size 0", "`epochs` is no flag, expected `steps`"),
    ],
)
def test_flags_of_other_programs_are_named_as_they_are_here(words, message):
    with pytest.raises(UserError, match=message):
        parse_config(words.split(" "))


@pytest.mark.parametrize("command", ["evaluate", "predict", "export"])
def test_help_lists_the_nets_of_the_package(command, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [command, "--help"])
    with pytest.raises(SystemExit, match="0"):
        main(command)
    shown = re.sub(r"[\s│]", "", capsys.readouterr().out)  # a name may be broken over two lines
    for name in pretrained():
        assert name in shown, f"--help of {command} lacks {name}"


def test_the_old_name_of_the_default_precision_is_accepted():
    assert Config(precision="tf32") == Config()


def test_a_value_without_effect_is_refused_and_a_recipes_own_gives_way():
    with pytest.raises(UserError, match=r"`muon_momentum` is 0\.8, expected"):
        parse_config(["--muon-momentum", "0.8"])
    config = parse_config(["--recipe", "fast", "--optimizer", "sgd", "--dataset", "digits"])
    assert (config.optimizer, config.muon_momentum, config.flip) == ("sgd", 0.6, "none")
    assert parse_config(["--recipe", "fast"]).flip == "alternating"


def test_the_shortcut_is_resolved():
    assert Config().shortcut == "zeropad"
    assert Config(model="cnn").shortcut is None
    assert Config().to_json()["shortcut"] == "zeropad"


def test_a_home_in_a_path_is_the_users():
    config = parse_config(["--runs-dir=~/runs", "--name", "a"])
    assert config.folder == Path.home() / "runs" / "a"
    with pytest.raises(UserError, match=r"`runs_dir` is '~nobody-here/runs'.*home"):
        parse_config(["--runs-dir", "~nobody-here/runs"])


def test_an_empty_value_is_refused():
    with pytest.raises(UserError, match="--runs-dir is empty"):
        parse_config(["--steps", "3", "--runs-dir", ""])


def test_names_and_paths_in_any_script_and_with_spaces_are_taken():
    config = parse_config(["--name", "mein Lauf 日本", "--runs-dir", "a b/ü"])
    assert (config.run_name, config.runs_dir) == ("mein Lauf 日本", Path("a b/ü"))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
keys = st.sampled_from([*FIELDS, "environment"])
# A value of the right kind now and then, or every second file would be refused at its first key.
likely = st.sampled_from([1, 2, 0.5, 8, 20, None, True, "none", "resnet", "fast", [8, 8], "ü", 1e9])
fuzz = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def parse_or_refuse(words):
    """A `Config` or None; any exception but `UserError` and the parser's exit fails the test."""
    try:
        config = parse_config(words)
    except (UserError, SystemExit) as error:
        refusal = error
    else:
        assert type(config) is Config
        assert 1 <= config.steps * config.batch_size < 2**31
        json.dumps(config.to_json(), allow_nan=False).encode()
        config.run_name.encode()
        return config
    if isinstance(refusal, SystemExit):
        assert refusal.code in (None, 0, 2)
    assert len(str(refusal)) < 1000
    return None


@fuzz
@given(st.dictionaries(keys, likely | json_values, max_size=3) | st.text(max_size=20))
def test_any_config_file_gives_a_config_or_a_message(write_config, content):
    config = parse_or_refuse(["--config", write_config(content)])
    if config and isinstance(content, dict):
        kept = content.keys() - {"environment", "data_dir", "runs_dir"}  # paths lose doubled "/"
        # A null of these stands for a default that depends on other fields.
        kept -= {k for k in ("shortcut", "flip") if content.get(k) is None}
        found = {k: config.to_json()[k] for k in kept}
        # A whole number for a float has as many digits as a float has.
        expected = {k: float(content[k]) if type(found[k]) is float else content[k] for k in kept}
        assert found == expected


flags = st.sampled_from([f"--{name.replace('_', '-')}" for name in FIELDS])
words = st.sampled_from(["nan", "inf", "-1", "0", "1", "1e30", "None", "True", str(10**30), "fast"])


@fuzz
@given(st.lists(flags | words | st.text(max_size=8), max_size=4))
def test_any_words_give_a_config_or_a_message(arguments):
    parse_or_refuse(arguments)


def test_main_prints_one_line_and_exits_with_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["train.py", "--depth", "9"])
    with pytest.raises(SystemExit) as stop:
        main("train")
    assert stop.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("error: --depth is 9")
    assert printed.err.count("\n") == 1


def test_help_names_every_flag_with_its_default(capsys):
    with pytest.raises(SystemExit, match=r"None|0"):
        parse_config(["--help"])
    text = capsys.readouterr().out
    for name in [*FIELDS, "config"]:
        assert f"--{name.replace('_', '-')}" in text
    assert "(default: 64000)" in text
    assert "pixels" in text


def test_bad_usage_leaves_no_folder_behind(tmp_path):
    script = SCRIPTS / "train.py"
    words = ["--dataset", "digits", "--batch-size", "100000", "--steps", "9", "--name", "ü b"]
    command = [sys.executable, script, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --batch-size 100000")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_stops_early_sees_no_traceback():
    script = SCRIPTS / "train.py"
    help_ = subprocess.Popen(
        [sys.executable, script, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    help_.stdout.close()
    assert "Traceback" not in help_.stderr.read().decode()
    assert help_.wait() == 141
