"""The pretrained nets, against the table of docs/models.md."""

import os
import re

import jax
import numpy as np
import pytest
from support import ROOT, SHARED

from jax_resnet import pretrained
from jax_resnet.data import load
from jax_resnet.errors import UserError
from jax_resnet.pretrained import load_classifier
from jax_resnet.report.scores import score

DATA_DIR = SHARED / "tensorflow_datasets"
CARD = r"\| \[`([\w-]+)`\]\(cards/\1\.md\) \| ([\d,]+) of 10,000 \|.*\| ([\d,]+) \|$"
CARDS = {
    name: (int(correct.replace(",", "")), int(parameters.replace(",", "")))
    for name, correct, parameters in re.findall(
        CARD, (ROOT / "docs" / "models.md").read_text(), re.MULTILINE
    )
}
needs_cifar10 = pytest.mark.skipif(not DATA_DIR.is_dir(), reason="no CIFAR-10 on this machine")


def test_every_model_has_a_card_and_every_card_a_model():
    assert set(pretrained()) == CARDS.keys()


def test_an_unknown_name_lists_those_there_are():
    with pytest.raises(UserError, match=r"`name` is 'resnet21', expected one of cnn20, cnn20-12e"):
        pretrained("resnet21")
    with pytest.raises(UserError, match=r"resnet21 does not exist, expected .* cnn20"):
        load_classifier("resnet21")


@pytest.mark.parametrize("name", CARDS)
def test_a_model_is_what_its_card_says(name):
    classifier = pretrained(name)
    sizes = jax.tree.map(np.size, classifier.variables["params"])
    assert sum(jax.tree.leaves(sizes)) == CARDS[name][1]
    assert classifier(np.zeros((2, 32, 32, 3), np.uint8)).shape == (2, 10)
    assert classifier.class_names[3] == "cat"


@pytest.mark.long
@needs_cifar10
def test_a_model_gets_its_cards_share_of_some_test_images():
    test, count, name = load("cifar10", DATA_DIR).test, 100, "resnet20-zeropad"
    found = np.asarray(pretrained(name)(test.images[:count])).argmax(-1)
    share = CARDS[name][0] / 10_000
    deviation = (share * (1 - share) / count) ** 0.5
    assert abs((found == test.labels[:count]).mean() - share) < 3 * deviation


@needs_cifar10
@pytest.mark.slow
@pytest.mark.parametrize("name", CARDS)
def test_a_model_gets_its_cards_count_on_the_test_images(name):
    result = score(name, "test", data_dir=DATA_DIR)
    assert result["count"] == 10_000
    assert abs(result["correct"] - CARDS[name][0]) <= 2, result


@pytest.mark.parametrize("script", ["evaluate.py", "predict.py", "export.py"])
@pytest.mark.parametrize("start", [b"PK\3\4", b"\x80\2\x8a\x0al\xfc\x9cF"])
def test_where_a_model_is_expected_pytorchs_files_are_said_to_need_convert(
    call, tmp_path, script, start
):
    source = tmp_path / "weights.th"
    source.write_bytes(start + bytes(100))
    code, stdout, stderr = call(script, source, *([] if script == "evaluate.py" else ["out"]))
    assert (code, stdout) == (2, "")
    assert f"{source} can't be read as a Classifier file" in stderr
    assert "`jax-resnet convert` makes a Classifier file" in stderr
    assert stderr.count("\n") == 1


def test_a_pipe_is_no_model_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UserError, match="pipe is not a regular file"):
        load_classifier(tmp_path / "pipe")
