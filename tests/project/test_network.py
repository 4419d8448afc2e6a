"""Nothing is asked of the network by an import, a run on embedded data, or a shipped model."""

import socket
import subprocess
import sys

import pytest

CODE = """
import sys
from pathlib import Path

def refuse(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname"):
        raise SystemExit(f"{event} of {arguments[1:]}")

sys.addaudithook(refuse)
import numpy as np
import jax_resnet
from jax_resnet import export, predict
from jax_resnet.data import load
from jax_resnet.pytorch import convert
from jax_resnet.report import comparison
from jax_resnet.training.config import Config
from jax_resnet.training.train import train

jax_resnet.pretrained("cnn20")(np.zeros((1, 32, 32, 3), np.uint8))
config = Config(dataset="digits", depth=8, steps=2, runs_dir=Path(sys.argv[1]), name="offline")
train(config, load("digits"))
print("done")
"""


def test_nothing_is_asked_of_the_network(tmp_path):
    words = [sys.executable, "-c", CODE, tmp_path]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "done\n", done.stderr


def test_tests_can_reach_nobody_else():
    with socket.socket() as one, pytest.raises(RuntimeError, match=r"192\.0\.2\.1"):
        one.connect(("192.0.2.1", 80))
