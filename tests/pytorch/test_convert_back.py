"""The command `convert`, from a Classifier to PyTorch's weights, and back."""

import jax.numpy as jnp
import numpy as np
import pytest
from test_torch_weights import random_variables

from jax_resnet import Classifier, ResNet, UserError, pretrained
from jax_resnet.pytorch.convert import convert_to_torch
from jax_resnet.pytorch.files import read_state_dict
from jax_resnet.pytorch.names import FAMILIES


@pytest.mark.parametrize(
    ("shortcut", "family"), [("subsample", "akamaster"), ("zeropad", "article"), (None, "article")]
)
def test_a_run_goes_out_by_the_names_of_the_model_that_computes_it(tmp_path, shortcut, family):
    model = ResNet(8, 10, shortcut)
    mean = np.zeros(3, np.float32)
    names = tuple("abcdefghij")
    classifier = Classifier(random_variables(model), mean, mean + 1, model, names)
    classifier.save(tmp_path / "classifier.safetensors")
    assert family in convert_to_torch(tmp_path, tmp_path / "out.npz")
    head = {"article": "fc.weight", "akamaster": "linear.weight"}[family]
    assert head in read_state_dict(tmp_path / "out.npz")


def test_a_shortcut_that_no_family_computes_is_refused(tmp_path, monkeypatch):
    monkeypatch.delitem(FAMILIES, "akamaster")
    model = ResNet(8, 10, "subsample")
    mean = np.zeros(3, np.float32)
    classifier = Classifier(random_variables(model), mean, mean + 1, model, tuple("abcdefghij"))
    classifier.save(tmp_path / "classifier.safetensors")
    with pytest.raises(UserError, match=r"has shortcut subsample, expected one .* none of article"):
        convert_to_torch(tmp_path, tmp_path / "out.npz")
    assert not (tmp_path / "out.npz").exists()


def test_a_net_that_narrows_goes_out_and_comes_back(call, tmp_path):
    model = ResNet(8, 10, None, channels=(8, 8, 4))
    mean = np.full(3, 0.5, np.float32)
    net = Classifier(random_variables(model), mean, mean, model, tuple("abcdefghij"))
    net.save(tmp_path / "narrow")
    code, stdout, stderr = call("convert.py", tmp_path / "narrow", tmp_path / "out.npz")
    assert (code, "--shortcut" in stdout) == (0, False), stderr
    assert call("convert.py", tmp_path / "out.npz", tmp_path / "back")[0] == 0
    assert Classifier.load(tmp_path / "back").model == model


@pytest.mark.parametrize(
    ("net", "family"),
    [
        ("resnet20-zeropad", "article"),
        ("resnet20-conv1x1", "article"),
        ("resnet20-conv1x1", "akamaster"),
        ("resnet20-conv1x1", "torchvision"),
        ("resnet20-subsample", "akamaster"),
        ("cnn20", "article"),
    ],
)
def test_what_is_written_is_read_back_by_the_flags_that_are_printed(call, tmp_path, net, family):
    net_file = tmp_path / "net.safetensors"
    by_channel = {"mean": jnp.array([1 / 3, 0.1, 1e-7]), "std": jnp.array([1, 2 / 3, 1 / 7])}
    classifier = pretrained(net).replace(**by_channel)
    classifier.save(net_file)
    images = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), np.uint8)
    code, said, _ = call("convert.py", net_file, tmp_path / "out.npz", "--family", family)
    assert code == 0
    flags = said.split("to convert it back add ")[1].split()
    code, _, said = call("convert.py", tmp_path / "out.npz", tmp_path / "in.safetensors", *flags)
    assert code == 0, said
    again = Classifier.load(tmp_path / "in.safetensors")
    np.testing.assert_array_equal(again.mean, classifier.mean)
    np.testing.assert_array_equal(again.std, classifier.std)
    np.testing.assert_array_equal(again(images), classifier(images))


def test_a_mean_that_no_flag_gives_back_is_said(call, tmp_path):
    net = pretrained("resnet20-zeropad").replace(mean=jnp.array([-1.0, 0, 0]))
    net.save(tmp_path / "net.safetensors")
    _, said, _ = call("convert.py", tmp_path / "net.safetensors", tmp_path / "out.npz")
    assert "this mean is outside of what the flag accepts" in said
    _, said, _ = call("convert.py", "resnet20-subsample", tmp_path / "pixels.npz")
    assert "pixel by pixel; no flag gives such a mean back" in said


def test_the_names_of_the_classes_go_out_and_come_back(call, tmp_path):
    """A gray net's too, whose classes are numbers where nothing says their names."""
    names = pretrained("cnn20").class_names
    model = ResNet(8, 10)
    variables = random_variables(model, channels=1)
    one = jnp.full(1, 0.5)
    Classifier(variables, one, one, model, names).save(tmp_path / "net.safetensors")
    _, said, _ = call("convert.py", tmp_path / "net.safetensors", tmp_path / "out.npz")
    flags = said.split("to convert it back add ")[1].split()
    call("convert.py", tmp_path / "out.npz", tmp_path / "in.safetensors", *flags)
    assert Classifier.load(tmp_path / "in.safetensors").class_names == names


def test_class_names_that_no_flag_can_give_are_not_printed_as_flags(call, tmp_path):
    net = pretrained("resnet20-zeropad")
    net.replace(class_names=("--mean", *net.class_names[1:])).save(tmp_path / "net.safetensors")
    _, said, _ = call("convert.py", tmp_path / "net.safetensors", tmp_path / "out.npz")
    assert "--class-names" not in said
    assert "begin with a hyphen, can't be given as flags" in said


def test_the_size_of_the_images_goes_out_and_comes_back(call, tmp_path):
    net = pretrained("resnet20-zeropad").replace(image_size=(64, 48))
    net.save(tmp_path / "net.safetensors")
    _, said, _ = call("convert.py", tmp_path / "net.safetensors", tmp_path / "out.npz")
    flags = said.split("to convert it back add ")[1].split()
    code, said, _ = call("convert.py", tmp_path / "out.npz", tmp_path / "in.safetensors", *flags)
    assert (code, "images of 64x48 pixels" in said) == (0, True)
    assert Classifier.load(tmp_path / "in.safetensors").image_size == (64, 48)
