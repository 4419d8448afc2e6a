"""The file of a `Classifier`: it brings back the same, or says why not."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file
from small_net import small_classifier

from jax_resnet import Classifier, ResNet
from jax_resnet.classifier_file import digest
from jax_resnet.errors import UserError


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


def test_one_classifier_always_gives_the_same_bytes(classifier, tmp_path):
    contents = set()
    for again in range(6):
        classifier.save(tmp_path / "model")
        contents.add((tmp_path / "model").read_bytes())
        if again % 2:
            classifier = Classifier.load(tmp_path / "model")
    assert len(contents) == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.float16])
def test_the_dtype_of_the_computation_is_kept(classifier, images, tmp_path, dtype):
    classifier = classifier.replace(model=classifier.model.clone(dtype=dtype))
    classifier.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model")
    assert loaded.model == classifier.model
    np.testing.assert_array_equal(loaded(images), classifier(images))


@pytest.mark.long
def test_the_width_is_kept(images, tmp_path):
    model = ResNet(8, 3, channels=(4, 6, 10))
    variables = jax.jit(model.init)(jax.random.key(0), jnp.zeros((1, 8, 8, 3)))
    classifier = Classifier(variables, jnp.full(3, 0.4), jnp.full(3, 0.2), model, ("a", "b", "c"))
    classifier.save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model")
    assert loaded.model == model
    np.testing.assert_array_equal(loaded(images), classifier(images))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"class_names", b"class_nomes"),
        (b'\\"conv1x1\\"', b"null       "),
        (b"[16, 32, 64]", b"[16, 32, 48]"),
        (b'\\"float32\\"', b'\\"float16\\"'),
        (b"[8, 8]", b"[8, 9]"),
        (b'\\"a\\", \\"b\\"', b'\\"b\\", \\"a\\"'),
        (b"Classifier/2", b"Classifier/1"),
    ],
)
def test_a_damaged_header_is_named_and_refused(classifier, tmp_path, old, new):
    path = tmp_path / "model.safetensors"
    classifier.save(path)
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(UserError, match=r"model\.safetensors is damaged: .* checksum"):
        Classifier.load(path)


def write(path, version, changes=None, **arrays):
    """A copy of the file with other arrays, where None is no array, and another header, where ...
    is no entry. Its checksum is right.
    """
    with safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        arrays = {name: file.get_tensor(name) for name in file.keys()} | arrays  # noqa: SIM118
    header = json.loads(metadata["classifier"]) | (changes or {})
    text = json.dumps({name: value for name, value in header.items() if value is not ...})
    arrays = {name: array for name, array in arrays.items() if array is not None}
    sha256 = digest(arrays, text if version == 2 else "")
    format = f"jax_resnet.Classifier/{version}"
    save_file(arrays, path, {"format": format, "classifier": text, "sha256": sha256})


def test_a_file_of_the_first_version_still_loads(classifier, images, tmp_path):
    path = tmp_path / "model.safetensors"
    classifier.save(path)
    write(path, 1, {"channels": ..., "dtype": ..., "image_size": ...})
    loaded = Classifier.load(path)
    assert (loaded.model, loaded.image_size) == (classifier.model, (32, 32))
    np.testing.assert_array_equal(loaded(images), classifier(images))


HEADERS = [
    {"depth": 14},
    {"depth": 6 * 10**12 + 2},
    {"depth": 8.0},
    {"depth": True},
    {"depth": "8"},
    {"depth": ...},
    {"shortcut": "zeropad"},
    {"shortcut": "other"},
    {"shortcut": ["conv1x1"]},
    {"shortcut": ...},
    {"channels": [16, 32, 48]},
    {"channels": [16, 32, 10**15]},
    {"channels": [16, 32, 64.0]},
    {"channels": [16, 32]},
    {"channels": [0, 32, 64]},
    {"channels": "abc"},
    {"channels": None},
    {"dtype": "int32"},
    {"dtype": None},
    {"class_names": ["a", "b"]},
    {"class_names": ["a", "b", "c", "d"]},
    {"class_names": ["a", "b", 3]},
    {"class_names": ["a", "b", ""]},
    {"class_names": ["a", "b", "\x1b[31m"]},
    {"class_names": ["a", "b", "\udcff"]},
    {"class_names": "abc"},
    {"class_names": []},
    {"image_size": [8]},
    {"image_size": [8, 8.5]},
    {"image_size": [8, 3]},
    {"image_size": [8, 2**40]},
    {"image_size": ["8", "8"]},
    {"image_size": 8},
]


BIAS, VARIANCE = "variables/params/head/bias", "variables/batch_stats/stem_norm/var"


ARRAYS = [
    {BIAS: np.array([0, np.nan, 0], np.float32)},
    {BIAS: np.array([0, np.inf, 0], np.float32)},
    {BIAS: np.array([0, 1e300, 0])},
    {BIAS: np.zeros(3, np.int32)},
    {BIAS: np.zeros(4, np.float32)},
    {BIAS: np.zeros((1, 3), np.float32)},
    {BIAS: None},
    {"variables/params/stem_conv/kernel": None},
    {"variables/params/stem_conv/kernel": np.zeros((3, 3, 0, 16), np.float32)},
    {"variables/params/other": np.zeros(3, np.float32)},
    {VARIANCE: np.full(16, -0.1, np.float32)},
    {"mean": np.float32([0.4, np.nan, 0.4])},
    {"mean": np.zeros((4, 3), np.float32)},
    {"mean": np.zeros((3, 3, 3), np.float32)},
    {"mean": np.zeros((5_000, 4, 3), np.float32)},
    {"mean": None},
    {"std": np.float32([0.2, 0, 0.2])},
    {"std": np.array([0.2, 1e-60, 0.2])},
    {"std": -np.ones(3, np.float32)},
    {"std": np.zeros(1, np.float32)},
]


@pytest.mark.parametrize("version", [1, 2])
def test_what_is_no_classifier_is_refused_although_its_checksum_is_right(tmp_path, version):
    path = tmp_path / "model.safetensors"
    classifier = small_classifier((3,))
    for changes, arrays in [(each, {}) for each in HEADERS] + [({}, each) for each in ARRAYS]:
        classifier.save(path)
        write(path, version, changes, **arrays)
        with pytest.raises(UserError, match=r"model\.safetensors is damaged: ") as refusal:
            Classifier.load(path)
        assert "`" not in str(refusal.value), "what a file holds is no argument, and no flag"


def test_sizes_depths_and_names_of_numpy_are_saved(classifier, tmp_path):
    model, names = classifier.model.clone(depth=np.int64(8)), np.array(classifier.class_names)
    size = (np.int64(8), np.int32(8))
    classifier.replace(model=model, image_size=size, class_names=names).save(tmp_path / "model")
    loaded = Classifier.load(tmp_path / "model")
    assert (loaded.model.depth, loaded.image_size) == (8, (8, 8))
    assert loaded.class_names == classifier.class_names


def test_what_would_not_load_is_not_saved(classifier, tmp_path):
    nan = jax.tree.map(lambda x: x * jnp.nan, classifier.variables)
    half = jax.tree.map(lambda x: x.astype(jnp.bfloat16), classifier.variables)
    for other in (
        classifier.replace(variables=nan),
        classifier.replace(variables=half),
        classifier.replace(class_names=("a", "b", "\n")),
        classifier.replace(class_names=("a", "b")),
        classifier.replace(class_names=("a", "b", "a")),
        classifier.replace(class_names="abc"),
        classifier.replace(class_names={"a", "b", "c"}),
        classifier.replace(class_names=(0, 1, 2)),
        classifier.replace(class_names=None),
        classifier.replace(std=classifier.std * 0),
        classifier.replace(std=classifier.std * 0 + 1e-40),
        classifier.replace(image_size=(8, 2)),
        classifier.replace(model=classifier.model.clone(dtype=jnp.int32)),
    ):
        with pytest.raises(UserError):
            other.save(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_a_file_in_no_folder_is_named(classifier, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"absent/net'$"):
        classifier.save(tmp_path / "absent" / "net")
    with pytest.raises(OSError, match=f"{tmp_path}'$"):
        classifier.save(tmp_path)


def test_no_file_and_a_folder_are_named_and_refused(tmp_path):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            Classifier.load(path)


def test_anothers_safetensors_file_is_refused(tmp_path):
    save_file({"x": np.zeros(3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match=r"lacks 'jax_resnet\.Cl.*jax-resnet convert` makes"):
        Classifier.load(tmp_path / "other.safetensors")
