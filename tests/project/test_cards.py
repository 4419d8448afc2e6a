"""The cards of the nets in the package and the table of docs/models.md, made from files."""

import re
import shlex
from dataclasses import replace

import jax
import make_cards
import numpy as np
import pytest
import yaml  # Flax requires it
from make_cards import RUNS, card, pages, read_net, stale, train_command
from support import ROOT, SHARED

from jax_resnet.cli.train import parse_config
from jax_resnet.data.cifar.names import CIFAR10_CLASSES
from jax_resnet.errors import UserError
from jax_resnet.training.config import load_dataset

DATA_DIR = SHARED / "tensorflow_datasets"
each_net = pytest.mark.parametrize("name", RUNS)


def test_cards_and_table_are_up_to_date():
    differing = [str(path.relative_to(ROOT)) for path in stale(pages())]
    assert not differing, f"{differing} differ: `{make_cards.COMMAND}` writes them"


@each_net
def test_the_weights_are_those_of_a_run_with_this_config(name):
    net = read_net(name)
    model, config = net.classifier.model, net.config
    assert (model.depth, model.shortcut) == (config.depth, config.shortcut)
    assert net.classifier.class_names == CIFAR10_CLASSES
    assert (net.classifier.mean.ndim == 3) == (config.normalization == "pixel")
    for scores in (net.best, net.last):
        assert scores["accuracy"] == scores["correct"] / scores["count"]
        assert (scores["split"], scores["count"]) == ("test", 10_000)
    assert net.last["step"] == config.steps


def test_no_two_nets_are_of_one_run():
    assert len(set(RUNS.values())) == len(RUNS)


@pytest.mark.slow
@pytest.mark.skipif(not DATA_DIR.is_dir(), reason="no CIFAR-10 on this machine")
@each_net
def test_a_net_has_its_runs_validation_accuracy_and_mean(name):
    net = read_net(name)
    seed, share = str(net.config.seed), str(net.config.val_fraction)
    words = ["--seed", seed, "--val-fraction", share, "--data-dir", str(DATA_DIR)]
    dataset = load_dataset(parse_config(words))
    axes = tuple(range(4 - net.classifier.mean.ndim))
    mean = dataset.train.images.mean(axes, dtype=np.float64) / 255
    np.testing.assert_allclose(net.classifier.mean, mean, atol=1e-6)
    images, labels = dataset.validation.images, dataset.validation.labels
    classify = jax.jit(lambda part: net.classifier(part).argmax(-1))
    found = np.concatenate([classify(part) for part in np.split(images, len(images) // 500)])
    correct = net.validation_accuracy * len(images)
    assert abs((found == labels).sum() - correct) <= 2


@each_net
def test_the_command_of_a_card_has_the_values_of_its_run(name):
    config = read_net(name).config
    words = shlex.split(train_command(config).replace("\\\n", ""))
    assert words[:2] == ["python", "scripts/train.py"]
    again = parse_config(words[2:])
    assert again.hyper_parameters() == config.hyper_parameters()
    assert again.run_name == config.run_name == RUNS[name]


@each_net
def test_the_front_matter_is_yaml(name):
    net = read_net(name)
    _, front, body = card(net).split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["license"] == "apache-2.0"
    assert (values["datasets"], values["metrics"]) == (["uoft-cs/cifar10"], ["accuracy"])
    (model,) = values["model-index"]
    (result,) = model["results"]
    assert model["name"] == name
    assert result["metrics"][0]["value"] == net.best["accuracy"]
    assert f"| {net.best['correct']:,} of 10,000 | {net.best['accuracy']:.4f} |" in body


@each_net
def test_the_links_of_a_card_lead_to_this_repository(name):
    links = re.findall(
        rf"{make_cards.REPOSITORY}/(?:blob|tree)/main/([^)#]+)", card(read_net(name))
    )
    assert links
    for path in links:
        assert (ROOT / path).exists(), path


@each_net
def test_the_steps_were_slow_where_a_cpu_made_them(name):
    net = read_net(name)
    on_cpu = [start["step"] for start in net.starts if start["devices"] == ["cpu"]]
    if (last := make_cards.LAST_ON_CPU.get(name)) is not None:
        assert not on_cpu
        on_cpu = [net.config.steps - last]
    first = min(on_cpu, default=net.config.steps)
    records, _ = make_cards.read_finished(make_cards.DOCS / "runs" / RUNS[name])
    slow = [line["step"] for line in records if line["images_per_second"] < 1_000]
    assert slow == [line["step"] for line in records if line["step"] > first]


def test_a_card_names_each_place_where_its_run_went_on():
    gpu, cpu = ({"devices": [name], "python": "3.12.3"} for name in ("NVIDIA H100", "cpu"))
    starts = [
        gpu | {"step": 0, "versions": {"jax": "0.11.2", "jax-resnet-cifar": None}},
        cpu | {"step": 1_200, "versions": {"jax": "0.10.2"}, "cores": 2},
        cpu | {"step": 1_500, "versions": {"jax": "0.10.2"}, "cores": 1},
    ]
    net = replace(read_net("cnn20"), starts=starts)
    assert make_cards.places(net) == (
        "The run began on NVIDIA H100 with Python 3.12.3, jax 0.11.2, and went on at step 1,200 on "
        "a CPU with Python 3.12.3, jax 0.10.2."
    )


def test_a_net_without_a_run_is_an_error(monkeypatch):
    others = {name: run for name, run in RUNS.items() if name != "cnn20"}
    monkeypatch.setattr(make_cards, "RUNS", others)
    with pytest.raises(UserError, match="cnn20 is not both in jax_resnet/weights and in RUNS"):
        pages()


@pytest.mark.parametrize("file", ["config.json", "metrics.jsonl", "result.json"])
def test_a_run_that_lacks_a_file_is_an_error(monkeypatch, tmp_path, file):
    run = tmp_path / "runs" / RUNS["cnn20"]
    run.mkdir(parents=True)
    for source in (make_cards.DOCS / "runs" / RUNS["cnn20"]).iterdir():
        if source.name != file:
            (run / source.name).write_bytes(source.read_bytes())
    monkeypatch.setattr(make_cards, "DOCS", tmp_path)
    with pytest.raises(UserError, match=rf"{file} is missing, expected that of the run of cnn20"):
        read_net("cnn20")


def test_check_names_what_differs_and_writing_repairs_it(monkeypatch, tmp_path, capsys):
    (tmp_path / "docs" / "cards").mkdir(parents=True)
    for source in [*make_cards.DOCS.glob("cards/*"), make_cards.MODELS]:
        target = tmp_path / "docs" / source.relative_to(make_cards.DOCS)
        target.write_bytes(source.read_bytes())
    expected = {
        tmp_path / "docs" / path.relative_to(make_cards.DOCS): text
        for path, text in pages().items()
    }
    monkeypatch.setattr(make_cards, "DOCS", tmp_path / "docs")
    monkeypatch.setattr(make_cards, "pages", lambda: expected)
    make_cards.main(check=True)
    (tmp_path / "docs/cards/cnn20.md").write_text("old")
    (tmp_path / "docs/cards/other.md").write_text("of no net")
    with pytest.raises(SystemExit, match=r"`python docs/make_cards\.py` brings them up to date"):
        make_cards.main(check=True)
    named = "docs/cards/cnn20.md is not up to date\ndocs/cards/other.md is not up to date\n"
    assert capsys.readouterr().out == named
    make_cards.main(check=False)
    make_cards.main(check=True)
