"""Folders of images."""

import itertools

from PIL import Image

from jax_resnet.training.config import Config


def fill(folder, classes, step=0):
    """For every class as many gray images, their value their number, their size its own; values
    begin higher by `step` in each class."""
    for first, (name, count) in zip(itertools.count(0, step), classes.items(), strict=False):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            Image.new("L", (10 + i, 12), first + i).save(folder / name / f"{i:03d}.png")


def folder_config(folder, **fields):
    small = {"image_size": (4, 4), "channels": 1, "depth": 8, "steps": 2, "batch_size": 4}
    small["runs_dir"] = folder.with_name(f"{folder.name} runs")
    return Config(dataset="folder", data_dir=folder, **small | fields)
