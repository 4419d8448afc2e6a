"""What the thread does that writes a checkpoint while training goes on, and what is set aside."""

import errno
import hashlib
import os
import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from jax_resnet.checksums import find_damage
from jax_resnet.errors import UserError
from jax_resnet.files import read_json
from jax_resnet.pretrained import is_unfinished
from jax_resnet.run.checkpoints import Checkpoints
from jax_resnet.training.programs import make_mesh


def test_no_program_is_run_beside_those_of_training(tmp_path):
    """Programs of two threads on several CPU devices can wait for each other for ever: those of
    Orbax, which splits what all devices hold, and a step's all-reduce."""
    assert jax.device_count() > 1
    threads = []
    jax.monitoring.register_event_duration_secs_listener(
        lambda event, *_, **__: threads.append((threading.current_thread().name, event))
    )
    everywhere = NamedSharding(make_mesh(), PartitionSpec())
    value = np.arange(4_099 * 6, dtype=np.float32).reshape(4_099, 6)  # of no other test
    tree = {"a": jax.device_put(value, everywhere), "b": jax.device_put(jnp.int32(3), everywhere)}
    checkpoints = Checkpoints(tmp_path / "checkpoints", tmp_path / "damaged")
    checkpoints.save(1, tree, [], best=None)
    restored = checkpoints.restore(1, tree)
    checkpoints.close()
    compiled = {name for name, event in threads if "/compile/" in event}
    assert compiled, "nothing is heard of any program"
    assert not [name for name in compiled if name.startswith("checkpoints")]
    np.testing.assert_array_equal(restored["a"], value)
    assert restored["a"].sharding == everywhere


def test_a_process_that_refuses_transfers_writes_all_the_same(tmp_path, monkeypatch):
    save, tree = ocp.CheckpointManager.save, {"a": jnp.arange(3.0)}

    def transfer_and_save(*arguments, **options):
        jnp.negative(np.ones(3))  # as from a GPU: copies between CPU and host are never refused
        return save(*arguments, **options)

    monkeypatch.setattr(ocp.CheckpointManager, "save", transfer_and_save)
    before = jax.config.jax_transfer_guard
    jax.config.update("jax_transfer_guard", "disallow_explicit")
    try:
        checkpoints = Checkpoints(tmp_path / "checkpoints", tmp_path / "damaged")
        checkpoints.save(1, tree, [], best=None)
        assert checkpoints.steps == [1]
        checkpoints.close()
    finally:
        jax.config.update("jax_transfer_guard", before)


TREE = {"a": jnp.arange(3.0)}


def write_two(folder):
    checkpoints = Checkpoints(folder, folder.parent / "damaged")
    for step in (1, 2):
        checkpoints.save(step, TREE, [], best=None)
    checkpoints.close()


@pytest.mark.parametrize(("module", "name"), [(os, "scandir"), (hashlib, "file_digest")])
def test_what_cannot_be_read_for_a_while_is_not_damaged(tmp_path, monkeypatch, module, name):
    """Permissions are missing, or a network disk is away: every byte is good."""
    write_two(tmp_path / "checkpoints")
    real = getattr(module, name)

    def fail(what, *arguments):
        if str(tmp_path / "checkpoints" / "2") in str(getattr(what, "name", what)):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return real(what, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module, name, fail)
        with pytest.raises(UserError, match=rf"2 can't be read: .*{errno.ESTALE}.* move .*/2 away"):
            Checkpoints(tmp_path / "checkpoints", tmp_path / "damaged")
    assert sorted(os.listdir(tmp_path)) == ["checkpoints"], "checkpoints were set aside"
    again = Checkpoints(tmp_path / "checkpoints", tmp_path / "damaged")
    assert again.steps == [1, 2]
    again.close()


def test_a_damaged_checkpoint_that_cannot_be_moved_stays_as_it_is(tmp_path, monkeypatch):
    """In a folder that may not be written: a move that copies first would empty it."""
    write_two(tmp_path / "checkpoints")
    (tmp_path / "checkpoints" / "2" / "sha256.json").write_text("{")
    before = sorted((tmp_path / "checkpoints").rglob("*"))

    def fail(path, target):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(UserError, match=r"damaged/2 can't be written: .*Permission denied"):
        Checkpoints(tmp_path / "checkpoints", tmp_path / "damaged")
    assert sorted((tmp_path / "checkpoints").rglob("*")) == before
    assert not [*(tmp_path / "damaged").iterdir()]


def test_a_checkpoint_that_is_deleted_while_it_is_looked_at_is_not_complete(tmp_path, monkeypatch):
    write_two(tmp_path / "checkpoints")
    folder = tmp_path / "checkpoints" / "1"

    def delete_then_read(file):
        shutil.rmtree(folder)
        return read_json(file)

    monkeypatch.setattr("jax_resnet.checksums.read_json", delete_then_read)
    assert find_damage(folder) == f"{folder} is not complete"


def test_checkpoints_that_cannot_be_listed_are_not_missing(tmp_path, monkeypatch):
    write_two(tmp_path / "checkpoints")
    assert is_unfinished(tmp_path)

    def fail(path):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "listdir", fail)
    for look in (is_unfinished, lambda folder: Checkpoints(folder / "checkpoints", folder / "bad")):
        with pytest.raises(UserError, match=r"checkpoints can't be read: .*Permission denied"):
            look(tmp_path)


def test_a_damaged_checkpoint_on_another_disk_is_set_aside(tmp_path):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no other disk")
    write_two(tmp_path / "checkpoints")
    with TemporaryDirectory(dir=memory) as disk:
        shutil.move(tmp_path / "checkpoints", disk)
        (tmp_path / "checkpoints").symlink_to(Path(disk, "checkpoints"))
        (tmp_path / "checkpoints" / "2" / "sha256.json").write_text("{")
        again = Checkpoints(tmp_path / "checkpoints", tmp_path / "damaged")
        assert again.steps == [1]
        again.close()
        assert os.listdir(tmp_path / "damaged") == ["2"]
