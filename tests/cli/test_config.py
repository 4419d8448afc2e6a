"""Flags, recipes and config files: what replaces what, and how bad values are refused."""

import dataclasses
import json
import os
from pathlib import Path
from typing import get_args

import numpy as np
import pytest

from jax_resnet.cli.train import parse_config
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config, RecipeName
from jax_resnet.training.recipes import RECIPES


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


def test_a_recipe_without_a_value_that_the_file_leaves_to_it_is_refused(write_config):
    file = write_config(Config(shortcut="conv1x1").to_json())
    with pytest.raises(UserError, match=r"`recipe` is 'paper', expected 'article' as in .*config"):
        parse_config(["--config", file, "--recipe", "paper"])
    assert parse_config(["--config", file, "--recipe", "article"]).shortcut == "conv1x1"


def test_null_in_the_file_is_the_recipes_shortcut(write_config):
    file = write_config({"shortcut": None, "recipe": "paper"})
    assert parse_config(["--config", file]) == RECIPES["paper"]
    file = write_config({"shortcut": None, "model": "cnn"})
    assert parse_config(["--config", file]).shortcut is None


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


def test_every_recipe_has_values():
    assert set(RECIPES) == set(get_args(RecipeName)), "a name of a recipe has no values"


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
    of_a_start = {"coordinator": "host:1", "num_processes": 2, "process_id": 1}
    file = write_config(config.to_json() | of_a_start | {"environment": {"python": "3"}})
    assert parse_config(["--config", file]) == config, "the old start's processes are awaited"
    file = write_config(config.to_json() | of_a_start)
    assert parse_config(["--config", file]).num_processes == 2


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
        ({"momentum": 10**400}, "`momentum` is .{,110}, expected a (finite|valid) number"),
        ({"nesterov": 1}, "`nesterov` is 1, expected a valid boolean"),
        ({"dataset": "mnist"}, "`dataset` is 'mnist', expected 'cifar10', 'cifar100'"),
        ({"recipe": ["fast"]}, "`recipe` is .*, expected 'article', 'paper', 'fast' or 'long'"),
        ({"channels": 2}, "`channels` is 2, expected 1 or 3"),
        ({"image_size": [8]}, r"`image_size` is .*, expected "),
        ({"runs_dir": ""}, "`runs_dir` is '', expected text, not empty"),
        ({"runs_dir": "gs://b/c"}, "`runs_dir` is 'gs:/b/c', expected a folder on this machine"),
        (
            {"data_dir": "~no-such-user/a"},
            "`data_dir` is '~no-such-user/a', expected a folder in a",
        ),
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
        (tmp_path, "not a regular file"),
        (tmp_path / "pipe", "not a regular file"),
        ("/dev/zero", "not a regular file"),
        (tmp_path / "none", "can't be read"),
    ):
        with pytest.raises(UserError, match=words):
            parse_config(["--config", str(path)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            "--image-size 8 1000000000",
            "`image_size` is 8 1000000000, expected a height and a width from 4 to 4096",
        ),
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
        ("--shortcut None", "the net without shortcuts is `model` cnn"),
        ("--shortcut none", "the net without shortcuts is `model` cnn"),
        ("--shortcut=None --model resnet", "the net without shortcuts is `model` cnn"),
        ("--model cnn --shortcut conv1x1", "`shortcut` is 'conv1x1', expected None with the"),
    ],
)
def test_a_bad_value_is_refused_in_one_short_line(words, message):
    with pytest.raises(UserError, match=message) as caught:
        parse_config(words.split(" "))
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)


def test_the_old_name_of_the_default_precision_is_accepted():
    assert Config(precision="tf32") == Config()


def test_a_value_without_effect_is_refused_and_a_recipes_own_gives_way(tmp_path):
    with pytest.raises(UserError, match=r"`muon_momentum` is 0\.8, expected"):
        parse_config(["--muon-momentum", "0.8"])
    config = parse_config(["--recipe", "fast", "--optimizer", "sgd", "--dataset", "digits"])
    assert (config.optimizer, config.muon_momentum, config.mirroring) == ("sgd", 0.6, "none")
    assert parse_config(["--recipe", "fast"]).flip == "alternating"
    frozen = ["--recipe", "fast", "--init", "resnet20-zeropad", "--freeze", "stages"]
    config = parse_config(frozen)
    assert (config.freeze, config.optimizer, config.muon_momentum) == ("stages", "sgd", 0.6)
    file = tmp_path / "muon.json"
    for flag, value in (("optimizer", "muon"), ("muon_momentum", 0.8)):
        with pytest.raises(UserError, match=f"`{flag}` is '?{value}'?, expected"):
            parse_config([*frozen, f"--{flag.replace('_', '-')}", str(value)])
        file.write_text(json.dumps({flag: value}))
        with pytest.raises(UserError, match=f"`{flag}` is '?{value}'?, expected"):
            parse_config([*frozen, "--config", str(file)])
    with pytest.raises(UserError, match="`optimizer` is 'muon', expected sgd with `freeze` stages"):
        dataclasses.replace(RECIPES["fast"], init="resnet20-zeropad", freeze="stages")


def test_the_shortcut_is_resolved():
    assert Config().shortcut == "zeropad"
    assert Config(model="cnn").shortcut is None
    assert Config().to_json()["shortcut"] == "zeropad"


def test_mirroring_follows_the_data_set():
    digits = Config(dataset="digits")
    assert digits.mirroring == digits.hyper_parameters()["flip"] == "none"
    cifar10 = dataclasses.replace(digits, dataset="cifar10")
    assert cifar10.mirroring == "random", "what digits need is not what cifar10 needs"
    assert dataclasses.replace(digits, flip="alternating").mirroring == "alternating"


def test_numbers_of_numpy_are_kept_as_pythons():
    config = Config(learning_rate=np.float32(0.5))
    assert type(config.learning_rate) is float
    assert config.to_json()["learning_rate"] == 0.5


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
