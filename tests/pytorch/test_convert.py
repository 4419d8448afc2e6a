"""The command `convert`."""

import json
import os
import sys

import numpy as np
import pytest
from test_torch_weights import state_of

from jax_resnet import Classifier, ResNet, UserError
from jax_resnet.pytorch.files import read_state_dict


@pytest.fixture
def refused(call):
    """Runs `convert.py`, which must refuse in one message and write nothing; the message."""

    def run(source, out, *flags):
        before = set(out.parent.iterdir())
        code, stdout, stderr = call("convert.py", source, out, *flags)
        assert (code, stdout) == (2, "")
        assert stderr.startswith("error: ")
        assert stderr.count("\n") == 1
        assert set(out.parent.iterdir()) == before
        return stderr

    return run


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".th"])
@pytest.mark.parametrize("family", ["article", "akamaster"])
def test_in_and_out_again_is_the_same_state_dict(call, tmp_path, family, suffix):
    if suffix == ".th":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    state = state_of(family, "conv1x1", depth=14)
    source, model, back = tmp_path / "in.npz", tmp_path / "model", tmp_path / f"back{suffix}"
    np.savez(source, **state)
    given = () if family == "article" else ("--mean", 0.5, 0.4, 0.3, "--std", 0.2, 0.2, 0.2)
    code, stdout, _ = call("convert.py", source, model, *given)
    assert code == 0
    mean = "0.5 0.4 0.3 (as given)" if given else "0.4914 0.4822 0.4465 (article's)"
    epsilon = f"epsilon, which are taken to be {family}'s"
    for word in (family, "ResNet-14", "shortcut conv1x1", mean, epsilon):
        assert word in stdout
    assert call("convert.py", model, back, "--family", family)[0] == 0
    again = read_state_dict(back)
    assert again.keys() == state.keys()
    for name, array in state.items():
        np.testing.assert_array_equal(again[name], array)
    assert {path.name for path in tmp_path.iterdir()} == {"in.npz", "model", back.name}


def test_flags_override_the_values_of_the_family(call, tmp_path):
    source, out = tmp_path / "in.npz", tmp_path / "out.safetensors"
    np.savez(source, **state_of(classes=2))
    flags = [
        "--shortcut", "none", "--mean", 0.1, 0.2, 0.3, "--std", 0.4, 0.5, 1,
        "--class-names", "cat", "dog",
    ]  # fmt: skip
    code, stdout, _ = call("convert.py", source, out, *flags)
    assert (code, "as given" in stdout) == (0, True)
    classifier = Classifier.load(out)
    assert classifier.model == ResNet(8, 2, None)
    assert classifier.class_names == ("cat", "dog")
    np.testing.assert_array_equal(classifier.mean, np.float32([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(classifier.std, np.float32([0.4, 0.5, 1]))


def test_what_is_there_is_not_overwritten(refused, tmp_path):
    source, out = tmp_path / "in.npz", tmp_path / "out"
    np.savez(source, **state_of())
    out.write_text("mine")
    assert "exists already" in refused(source, out)
    assert out.read_text() == "mine"


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_a_failed_write_leaves_nothing(refused, call, tmp_path, monkeypatch, suffix):
    source, model = tmp_path / "in.npz", tmp_path / "model.safetensors"
    np.savez(source, **state_of())
    assert call("convert.py", source, model)[0] == 0
    nowhere = tmp_path / "absent" / "out"
    for each, written in ((source, ".safetensors"), (model, suffix)):
        code, _, stderr = call("convert.py", each, nowhere.with_suffix(written))
        assert (code, "there is no folder" in stderr) == (2, True)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    assert "No space left" in refused(model, tmp_path / f"out{suffix}")


@pytest.mark.parametrize("suffix", [".npz", ".safetensors", ".pt"])
def test_a_file_that_does_not_fit_is_named(refused, tmp_path, suffix):
    resource = pytest.importorskip("resource", reason="no limits of the size of files")
    if suffix == ".pt":
        pytest.importorskip("torch", reason="PyTorch is not installed")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        assert f"out{suffix} can't be written" in refused(
            "resnet20-zeropad", tmp_path / f"out{suffix}"
        )
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)


def test_refusals_name_the_file_or_the_flag(call, refused, tmp_path):
    good, bad, text = tmp_path / "good.npz", tmp_path / "bad.npz", tmp_path / "text.npz"
    model, out = tmp_path / "model.safetensors", tmp_path / "out.npz"
    state = state_of()
    np.savez(good, **state)
    np.savez(bad, **{k: v for k, v in state.items() if k != "fc.bias"})
    text.write_text("no weights")
    assert call("convert.py", good, model)[0] == 0
    assert "bad.npz: not the weights of" in refused(bad, out)
    assert "text.npz can't be read" in refused(text, out)
    for absent in ("absent.npz", "resnet21"):
        assert f"{absent} does not exist, expected a file of weights" in refused(absent, out)
    weights = tmp_path / "weights.h5"
    weights.touch()
    assert "weights.h5 ends in '.h5'" in refused(weights, out)
    assert "out.bin ends in '.bin'" in refused(model, tmp_path / "out.bin")
    assert "leave --shortcut, --mean, --std, --class-names and --image-size out" in refused(
        model, out, "--shortcut", "zeropad"
    )
    assert "image size: leave" in refused(model, out, "--image-size", "32", "32")
    assert "--family is for a Classifier" in refused(good, out, "--family", "article")
    assert "no net with shortcut zeropad" in refused(model, out, "--family", "akamaster")


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("--mean", (125.3, 123.0, 113.9)),
        ("--mean", (0.4, 0.4, 1.1)),
        ("--mean", (-0.1, 0.4, 0.4)),
        ("--std", (63.0, 62.1, 66.7)),
        ("--std", (0.2, 0.2, 1.1)),
        ("--std", (0.2, 0.2, 0)),
        ("--std", (0.2, 0.2, "nan")),
    ],
)
def test_values_of_pixels_up_to_255_are_refused(refused, tmp_path, flag, values):
    source = tmp_path / "in.npz"
    np.savez(source, **state_of())
    assert f"{flag} is" in refused(source, tmp_path / "out", flag, *values)


def test_a_pickle_in_an_npz_is_not_opened(refused, tmp_path):
    source = tmp_path / "in.npz"
    np.savez(source, **{"fc.weight": np.array([print], object)}, allow_pickle=True)
    assert "can't be read" in refused(source, tmp_path / "out")


def test_arrays_of_other_kinds_are_refused_in_words(refused, tmp_path):
    with (tmp_path / "in.npz").open("wb") as file:
        np.save(file, np.zeros(3))
    assert "holds one array without a name" in refused(tmp_path / "in.npz", tmp_path / "out")
    header = json.dumps(
        {"conv1.weight": {"dtype": "F8_E4M3", "shape": [1], "data_offsets": [0, 1]}}
    ).encode()
    header += b" " * (-len(header) % 8)
    fp8 = tmp_path / "in.safetensors"
    fp8.write_bytes(len(header).to_bytes(8, "little") + header + b"\0")
    assert "of a type that NumPy lacks" in refused(fp8, tmp_path / "out")
    with pytest.raises(UserError, match="`jax-resnet convert` makes a Classifier file"):
        Classifier.load(fp8)


def test_without_pytorch_its_files_are_refused(refused, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "torch", None)
    source = tmp_path / "in.th"
    source.write_bytes(b"")
    assert "needs PyTorch" in refused(source, tmp_path / "out")


def test_tensors_that_require_gradients_are_read(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    torch.save({"weight": torch.nn.Parameter(torch.ones(2))}, tmp_path / "weights.pth")
    assert read_state_dict(tmp_path / "weights.pth")["weight"].tolist() == [1, 1]


def test_a_pipe_is_refused(tmp_path):
    os.mkfifo(tmp_path / "weights.npz")
    with pytest.raises(UserError, match=r"weights\.npz is not a regular file"):
        read_state_dict(tmp_path / "weights.npz")


def test_what_contradicts_the_weights_is_refused_or_not_assumed(call, refused, tmp_path):
    source, out = tmp_path / "in.npz", tmp_path / "out.safetensors"
    np.savez(source, **state_of("akamaster", "subsample"))
    assert "--shortcut is zeropad, which no net with akamaster" in refused(
        source, out, "--shortcut", "zeropad"
    )
    twice = ["--class-names", *"aacdefghij"]
    assert "--class-names has a name twice" in refused(source, out, *twice)
    gray = tmp_path / "gray.npz"
    np.savez(gray, **state_of(channels=1))
    code, stdout, _ = call("convert.py", gray, out, "--mean", 0.5, "--std", 0.2)
    assert (code, "10 classes from 0 to 9" in stdout) == (0, True)


def test_weights_of_pytorch_become_no_file_of_pytorch(call, refused, tmp_path):
    call("convert.py", "resnet20-zeropad", tmp_path / "out.npz")
    for name in ("in.pt", "in.npz", "in.pth.tar", "in.PT"):
        said = refused(tmp_path / "out.npz", tmp_path / name)
        assert f"{name} ends as a file of PyTorch or NumPy, expected .safetensors" in said
