"""What is damaged is named, an earlier good checkpoint is used, and the result is the same."""

import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from support import assert_same_run, digits, train

from jax_resnet.checksums import checksums
from jax_resnet.errors import UserError
from jax_resnet.files import write_json
from jax_resnet.report.page import read_run
from jax_resnet.report.scores import score
from jax_resnet.training.begin import check_folder, finished


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def delete(path):
    path.unlink()


def make_folder(path):
    path.unlink()
    path.mkdir()


DAMAGES = [truncate, flip, empty, delete, make_folder]
READ = ("config.json", "metrics.jsonl")
MADE_AGAIN = ("curves.png", "result.json", "classifier.safetensors")


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    """A finished run of two epochs and a bit, with three checkpoints or fewer."""
    config = digits(tmp_path_factory.mktemp("runs"), name="whole")
    train(config)
    return config


def refusal(config):
    """Resumes a run; the message if that is refused."""
    try:
        train(config)
    except UserError as error:
        return str(error)
    return None


@pytest.fixture
def copy(config, tmp_path):
    """A copy of the run, and the config that resumes it."""
    shutil.copytree(config.runs_dir / "whole", tmp_path / "whole")
    return tmp_path / "whole", dataclasses.replace(config, runs_dir=tmp_path, resume=True)


def test_a_run_without_checkpoints_says_what_is_dropped(copy, capsys):
    folder, again = copy
    shutil.rmtree(folder / "checkpoints")
    for name in ("result.json", "classifier.safetensors"):
        (folder / name).unlink()
    train(again)
    said = capsys.readouterr().err
    assert "has no checkpoint and starts again: the metrics of 3 epochs are dropped" in said


def test_versions_of_another_type_are_damaged(copy):
    folder, again = copy
    line = json.loads((folder / "starts.jsonl").read_text())
    (folder / "starts.jsonl").write_text(json.dumps(line | {"versions": "x"}) + "\n")
    assert "starts.jsonl is damaged: its versions are 'x'" in refusal(again)


def test_a_result_whose_accuracy_is_not_that_of_its_counts_is_written_again(copy, config):
    folder, again = copy
    result = json.loads((folder / "result.json").read_text())
    assert finished(again) == result
    write_json(folder / "result.json", result | {"last": result["last"] | {"accuracy": 0.99}})
    assert finished(again) is None
    for accuracy in (0.99, float("nan")):
        write_json(
            folder / "result.json", result | {"best": result["best"] | {"accuracy": accuracy}}
        )
        assert finished(again) is None
    train(again)
    assert_same_run(folder, config.runs_dir / "whole")


def test_a_file_in_the_place_of_the_folder_is_refused(config, tmp_path):
    (tmp_path / "whole").write_text("mine")
    other = dataclasses.replace(config, runs_dir=tmp_path)
    with pytest.raises(UserError, match="whole is not a folder: choose another `name`"):
        check_folder(other)


def test_a_resumed_finished_run_is_the_same(copy, config, capsys):
    folder, again = copy
    train(again)
    assert_same_run(folder, config.runs_dir / "whole")
    assert "damaged" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "damage", [truncate, *(pytest.param(each, marks=pytest.mark.slow) for each in DAMAGES[1:])]
)
def test_the_last_checkpoint_damaged_the_one_before_is_used(copy, config, capsys, damage):
    """The damaged file is another one for each damage; all are under the same checksums."""
    folder, again = copy
    steps = sorted(int(path.name) for path in (folder / "checkpoints").glob("[0-9]*"))
    last = folder / "checkpoints" / str(steps[-1])
    names = sorted(checksums(last))
    name = names[DAMAGES.index(damage) * len(names) // len(DAMAGES)]
    damage(last / name)
    train(again)
    said = capsys.readouterr().err
    assert str(last) in said
    assert f"resuming {folder} at step {steps[-2]}" in said
    assert (folder / "damaged" / last.name).is_dir(), "the damaged checkpoint is kept aside"
    assert_same_run(folder, config.runs_dir / "whole")


def test_every_byte_of_a_checkpoint_is_under_the_checksums(copy):
    folder, _ = copy
    last = max((folder / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    files = {str(p.relative_to(last)) for p in last.rglob("*") if p.is_file()}
    assert files == checksums(last).keys() | {"sha256.json"}


def test_all_checkpoints_damaged_the_run_starts_anew_and_says_so(copy, config, capsys):
    folder, again = copy
    (folder / "result.json").unlink()
    for sums in (folder / "checkpoints").glob("*/sha256.json"):
        sums.unlink()
    train(again)
    assert "is not complete" in capsys.readouterr().err
    assert_same_run(folder, config.runs_dir / "whole")


def test_what_a_file_manager_leaves_is_no_damage(copy, config, capsys):
    folder, again = copy
    for checkpoint in (folder / "checkpoints").glob("[0-9]*"):
        (checkpoint / ".DS_Store").write_bytes(b"litter")
    train(again)
    assert f"resuming {folder} at step 24" in capsys.readouterr().err
    assert not (folder / "damaged").exists()


def test_what_a_killed_write_left_is_deleted(copy):
    folder, again = copy
    left = folder / "checkpoints" / "7.orbax-checkpoint-tmp"
    left.mkdir()
    train(again)
    assert not left.exists()


@pytest.mark.parametrize(
    ("damage", "files"),
    [(shutil.rmtree, "checkpoints"), (delete, "checkpoints/*/sha256.json"),
     (flip, "checkpoints/*/metrics.jsonl")],
)  # fmt: skip
def test_a_finished_run_whose_checkpoints_are_lost_is_left_as_it_is(copy, damage, files):
    folder, again = copy
    for path in folder.glob(files):
        damage(path)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for _ in range(2):
        assert f"{folder} is finished, and no good checkpoint is left" in refusal(again)
    assert {path: path.read_bytes() for path in before} == before


def test_checkpoints_that_are_left_of_another_run_are_not_gone_on_with(copy):
    folder, again = copy
    for path in folder.iterdir():
        if path.is_file():
            path.unlink()
    message = refusal(dataclasses.replace(again, resume=False, learning_rate=0.05))
    assert f"{folder / 'config.json'} is missing, but {folder / 'checkpoints'} exists" in message
    assert not (folder / "config.json").exists()


def test_a_folder_in_the_pictures_place_is_said(copy, config, capsys):
    folder, again = copy
    make_folder(folder / "curves.png")
    train(again)
    assert f"{folder / 'curves.png'} can't be drawn" in capsys.readouterr().err
    assert_same_run(folder, config.runs_dir / "whole")


@pytest.mark.parametrize("is_link", [True, False])
def test_checkpoints_that_are_no_folder_are_named(copy, is_link):
    folder, again = copy
    (folder / "result.json").unlink()
    (folder / "checkpoints").rename(folder / "elsewhere")
    if is_link:  # as to a disk that is not mounted
        (folder / "checkpoints").symlink_to(folder / "nowhere")
    else:
        (folder / "checkpoints").write_text("")
    lines = (folder / "metrics.jsonl").read_text()
    assert f"{folder / 'checkpoints'} is not a folder: put the run's checkpoints" in refusal(again)
    assert (folder / "metrics.jsonl").read_text() == lines


def test_another_environment_than_that_of_the_copies_is_damage(copy):
    folder, again = copy
    content = json.loads((folder / "config.json").read_text())
    content["environment"]["commit"] = "another"
    (folder / "config.json").write_text(json.dumps(content))
    assert f"{folder / 'config.json'} is damaged: its environment is not that" in refusal(again)


def test_a_picture_of_the_users_is_not_drawn_over(copy):
    _, again = copy
    other = dataclasses.replace(again, name="other", resume=False)
    other.folder.mkdir()
    (other.folder / "curves.png").write_text("mine")
    assert f"{other.folder / 'curves.png'} exists" in refusal(other)
    assert (other.folder / "curves.png").read_text() == "mine"


def test_a_run_goes_on_and_is_scored_with_as_many_images_only(copy):
    folder, again = copy
    content = json.loads((folder / "config.json").read_text())
    assert content["environment"]["images"] == {"train": 1150, "validation": 287, "test": 360}
    content["environment"]["images"]["train"] = 1149
    (folder / "config.json").write_text(json.dumps(content))
    for use in (train, lambda _: score(folder), lambda _: read_run(folder)):
        with pytest.raises(UserError, match=r"config.json: the numbers of images were .*1149"):
            use(again)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_that_is_read_is_named(copy, config, capsys, name, damage):
    folder, again = copy
    damage(folder / name)
    message = refusal(again)
    if message is None:
        assert_same_run(folder, config.runs_dir / "whole")
        assert f"{folder / name} was damaged and is restored" in capsys.readouterr().err
    else:
        assert len(message.splitlines()) == 1
        named = str(folder / name) in message
        assert named or "holds a run with other hyper-parameters" in message


@pytest.mark.parametrize("damage", [truncate, flip, empty, delete])
def test_damaged_results_are_made_again(copy, config, damage):
    folder, again = copy
    for name in MADE_AGAIN:
        damage(folder / name)
    train(again)
    assert_same_run(folder, config.runs_dir / "whole")
    assert (folder / "curves.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("name", [name for name in MADE_AGAIN if name != "curves.png"])
def test_a_folder_in_a_files_place_is_named(copy, name):
    folder, again = copy
    make_folder(folder / name)
    with pytest.raises(UserError, match=name):
        train(again)


@pytest.mark.skipif(os.name != "posix" or os.getuid() == 0, reason="root reads everything")
def test_an_unreadable_config_is_named(copy):
    folder, again = copy
    (folder / "config.json").chmod(0)
    with pytest.raises(UserError, match=r"config\.json can't be read"):
        train(again)


def test_a_run_without_its_config_is_not_taken_for_a_new_one(copy):
    folder, again = copy
    (folder / "config.json").unlink()
    with pytest.raises(UserError, match=r"config\.json is missing"):
        train(again)
    assert json.loads((folder / "result.json").read_text())["last"]["count"] == 360


def test_half_a_deleted_checkpoint_is_not_a_good_one(copy, config, capsys):
    """Its checksums go first, so what is left is never read."""
    folder, again = copy
    first = Path(shutil.copytree(folder / "checkpoints" / "24", folder / "checkpoints" / "3"))
    (first / "sha256.json").unlink()
    shutil.rmtree(next(path for path in first.iterdir() if path.is_dir()))
    train(again)
    assert f"{first.absolute()} is not complete" in capsys.readouterr().err
    assert_same_run(folder, config.runs_dir / "whole")
