"""A fixture for the tests of commands."""

import runpy
import sys

import pytest
from support import SCRIPTS


@pytest.fixture
def call(monkeypatch, capsys):
    """Runs a script in this process; its exit code, stdout and stderr."""

    def run(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *map(str, arguments)])
        code = 0
        try:
            runpy.run_path(str(SCRIPTS / script), run_name="__main__")
        except SystemExit as stop:
            code = stop.code or 0
        return code, *capsys.readouterr()

    return run
