"""The trace that `--profile` records."""

import gzip
import json

import jax
import pytest
from support import (
    digits,
    train,
)

from jax_resnet.errors import UserError
from jax_resnet.run import profiling
from jax_resnet.run.profiling import Profile


def test_a_profile_begins_with_the_first_dispatch_that_is_past_compiling(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: said.append("start"))
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: said.append("stop"))
    with Profile(tmp_path, 10, first_step=0) as profile:
        for step in (1, 200, 352, 552):  # of many steps each, as on accelerators
            profile.update(step)
            said.append(step)
    assert said == [1, "start", 200, "stop", 352, 552]


def test_a_trace_of_nothing_is_said_and_a_file_in_its_place_refused(tmp_path, capsys):
    with Profile(tmp_path / "trace", 5, first_step=0) as profile:
        profile.update(2)
    assert "no step was recorded" in capsys.readouterr().err
    (tmp_path / "trace").write_text("")
    with pytest.raises(UserError, match=r"`profile` needs the folder .*trace, but that is a file"):
        Profile(tmp_path / "trace", 5, first_step=0)


@pytest.mark.parametrize("call", ["start_trace", "stop_trace"])
def test_a_trace_that_cannot_be_written_ends_no_run(tmp_path, monkeypatch, capsys, call):
    def fail(*_, **__):
        raise jax.errors.JaxRuntimeError("the disk is full")

    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: None)
    monkeypatch.setattr(jax.profiler, "stop_trace", lambda: None)
    monkeypatch.setattr(jax.profiler, call, fail)
    with Profile(tmp_path / "trace", 5, first_step=0) as profile:
        for step in range(20):
            profile.update(step)
    said = capsys.readouterr().err
    assert f"{tmp_path / 'trace'}: no trace can be recorded: the disk is full" in said


def test_of_several_processes_the_first_alone_is_traced(tmp_path, monkeypatch):
    monkeypatch.setattr(profiling, "is_first", lambda: False)
    monkeypatch.setattr(jax.profiler, "start_trace", lambda *_, **__: pytest.fail("it is traced"))
    with Profile(tmp_path / "trace", 5, first_step=0) as profile:
        for step in range(20):
            profile.update(step)


def test_profile_writes_a_trace_that_perfetto_opens(tmp_path):
    config = digits(tmp_path, profile=2, name="profiled")
    train(config)
    (trace,) = (tmp_path / "profiled" / "profile").rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(trace.read_bytes()))["traceEvents"]
    assert any("advance" in str(event) or "one_step" in str(event) for event in events)
