"""Every shortcut through everything that is done with a net."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import Classifier, ResNet, UserError
from jax_resnet.export import export_classifier
from jax_resnet.model import SHORTCUTS
from jax_resnet.pytorch.convert import convert_from_torch, convert_to_torch
from jax_resnet.pytorch.names import FAMILIES

call = jax.jit(Classifier.__call__)


@pytest.mark.parametrize("shortcut", SHORTCUTS)
def test_a_shortcut_through_everything(shortcut, tmp_path):
    model = ResNet(8, 3, shortcut)
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    mean, std = jnp.full(3, 0.5), jnp.full(3, 0.25)
    classifier = Classifier(variables, mean, std, model, ("a", "b", "c"), (8, 8))
    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), np.uint8)
    logits = call(classifier, images)
    assert jnp.isfinite(logits).all()

    path, state = tmp_path / "classifier.safetensors", tmp_path / "state.npz"
    classifier.save(path)
    np.testing.assert_array_equal(call(Classifier.load(path), images), logits)
    exported = jax.export.deserialize(bytearray(export_classifier(classifier)))
    np.testing.assert_allclose(exported.call(images), logits, rtol=1e-5, atol=1e-5)

    if not any(shortcut in family.shortcuts for family in FAMILIES.values()):
        with pytest.raises(UserError, match=f"shortcut {shortcut}"):
            convert_to_torch(path, state)
        return
    convert_to_torch(path, state)
    back = tmp_path / "back.safetensors"
    given = {"mean": (0.5,) * 3, "std": (0.25,) * 3, "class_names": ("a", "b", "c")}
    convert_from_torch(state, back, shortcut=shortcut, **given)
    np.testing.assert_array_equal(call(Classifier.load(back), images), logits)
