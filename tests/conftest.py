"""Two virtual CPU devices, so that every test of training is one of sharding too; one cache of
compiled programs for all tests and the commands that they start; and no network but loopback."""

import os
import runpy
import signal
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path


def refuse_network(event, arguments):
    """An audit hook: the package and its tests ask nobody but this machine."""
    asked = {"socket.connect": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}
    if event in asked:
        address = arguments[asked[event]]
        host = address[0] if isinstance(address, tuple) else address
        if event != "socket.connect" or isinstance(address, tuple):
            assert host in (None, "127.0.0.1", "::1", "localhost"), f"{event}: {host} was asked"


sys.addaudithook(refuse_network)

CACHE = Path(__file__).parents[1] / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
# A process that trains compiles some 60 programs of a moment each, which add up.
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")

import jax  # noqa: E402  the cache is read from the environment at import
import pytest  # noqa: E402

# Where XLA is to optimize little, to compile sooner: an older XLA has a second, faster way, which
# newer ones don't know. XLA reads the variable when it is first used.
FLAGS = os.environ.get("XLA_FLAGS", "")
if "optimization_level" in FLAGS and jax.__version_info__ < (0, 11):
    os.environ["XLA_FLAGS"] = f"{FLAGS} --xla_cpu_use_fusion_emitters=false"

jax.config.update("jax_num_cpu_devices", 2)

from support import SCRIPTS  # noqa: E402

from jax_resnet.training import programs  # noqa: E402


@pytest.fixture(autouse=True)
def heard():
    """Signals that the caller of the tests ignores, as under nohup or a script's `&`, are heard."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    ignored = [number for number in usual if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, usual[number])
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a script, by name or path, in this process; its exit code, stdout and stderr."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run


def pytest_addoption(parser):
    parser.addoption(
        "--quick",
        action="store_true",
        help="skip tests that start a process or compile a training program, for `make quick`",
    )


def pytest_configure(config):
    is_controller = config.getoption("numprocesses", None) and not hasattr(config, "workerinput")
    if config.getoption("--quick") and not is_controller:
        sys.addaudithook(skip_where_a_command_starts)
        BaseProcess.start = skip_because("it starts a process")
        programs.jit_steps = skip_because("it compiles a training program")


def skip_where_a_command_starts(event, arguments):
    """An audit hook; the run that asks git for its commit may do so."""
    is_in_a_test = "PYTEST_CURRENT_TEST" in os.environ
    if is_in_a_test and event == "subprocess.Popen" and Path(str(arguments[0])).name != "git":
        skip_because("it starts a process")()


def skip_because(reason):
    return lambda *_arguments: pytest.skip(f"{reason}: not with --quick")
