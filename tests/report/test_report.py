"""The page about runs: what it shows, and that a browser makes no request for it."""

import dataclasses
import json
import re
import shutil
import subprocess
import warnings

import numpy as np
import pytest
from PIL import Image
from support import digits, train

from jax_resnet.cli.report import command
from jax_resnet.errors import UserError
from jax_resnet.files import write_json
from jax_resnet.plots import draw_curves
from jax_resnet.report.figures import curves, reliability
from jax_resnet.report.page import read_run, render
from jax_resnet.report.predictions import Bin, Predictions
from jax_resnet.training.config import Config
from jax_resnet.training.published import published

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two finished runs; the name of one looks like an HTML tag."""
    folder = tmp_path_factory.mktemp("runs")
    config = digits(folder, name="one")
    train(config)
    train(dataclasses.replace(config, name="<b>two", seed=1))
    return [folder / "one", folder / "<b>two"]


@pytest.fixture(scope="module")
def page(runs, tmp_path_factory):
    path = tmp_path_factory.mktemp("a page") / "page ü.html"
    command([*map(str, runs), "--out", str(path)])
    return path


def test_the_page_shows_the_results_of_the_runs(runs, page):
    text = page.read_text()
    for run in runs:
        best = json.loads((run / "result.json").read_text())["best"]
        assert f"{best['correct']} of {best['count']}" in text
        assert f"{best['accuracy']:.4f}" in text
    assert "&lt;b&gt;two" in text
    assert "<b>two" not in text
    assert text.count("data:image/png;base64,") == sum(len(read_run(r).mistakes) for r in runs)
    assert "label_smoothing" in text
    references = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert references
    assert not [each for each in references if not each.startswith(("data:", "#"))]


def test_the_page_counts_predictions_as_evaluation_does(runs):
    run = read_run(runs[0])
    confusion = run.predictions.confusion_matrix()
    assert confusion.sum() == run.scores["count"]
    assert confusion.trace() == run.scores["correct"]
    assert len(run.mistakes) == min(24, run.scores["count"] - run.scores["correct"])


def test_a_classifier_of_another_run_and_a_lost_state_are_said(runs, tmp_path, capsys):
    one = tmp_path / "one"
    shutil.copytree(runs[0], one)
    result = json.loads((one / "result.json").read_text())
    write_json(one / "result.json", result | {"best": result["best"] | {"lost_step": 9}})
    assert "The state at step 9 was better on validation" in render([read_run(one)])
    assert "the classifier is right on" not in capsys.readouterr().err
    shutil.copy(runs[1] / "classifier.safetensors", one)
    found = read_run(one).predictions.correct.sum()
    assert found != result["best"]["correct"], "the seeds are too much alike for this test"
    expected = (
        f"is right on {found} of 360 test images here, and was on {result['best']['correct']}"
    )
    assert expected in capsys.readouterr().err


def test_predictions_are_counted_by_class_and_by_confidence():
    probabilities = np.float32([[0.9, 0.1], [0.8, 0.2], [0.3, 0.7], [0.35, 0.65]])
    predictions = Predictions(probabilities, np.int32([0, 1, 1, 0]))
    np.testing.assert_array_equal(predictions.confusion_matrix(), [[1, 1], [1, 1]])
    np.testing.assert_array_equal(predictions.class_accuracies(), [0.5, 0.5])
    np.testing.assert_array_equal(predictions.mistakes(5), [1, 3])
    assert [b.size for b in predictions.reliability(2)] == [4]
    # One bin: confidence (0.9 + 0.8 + 0.7 + 0.65) / 4, accuracy 1/2.
    assert predictions.calibration_error(2) == pytest.approx(0.7625 - 0.5, abs=1e-6)
    # Each prediction in a separate bin.
    errors = (0.1, 0.8, 0.3, 0.65)
    assert predictions.calibration_error(100) == pytest.approx(sum(errors) / 4, abs=1e-6)


def test_names_are_neither_typeset_as_mathematics_nor_hidden(tmp_path):
    line = {"step": 1, "train_loss": 1.0, "train_accuracy": 0.5}
    drawn = curves({"$_$": [line], "_b": [line]}, "loss")
    assert "$_$ train" in drawn
    assert "_b train" in drawn
    draw_curves([line], tmp_path / "curves.png", "$_$")
    assert (tmp_path / "curves.png").exists()


def test_a_single_point_is_seen(tmp_path):
    line = {"step": 1, "train_loss": 1.0, "train_accuracy": 0.5}
    draw_curves([line], tmp_path / "curves.png", "one epoch")
    picture = np.asarray(Image.open(tmp_path / "curves.png").convert("RGB")).astype(int)
    is_blue = abs(picture - [31, 119, 180]).sum(-1) < 60  # matplotlib's tab:blue
    assert is_blue.sum(0).max() >= 8, "curves.png has nothing blue as high as a marker"
    filled = "fill: #1f77b4"  # as markers are, and lines are not
    assert filled in curves({"a": [line]}, "loss"), "the report's curve of one point is not seen"
    assert filled not in curves({"a": [line, line | {"step": 2}]}, "loss")


def test_many_runs_have_a_color_each_and_room_for_their_names():
    records = [{"step": step, "train_loss": 1 / step} for step in (1, 2)]
    names = [f"resnet-zeropad-20-cifar10-fast-seed{number}" for number in range(12)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib warns where no room is left for the curves
        picture = curves(dict.fromkeys(names, records), "loss")
        reliability({name: [Bin(0.5, 0.5, 3)] for name in names})
    assert all(f"{name} train" in picture for name in names)
    assert len({*re.findall("stroke: (#[0-9a-f]{6})", picture)} - {"#b0b0b0", "#cccccc"}) == 12


def test_the_published_accuracy_of_net_and_recipe_is_a_line_in_both_figures(tmp_path):
    article = published(Config(shortcut="conv1x1"))
    assert article == {"the article, 64,000 steps, on test 0.9027": 0.9027}
    (paper,) = published(Config(recipe="paper", shortcut="subsample", depth=56)).values()
    assert paper == 0.9303
    for other in ({"recipe": "fast"}, {"dataset": "cifar100"}, {"depth": 26}, {"recipe": "paper"}):
        assert published(Config(**other)) == {}

    line = {"step": 1, "train_accuracy": 0.5, "validation_accuracy": 0.6, "train_loss": 1.0}
    drawn = curves({"one": [line]}, "accuracy", references=article)
    assert "the article, 64,000 steps, on test 0.9027" in drawn
    pictures = []
    for references in ({}, article):
        draw_curves([line], tmp_path / "curves.png", "one", references=references)
        pictures.append(np.asarray(Image.open(tmp_path / "curves.png").convert("L")))
    plain, marked = (picture.shape[1] // 2 for picture in pictures)
    losses = [picture[:, :plain] for picture in pictures]
    np.testing.assert_array_equal(*losses, "the loss has no reference")
    assert (pictures[0] != pictures[1])[:, marked:].any()


def test_a_loss_with_label_smoothing_says_so():
    line = {"step": 1, "train_loss": 1.0, "validation_loss": 0.9}
    drawn = curves({"one": [line]}, "loss", {"one": 0.1})
    assert "train, label smoothing 0.1" in drawn
    assert "validation, no label smoothing" in drawn
    assert "smoothing" not in curves({"one": [line]}, "loss", {"one": 0.0})


def test_the_default_shortcut_is_named(runs, tmp_path):
    """Version 0.1 wrote null for it."""
    folder = shutil.copytree(runs[0], tmp_path / "one")
    settings = json.loads((folder / "config.json").read_text())
    assert settings["shortcut"] == "zeropad"
    (folder / "config.json").write_text(json.dumps(settings | {"shortcut": None}))
    assert "<dt>shortcut</dt><dd>zeropad</dd>" in render([read_run(folder)])


def test_the_page_says_where_a_run_went_on(runs, tmp_path):
    """What a start did is lost if a later one begins at an earlier step, or at the same one."""
    folder = shutil.copytree(runs[0], tmp_path / "one")
    (first,) = map(json.loads, (folder / "starts.jsonl").read_text().splitlines())
    gpu, tpu, old = {"devices": ["H100"]}, {"devices": ["v5e"]}, {"commit": "older"}
    lines = [first, {"step": 9} | tpu, {"step": 9} | gpu, {"step": 12} | gpu, {"step": 18} | old]
    text = "".join(json.dumps(first | line) + "\n" for line in lines)
    (folder / "starts.jsonl").write_text(text)
    run = read_run(folder)
    assert [start["step"] for start in run.starts] == [0, 9, 18]
    assert run.devices == "2 x cpu, then 1 x H100"
    assert "v5e" not in render([run])
    assert "from step 18" in render([run])


def test_a_class_without_a_test_image_has_no_accuracy(runs):
    one, two = map(read_run, runs)
    some = one.predictions.labels != 3
    few = Predictions(one.predictions.probabilities[some], one.predictions.labels[some])
    assert "no image" not in render([one, two])
    text = render([dataclasses.replace(one, predictions=few), two])
    assert text.count("<td>no image</td>") == 2, "in the table of both runs, and in its own"
    assert "nan" not in text


def test_a_refused_report_leaves_no_file(call, runs, page, tmp_path):
    before = page.read_bytes()
    code, _, stderr = call("report.py", runs[0], "--out", page)
    assert (code, page.read_bytes()) == (2, before)
    assert "exists" in stderr
    code, _, stderr = call("report.py", tmp_path, "--out", tmp_path / "new.html")
    assert code == 2
    assert "expected the folder of a finished run" in stderr
    assert "Traceback" not in stderr
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UserError, match="expected a different name for each"):
        render([read_run(runs[0])] * 2)


def browse(page, folder, size="1200,2000"):
    """The console messages of a page in a browser, and the URLs that it requests."""
    log, picture = folder / "net.json", folder / "page.png"
    words = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--enable-logging=stderr",
        "--host-resolver-rules=MAP * ~NOTFOUND", f"--user-data-dir={folder / 'profile'}",
        f"--window-size={size}", f"--log-net-log={log}", f"--screenshot={picture}", page.as_uri(),
    ]  # fmt: skip
    done = subprocess.run(
        [CHROMIUM, *words], capture_output=True, text=True, check=False, timeout=120
    )
    assert picture.exists(), done.stderr
    events = [event.get("params", {}) for event in json.loads(log.read_text())["events"]]
    requested = {
        event["url"]
        for event in events
        if event.get("initiator", "not an origin") != "not an origin"  # the browser's own
    }
    console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    return console, {url for url in requested if not url.startswith("data:")}


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_a_browser_shows_the_page_without_an_error_or_a_request(page, tmp_path):
    for size in ("1200,2000", "400,2000"):
        assert browse(page, tmp_path, size) == ([], set())


@pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")
def test_the_browser_reports_errors_and_requests(tmp_path):
    page = tmp_path / "bad.html"
    page.write_text("<img src=http://localhost:9/a.png><script>console.error(1)</script>")
    console, requested = browse(page, tmp_path)
    assert len(console) == 1
    assert requested == {"http://localhost:9/a.png"}
