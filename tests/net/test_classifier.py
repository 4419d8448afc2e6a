"""`Classifier`: from images to logits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small_net import small_classifier

from jax_resnet import Classifier
from jax_resnet.classifier import normalize
from jax_resnet.errors import UserError


def test_logits_are_the_models_on_normalized_images(classifier, images):
    logits = jax.jit(lambda c, x: c(x))(classifier, images)
    x = (images / np.float32(255) - 0.4) / 0.2
    assert logits.dtype == jnp.float32
    expected = classifier.model.apply(classifier.variables, x)
    np.testing.assert_allclose(logits, expected, atol=1e-4)


def test_other_images_than_uint8_are_refused(classifier, images):
    with pytest.raises(TypeError, match="expected uint8"):
        classifier(images / 255)


def test_logits_without_a_class_name_are_refused(classifier, images):
    other = classifier.replace(class_names=classifier.class_names[:-1])
    with pytest.raises(UserError, match=r"`class_names` has \d+ names, expected \d+, one for each"):
        other(images)


def test_pixels_alone_are_normalized(classifier, images):
    with pytest.raises(UserError, match="images are float32, expected uint8 pixels"):
        normalize(np.float32(images) / 255, classifier.mean, classifier.std)


def test_a_std_by_pixel_fits_the_mean_or_is_refused(images, tmp_path):
    classifier, by_pixel = small_classifier((3,)), jnp.ones((8, 8, 3))
    odd = classifier.replace(mean=by_pixel, std=jnp.ones((16, 16, 3)))
    with pytest.raises(UserError, match=r"^std is float32\[16, 16, 3\], expected .*\[8, 8, 3\]"):
        odd.save(tmp_path / "odd")
    with pytest.raises(UserError, match=r"expected \(16, 16, 3\) at the end"):
        odd(images)
    fits = classifier.replace(std=by_pixel)
    fits.save(tmp_path / "fits")
    np.testing.assert_array_equal(Classifier.load(tmp_path / "fits")(images), fits(images))
    with pytest.raises(UserError, match="`image_size` is 9 9, expected 8 8"):
        fits.input_shape((9, 9))


def test_images_that_do_not_fit_the_mean_are_refused(classifier, images):
    for other in (images[..., :1], images[:, :1, :1], images[0]):
        with pytest.raises(UserError, match="shape"):
            classifier(other)


@pytest.mark.parametrize("mean", [np.zeros(3, int), [0.5, 0.5, 0.5], 0.5])
def test_a_mean_that_is_no_array_of_floats_is_refused(images, mean):
    """The std would be rounded to the mean's integers."""
    std = np.full(3, 0.25)
    for pair in ((mean, std), (std, mean)):
        with pytest.raises(UserError, match=r"is .*, expected an array of floating-point numbers"):
            normalize(np.zeros((1, 4, 4, 3), np.uint8), *pair)
