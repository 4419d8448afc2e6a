"""Flags, recipes and config files: what replaces what, and how bad values are refused."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jax_resnet.cli import flags as cli
from jax_resnet.cli.flags import parse_config
from jax_resnet.errors import UserError
from jax_resnet.training.config import Config, to_json
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
    with pytest.raises(UserError, match=r"--shortcut is 'zeropad'.*with --config .*config"):
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
    file = write_config(to_json(config) | {"environment": {"python": "3"}})
    assert parse_config(["--config", file]) == config


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"batchsize": 3}, "unknown key 'batchsize', the nearest known one is 'batch_size'"),
        ({"learning-rate": 3}, "unknown key 'learning-rate', .* 'learning_rate'"),
        ({"ü" * 1000: 3}, "unknown key .{,100}, the nearest known one is"),
        ({"steps": "3"}, "steps is '3', expected a whole number"),
        ({"steps": 3.0}, "steps is 3.0, expected a whole number"),
        ({"steps": True}, "steps is True, expected a whole number"),
        ({"momentum": None}, "momentum is None, expected a number"),
        ({"momentum": 10**400}, "momentum is 1.{,60}, expected a number"),
        ({"nesterov": 1}, "nesterov is 1, expected true or false"),
        ({"dataset": "mnist"}, 'dataset is \'mnist\', expected one of "cifar10", "cifar100"'),
        ({"recipe": ["fast"]}, 'recipe is .*, expected one of "article", "paper", "fast"'),
        ({"channels": True}, "channels is True, expected one of 1, 3 or null"),
        ({"image_size": [8]}, r"image_size is \[8\], expected a list \[a whole number, a whole"),
        ({"runs_dir": ""}, "runs_dir is '', expected text, a path"),
        ({"name": "\0"}, r"--name is '\\x00', expected text without control characters"),
        ({"data_dir": "\ud800"}, "--data-dir is .*, expected text without control"),
        ({"val_fraction": float("nan")}, "--val-fraction is nan, .*with --config"),
        ([], r"is \[\], expected a JSON object"),
        ("{", "can't be read"),
        ('{"pad": 1, "pad": 2}', "the key 'pad' is there twice"),
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
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="can't be read"):
            parse_config(["--config", str(path)])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--steps abc", "--steps: invalid literal for int.*'abc'"),
        ("--steps", "Missing value for argument .*--steps"),
        ("--recipe", "Missing value for argument .*--recipe"),
        ("--config", "Missing value for argument .*--config"),
        ("--dataset mnist", "'mnist' for argument '--dataset'. Expected one of .*'cifar10'"),
        ("--model vgg", "'vgg' for argument '--model'. Expected one of .*'resnet', 'cnn'"),
        ("--recipe slow", "'slow' for argument '--recipe'. Expected one of .*'article'"),
        ("--depht 8", "--depht, 8; perhaps --depth"),
        ("nonsense", "Unrecognized options: nonsense"),
        ("--image-size 8", "--image-size"),
        ("--image-size 8 1000000000", "--image-size is .*, expected two numbers from 4 to 4096"),
        ("--split-proportions nan 0 1", r"--split-proportions is .nan.*, expected three"),
        ("--depth 9", "--depth is 9, expected 6n"),
        ("--depth 1000000004", "--depth is 1000000004, expected 8 to 1202"),
        ("--steps 0", "--steps is 0, expected 1 to 2147483647"),
        (f"--steps {10**30}", "--steps is 10*, expected 1 to"),
        (f"--steps {'9' * 5000}", "--steps: .*digits"),
        (f"--batch-size {2**40}", "--batch-size is 1099511627776, expected 1 to 2147483647"),
        ("--steps 100000000", "--steps is 100000000, expected at most 16777215 with --batch-size"),
        ("--seed -1", "--seed is -1, expected 0 to 4294967295"),
        ("--pad 32", "--pad is 32, expected 0 to 31"),
        ("--profile -1", "--profile is -1"),
        ("--profile 5 --seeds 2", "--profile is 5, expected 0 with --seeds"),
        ("--data-dir ~nobody_of_that_name/x", "--data-dir is '~nobody_of_that_name/x'"),
        (f"--warmup-steps {2**31}", "--warmup-steps is 2147483648"),
        ("--learning-rate nan", "--learning-rate is nan, expected 0 to 1e.38"),
        ("--learning-rate inf", "--learning-rate is inf, expected 0 to 1e.38"),
        ("--weight-decay -1e-9", "--weight-decay is -1e-09"),
        ("--val-fraction 1", "--val-fraction is 1.0, expected 0 or more, and less"),
        ("--momentum nan", "--momentum is nan"),
        ("--name ..", "--name is '..', expected the name of one folder"),
        ("--name a/b", "--name is 'a/b', expected the name of one folder"),
        (f"--name {'ü' * 101}", "--name is 'ü*..., expected the name .* at most 200 bytes"),
        ("--name=", "--name is empty, expected a value"),
        ("--model cnn --shortcut conv1x1", "--shortcut is 'conv1x1', expected none with --model"),
    ],
)
def test_a_bad_flag_is_refused_in_one_short_line(words, message):
    with pytest.raises(UserError, match=message.replace("'ü*...", r"'ü*\.\.\.")) as caught:
        parse_config(words.split(" "))
    text = str(caught.value)
    assert len(text) < 500
    assert not set(text) & set("\n│─╭\x1b")


def test_a_home_in_a_path_is_the_users():
    config = parse_config(["--runs-dir=~/runs", "--name", "a"])
    assert config.folder == Path.home() / "runs" / "a"
    with pytest.raises(UserError, match=r"--runs-dir is '~nobody-here/runs'.*no such home"):
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
    """A `Config` or None; any other exception than a `UserError` fails the test."""
    try:
        config = parse_config(words)
    except (UserError, SystemExit) as error:
        refusal = error
    else:
        assert type(config) is Config
        assert 1 <= config.steps * config.batch_size < 2**31
        json.dumps(to_json(config), allow_nan=False).encode()
        config.run_name.encode()
        return config
    if isinstance(refusal, SystemExit):
        assert refusal.code in (None, 0)  # --help
    assert len(str(refusal)) < 1000
    return None


@fuzz
@given(st.dictionaries(keys, likely | json_values, max_size=3) | st.text(max_size=20))
def test_any_config_file_gives_a_config_or_a_message(write_config, content):
    config = parse_or_refuse(["--config", write_config(content)])
    if config and isinstance(content, dict):
        kept = content.keys() - {"environment", "data_dir", "runs_dir"}  # paths lose doubled "/"
        found = {k: to_json(config)[k] for k in kept}
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
        cli.main(parse_config)
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
    script = Path(__file__).parent.parent / "scripts" / "train.py"
    words = ["--dataset", "digits", "--batch-size", "100000", "--steps", "9", "--name", "ü b"]
    command = [sys.executable, script, *words]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("error: --batch-size 100000")
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_stops_early_sees_no_traceback():
    script = Path(__file__).parents[1] / "scripts" / "train.py"
    help_ = subprocess.Popen(
        [sys.executable, script, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    help_.stdout.close()
    assert "Traceback" not in help_.stderr.read().decode()
    assert help_.wait() == 141
