"""Names of class folders."""

import os

import numpy as np
import pytest
from PIL import Image

from jax_resnet.data import load
from jax_resnet.errors import UserError


def make(root, *names):
    for split in ("train", "test"):
        for name in names:
            folder = root / split / os.fsdecode(name)
            folder.mkdir(parents=True)
            Image.fromarray(np.zeros((4, 4), np.uint8)).save(folder / "a.png")
    return {"data_dir": root, "image_size": (4, 4), "channels": 1}


def test_names_are_unicode(tmp_path):
    given = make(tmp_path, "café".encode(), "漢字".encode())
    assert load("folder", **given).class_names == ("café", "漢字")


def test_a_name_that_is_not_utf_8_is_refused(tmp_path):
    given = make(tmp_path, b"caf\xe9", b"tea")
    with pytest.raises(UserError, match="is not UTF-8"):
        load("folder", **given)
