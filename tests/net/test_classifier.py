"""`Classifier` and its file."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jax_resnet import Classifier, ResNet
from jax_resnet.errors import UserError


@pytest.fixture(params=[(3,), (8, 8, 3)], ids=["by channel", "by pixel"])
def classifier(request):
    model = ResNet(8, 3, "conv1x1")
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    mean = jnp.full(request.param, 0.4)
    std = jnp.full((3,), 0.2)
    return Classifier(variables, mean, std, model, ("a", "b", "ü"), image_size=(8, 8))


@pytest.fixture
def images():
    return np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), np.uint8)


def test_logits_are_the_models_on_normalised_images(classifier, images):
    logits = jax.jit(lambda c, x: c(x))(classifier, images)
    x = (images / np.float32(255) - 0.4) / 0.2
    assert logits.dtype == jnp.float32
    expected = classifier.model.apply(classifier.variables, x)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_other_images_than_uint8_are_refused(classifier, images):
    with pytest.raises(TypeError, match="expected uint8"):
        classifier(images / 255)


def test_file_brings_back_the_same(classifier, images, tmp_path):
    path = tmp_path / "a model.safetensors"
    classifier.save(path)
    loaded = Classifier.load(path)
    assert (loaded.model, loaded.class_names) == (classifier.model, classifier.class_names)
    assert loaded.image_size == (8, 8)
    np.testing.assert_array_equal(loaded(images), classifier(images))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


def flip_a_bit(data):
    return data[:-10] + bytes([data[-10] ^ 1]) + data[-9:]


@pytest.mark.parametrize(
    "damage",
    [flip_a_bit, lambda data: data[:-1], lambda data: b"", lambda data: b"not safetensors at all"],
)
def test_a_damaged_file_is_named_and_refused(classifier, tmp_path, damage):
    path = tmp_path / "model.safetensors"
    classifier.save(path)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"model\.safetensors"):
        Classifier.load(path)


def test_a_damaged_header_is_named_and_refused(classifier, tmp_path):
    path = tmp_path / "model.safetensors"
    classifier.save(path)
    path.write_bytes(path.read_bytes().replace(b"class_names", b"class_nomes"))
    with pytest.raises(UserError, match=r"model\.safetensors is damaged: its header"):
        Classifier.load(path)


def test_no_file_and_a_folder_are_named_and_refused(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            Classifier.load(path)


def test_anothers_safetensors_file_is_refused(tmp_path):
    from safetensors.numpy import save_file

    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="is not a Classifier file"):
        Classifier.load(tmp_path / "other.safetensors")
