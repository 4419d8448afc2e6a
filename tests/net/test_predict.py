"""`predict`, and the command `predict` on files of all kinds."""

import json
import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import traverse_util
from PIL import Image

from jax_resnet import Classifier, ResNet, pretrained
from jax_resnet.errors import UserError
from jax_resnet.predict import images_at_once, predict


def make_classifier(mean_shape=(3,), channels=3, names=("cat", "dog", "ü $x$", "frog")):
    model = ResNet(8, len(names), "zeropad")
    variables = model.init(jax.random.key(0), jnp.zeros((1, 8, 8, channels)))
    return Classifier(variables, jnp.full(mean_shape, 0.4), jnp.full(channels, 0.2), model, names)


@pytest.fixture(scope="module")
def classifier():
    return make_classifier()


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (7, 8, 8, 3), np.uint8)


@pytest.fixture
def command(call):
    """Runs `predict.py`, which must succeed; its stdout."""

    def run(*arguments):
        code, stdout, stderr = call("predict.py", *arguments)
        assert code == 0, stderr
        return stdout

    return run


@pytest.fixture
def refused(call):
    """Runs `predict.py`, which must refuse without printing; the message."""

    def run(*arguments):
        code, stdout, stderr = call("predict.py", *arguments)
        assert (code, stdout) == (2, "")
        assert stderr.startswith("error: ")
        return stderr

    return run


@pytest.fixture
def folder(tmp_path, classifier, images):
    """A model, and a folder of pictures as a file manager might leave it."""
    classifier.save(tmp_path / "model.safetensors")
    pictures = tmp_path / "my pictures"
    (pictures / "subfolder").mkdir(parents=True)
    (pictures / ".hidden").write_text("")
    for index, image in enumerate(images):
        Image.fromarray(image).save(pictures / f"{index}.png")
    return tmp_path


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_large_images_are_computed_a_few_at_a_time():
    shapes = [(32, 32), (71, 71), (256, 256), (1024, 1024)]
    assert [images_at_once(100, *shape) for shape in shapes] == [100, 100, 7, 1]


@pytest.mark.long
@pytest.mark.parametrize("batch_size", [1, 3, 7, 100])
def test_probabilities_are_the_softmax_of_the_logits_whatever_the_batch(
    classifier, images, batch_size
):
    found = predict(classifier, images, batch_size)
    assert (found.dtype, found.shape) == (np.float32, (7, 4))
    np.testing.assert_allclose(found, softmax(np.asarray(classifier(images))), atol=1e-5)


def test_all_batches_share_one_program(classifier, images):
    predict(classifier, images[:3], 3)
    with jax.no_tracing():
        predict(classifier, images, 3)


def test_no_images_have_no_probabilities(classifier, images):
    assert predict(classifier, images[:0]).shape == (0, 4)
    assert classifier(images[:0]).shape == (0, 4)
    assert jax.jit(Classifier.__call__)(classifier, images[:0]).shape == (0, 4)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float16])
def test_logits_that_are_not_finite_are_no_prediction(classifier, images, dtype):
    large = jax.tree.map(lambda x: x * 1e30, classifier.variables)
    model = classifier.model.clone(dtype=dtype)
    with pytest.raises(UserError, match="logits of 7 of 7 images are not finite"):
        predict(classifier.replace(variables=large, model=model), images, 3)


def test_an_overflow_within_the_net_is_no_prediction():
    """Compiled together with what is before it, XLA's maximum of NaN and 0 is 0 on CPU."""
    net = pretrained("resnet20-conv1x1")
    scaled = {("stem_norm", "scale"): 1e30, ("stage1", "block1", "conv1", "kernel"): 1e20}
    params = traverse_util.path_aware_map(
        lambda path, x: x * scaled.get(path, 1), net.variables["params"]
    )
    large = net.replace(variables=net.variables | {"params": params})
    images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), np.uint8)
    assert not np.isfinite(jax.jit(Classifier.__call__)(large, images)).any()
    with pytest.raises(UserError, match="logits of 3 of 3 images are not finite"):
        predict(large, images)


@pytest.mark.parametrize(
    ("shape", "batch_size", "message"),
    [
        ((3, 8, 8, 3), -1, "`batch_size` is -1, expected 1 or more"),
        ((3, 8, 8, 3), 0, "`batch_size` is 0, expected 1 or more"),
        ((8, 8, 3), None, r"images have shape \(8, 8, 3\), expected NHWC"),
        ((3, 0, 8, 3), None, r"images have shape \(3, 0, 8, 3\), expected NHWC"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(classifier, shape, batch_size, message):
    with pytest.raises(UserError, match=message):
        predict(classifier, np.zeros(shape, np.uint8), batch_size)


def test_a_model_for_images_that_no_file_has_is_refused(refused, tmp_path, images):
    make_classifier((4,), 4).save(tmp_path / "model.safetensors")
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    message = refused(tmp_path / "model.safetensors", tmp_path / "a.png")
    assert "model.safetensors takes images of 4 channels, expected a model that takes 1" in message


def test_the_input_is_as_the_mean_and_the_first_kernel_say():
    assert make_classifier().input_shape() == (32, 32, 3)
    assert make_classifier().input_shape((8, 12)) == (8, 12, 3)
    assert make_classifier().replace(image_size=(8, 9)).input_shape() == (8, 9, 3)
    gray = make_classifier(mean_shape=(8, 10, 1), channels=1)
    assert gray.input_shape() == (8, 10, 1)
    for classifier, size in ((gray, (8, 8)), (make_classifier(), (3, 8))):
        with pytest.raises(UserError, match=r"`image_size` is . 8, expected"):
            classifier.input_shape(size)


def test_json_has_every_file_of_a_folder_in_order(command, folder, classifier, images):
    pictures = folder / "my pictures"
    words = (folder / "model.safetensors", pictures / "3.png", pictures)
    result = json.loads(command(*words, "--json", "--image-size", 8, 8))
    order = [3, *range(7)]
    expected = predict(classifier, images[order])
    assert result["classes"] == list(classifier.class_names)
    assert [each["file"] for each in result["images"]] == [
        str(pictures / f"{i}.png") for i in order
    ]
    rows = [each["probabilities"] for each in result["images"]]
    np.testing.assert_allclose(rows, expected, atol=1e-6)
    best = [classifier.class_names[i] for i in expected.argmax(1)]
    assert [each["class"] for each in result["images"]] == best


def test_the_table_has_the_three_likeliest_classes(command, folder, classifier, images):
    file = folder / "my pictures" / "0.png"
    (line,) = command(folder / "model.safetensors", file, "--image-size", 8, 8).splitlines()
    row = predict(classifier, images[:1])[0]
    best = np.argsort(-row)
    places = [line.index(f"{classifier.class_names[i]:<5} {row[i]:6.1%}") for i in best[:3]]
    assert line.startswith(str(file))
    assert places == sorted(places)
    assert line.count("%") == 3


def test_a_process_that_refuses_transfers_runs_a_command_all_the_same(command, folder):
    words = (folder / "model.safetensors", folder / "my pictures", "--json")
    usual = command(*words)
    with jax.transfer_guard("disallow_explicit"):
        assert command(*words) == usual


def test_any_size_is_stretched_and_exif_is_obeyed(command, folder, images):
    turned = folder / "turned.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter to the right
    Image.fromarray(np.rot90(images[2])).save(turned, exif=exif)
    large = folder / "large.png"
    Image.fromarray(images[2].repeat(5, 0).repeat(3, 1)).resize((8, 8), 2).save(folder / "s.png")
    Image.fromarray(images[2].repeat(5, 0).repeat(3, 1)).save(large)
    files = (folder / "my pictures" / "2.png", turned, folder / "s.png", large)
    words = (folder / "model.safetensors", *files, "--json", "--image-size", 8, 8)
    plain, rotated, small, stretched = json.loads(command(*words))["images"]
    assert rotated["probabilities"] == plain["probabilities"]
    assert stretched["probabilities"] == small["probabilities"]
    assert stretched["probabilities"] != plain["probabilities"]


def test_the_grid_is_a_picture_that_grows_with_the_images(command, refused, folder):
    model, pictures = folder / "model.safetensors", folder / "my pictures"
    command(model, pictures, "--grid", folder / "a b.png")
    command(model, pictures, pictures, "--grid", folder / "two.png")
    with Image.open(folder / "a b.png") as one, Image.open(folder / "two.png") as two:
        assert (one.format, two.format) == ("PNG", "PNG")
        assert two.height == 2 * one.height
        assert len(np.unique(np.asarray(one.convert("RGB")).reshape(-1, 3), axis=0)) > 100
    assert "exists" in refused(model, pictures, "--grid", folder / "two.png")
    assert "there is no folder" in refused(model, pictures, "--grid", folder / "none" / "a.png")


def test_gray_pictures_for_a_gray_model(command, folder):
    make_classifier((8, 8, 1), 1).save(folder / "gray.safetensors")
    words = (folder / "gray.safetensors", folder / "my pictures", "--json")
    result = json.loads(command(*words, "--grid", folder / "gray.png"))
    assert len(result["images"]) == 7
    assert (folder / "gray.png").stat().st_size > 1000


def test_all_bad_images_are_listed_at_once_and_nothing_is_written(refused, folder):
    pictures = folder / "my pictures"
    (pictures / "empty.png").write_bytes(b"")
    (pictures / "text.jpg").write_text("no picture")
    grid = folder / "grid.png"
    words = (folder / "model.safetensors", pictures, folder / "none.png", "--grid", grid)
    message = refused(*words)
    assert message.startswith("error: 3 files are not usable as images:")
    for name in ("empty.png", "text.jpg", "none.png"):
        assert name in message
    assert not grid.exists()


def test_what_is_no_image_by_name_or_content_is_skipped_in_a_folder_and_named(
    call, refused, folder, images
):
    pictures = folder / "my pictures"
    (pictures / "begins as a bitmap").write_text("BMW is a car maker")
    (pictures / "link").symlink_to("nowhere")
    (pictures / "notes.txt").write_text("no picture")
    os.mkfifo(pictures / "pipe")
    Image.fromarray(images[0]).save(pictures / "no suffix", format="PNG")
    code, stdout, stderr = call("predict.py", folder / "model.safetensors", pictures)
    assert code == 0, stderr
    assert len(stdout.splitlines()) == len(images) + 1
    assert "no suffix" in stdout
    for name in ("begins as a bitmap", "link", "notes.txt", "pipe"):
        assert str(pictures / name) in stderr, "a file is skipped without a word"
    assert stderr.startswith("skipped, as neither named as images (PNG, JPEG, ")
    assert len(stderr.splitlines()) == 1

    assert "not an image" in refused(folder / "model.safetensors", pictures / "notes.txt")
    (pictures / "subfolder" / "notes.txt").write_text("no picture")
    assert "without images" in refused(folder / "model.safetensors", pictures / "subfolder")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "MODEL"),
        (["{0}/model.safetensors"], "expected image files"),
        (["{0}/none", "{0}/my pictures"], "none"),
        (["{0}/my pictures/0.png", "{0}/my pictures"], "Classifier file"),
        (["{0}/model.safetensors", "{0}/my pictures/subfolder"], "a folder without images"),
        (["{0}/model.safetensors", ""], "error: an argument is empty"),
        (["{0}/model.safetensors", "--grid=a.png", ""], "error: an argument is empty"),
        (["{0}/model.safetensors", "{0}/my pictures", "--image-size", "0", "9"], "--image-size"),
        (["{0}/model.safetensors", "{0}/my pictures", "--image-size", "x", "9"], "--image-size"),
    ],
)
def test_bad_usage_is_refused(call, folder, words, message):
    code, stdout, stderr = call("predict.py", *(word.format(folder) for word in words))
    assert (code, stdout) == (2, "")
    assert message in stderr


def test_a_file_name_that_is_no_text_is_printed(command, folder, images):
    name = os.fsdecode(os.fsencode(str(folder)) + b"/\xff.png")
    try:
        Image.fromarray(images[0]).save(name, format="PNG")
    except OSError:
        pytest.skip("the file system takes text only")
    assert "\\udcff.png" in command(folder / "model.safetensors", name)
