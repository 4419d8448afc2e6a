"""What the thread does that writes a checkpoint while training goes on."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec

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
