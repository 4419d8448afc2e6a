"""Processes that train together find each other, or say why not; and notice when one is lost."""

import itertools
import os
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import jax
import pytest

from jax_resnet.errors import UserError
from jax_resnet.run import roll_call, watch
from jax_resnet.run.roll_call import call_roll


@pytest.fixture
def address():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return f"127.0.0.1:{port}"


def call_all(address, *processes):
    """What happens to processes of these numbers: None, or the error."""

    def call(count, number):
        try:
            return call_roll(address, count, number)
        except UserError as error:
            return str(error)

    with ThreadPoolExecutor() as pool:
        return [end.result() for end in [pool.submit(call, *each) for each in processes]]


def test_all_are_present(address):
    assert call_all(address, (3, 2), (3, 0), (3, 1)) == [None] * 3


def test_two_of_the_same_number_are_refused_everywhere(address):
    ends = call_all(address, (3, 0), (3, 1), (3, 1))
    assert all("two processes have the `process_id` 1" in end for end in ends)


def test_different_counts_are_refused_everywhere(address):
    ends = call_all(address, (2, 0), (3, 1))
    assert all("`num_processes` is 2 in one process, 3 in another" in end for end in ends)


def test_a_process_that_does_not_come_is_named(address, monkeypatch):
    monkeypatch.setattr(roll_call, "JOIN_SECONDS", 1)
    ends = call_all(address, (3, 0), (3, 1))
    assert all("`process_id` 2 did not connect within 1 s" in end for end in ends)


def test_strangers_do_not_put_the_end_off(address, monkeypatch):
    """A program that looks again and again whether the port is open."""
    monkeypatch.setattr(roll_call, "JOIN_SECONDS", 1)
    host, port = address.split(":")
    ended = threading.Event()

    def look():
        while not ended.wait(0.02):
            with suppress(OSError):
                socket.create_connection((host, int(port))).close()

    with ThreadPoolExecutor() as pool:
        pool.submit(look)
        first = pool.submit(call_all, address, (2, 0))
        try:
            (answer,) = first.result(timeout=10)
        finally:
            ended.set()
    assert "`process_id` 1 did not connect within 1 s" in answer


def test_a_stranger_that_drips_does_not_put_the_end_off(address, monkeypatch):
    monkeypatch.setattr(roll_call, "JOIN_SECONDS", 1)
    host, port = address.split(":")
    ended = threading.Event()

    def drip():
        with suppress(OSError):
            while True:
                with suppress(ConnectionRefusedError):
                    stranger = socket.create_connection((host, int(port)))
                    break
            with stranger:
                while not ended.wait(0.2):
                    stranger.sendall(b"x")

    with ThreadPoolExecutor() as pool:
        pool.submit(drip)
        began = time.monotonic()
        try:
            (answer,) = call_all(address, (2, 0))
        finally:
            ended.set()
    assert "`process_id` 1 did not connect within 1 s" in answer
    assert time.monotonic() - began < 5


def test_nobody_at_the_coordinator(address, monkeypatch):
    monkeypatch.setattr(roll_call, "JOIN_SECONDS", 0.2)
    with pytest.raises(UserError, match=f"{address}, but the first process is not there: .*refuse"):
        call_roll(address, 2, 1)


def test_a_port_that_is_taken(address):
    with (
        socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))),
        pytest.raises(UserError, match=r"port \d+ can't be used: .*in use"),
    ):
        call_roll(address, 2, 0)


def test_another_program_at_the_port():
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            with server.accept()[0] as other:
                other.sendall(b"HTTP/1.0 400 Bad request\r\n")

        threading.Thread(target=answer, daemon=True).start()
        with pytest.raises(UserError, match="another program or another run answers there"):
            call_roll(f"127.0.0.1:{server.getsockname()[1]}", 2, 1)


def test_strangers_at_the_port_are_ignored(address):
    with ThreadPoolExecutor() as pool:
        first = pool.submit(call_roll, address, 2, 0)
        host, port = address.split(":")
        for word in (b"", b"GET / HTTP/1.1\r\n", b"jax_resnet 2 x\n", b"jax_resnet x 1\n"):
            while True:
                try:
                    with socket.create_connection((host, int(port))) as stranger:
                        stranger.sendall(word)
                    break
                except ConnectionRefusedError:
                    time.sleep(0.05)
        call_roll(address, 2, 1)
        first.result(timeout=10)


def test_a_process_that_is_started_again_is_not_a_second_one(address):
    with ThreadPoolExecutor() as pool:
        first = pool.submit(call_roll, address, 3, 0)
        host, port = address.split(":")
        while True:
            try:
                with socket.create_connection((host, int(port))) as killed:
                    killed.sendall(b"jax_resnet 3 1\n")
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        other = pool.submit(call_roll, address, 3, 2)
        time.sleep(0.3)
        assert not first.done(), "the process that has ended was counted"
        call_roll(address, 3, 1)
        for end in (first, other):
            end.result(timeout=10)


class Store:
    """The key-value store of three processes, of which this one is the first."""

    def __init__(self):
        self.values = {}
        self.beats = 0

    def key_value_set(self, key, value, allow_overwrite):
        assert allow_overwrite
        self.values[key] = value
        self.beats += 1
        self.values |= self.others()

    def others(self):
        return {}

    def key_value_dir_get(self, prefix):
        return [(k, v) for k, v in self.values.items() if k.startswith(prefix)]


@pytest.fixture
def watched(monkeypatch):
    """Watches by a store for a second; the exit code, if the process would have ended."""
    monkeypatch.setattr(watch, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(watch, "LOST_SECONDS", -4.5)  # of the first process 0.5
    monkeypatch.setattr(jax, "process_count", lambda: 3)
    monkeypatch.setattr(jax, "process_index", lambda: 0)
    codes = []
    monkeypatch.setattr(os, "_exit", codes.append)

    def run(store, seconds=1.8):
        monkeypatch.setattr(watch.distributed.global_state, "client", store)
        with watch.watch():
            time.sleep(seconds)
        return codes

    return run


def test_processes_that_are_heard_or_done_are_not_lost(watched):
    store = Store()
    store.others = lambda: {f"{watch.KEY}/1": str(store.beats), f"{watch.KEY}/2": watch.DONE}
    assert watched(store) == []
    assert store.values[f"{watch.KEY}/0"] == watch.DONE


def test_a_store_that_fails_once_loses_nobody(watched):
    store = Store()
    store.others = lambda: {f"{watch.KEY}/{i}": str(store.beats) for i in (1, 2)}
    answer, calls = store.key_value_dir_get, itertools.count()

    def fail_once(prefix):
        if next(calls) == 2:
            raise jax.errors.JaxRuntimeError("UNAVAILABLE: for a moment")
        return answer(prefix)

    store.key_value_dir_get = fail_once
    assert watched(store) == []


def test_a_silent_process_is_lost(watched, capsys):
    store = Store()
    store.others = lambda: {f"{watch.KEY}/1": str(store.beats), f"{watch.KEY}/2": "7"}
    assert set(watched(store)) == {1}
    assert "process 0 has not heard from process 2" in capsys.readouterr().err


def test_where_nothing_is_heard_all_are_lost(watched, capsys):
    store = Store()

    def unreachable(*_arguments, **_keywords):
        raise jax.errors.JaxRuntimeError("UNAVAILABLE")

    store.key_value_dir_get = unreachable
    assert set(watched(store)) == {1}
    assert "process 0 has not heard from process 1, 2" in capsys.readouterr().err
