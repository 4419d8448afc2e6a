"""CIFAR from parquet files of the form of Hugging Face's, made here from small PNGs."""

import dataclasses
import hashlib
import io
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from web_server import Handler

from jax_resnet.data import load
from jax_resnet.data.cifar import LAYOUTS
from jax_resnet.data.cifar.find import read_original
from jax_resnet.data.cifar.names import FINE_NAMES
from jax_resnet.errors import UserError


def encode(pixels: np.ndarray) -> dict[str, object]:
    png = io.BytesIO()
    Image.fromarray(pixels).save(png, "PNG")
    return {"bytes": png.getvalue(), "path": None}


@pytest.fixture
def parquet(server, small_cifar100, tmp_path, monkeypatch):
    """A folder of the small CIFAR-100's parquet files, in another order than the archive's;
    the server has none of them yet."""
    layout = LAYOUTS["cifar100"]
    original = read_original(layout, small_cifar100)
    folder = tmp_path / "parquet"
    folder.mkdir()
    files = {}
    for split, file in layout.parquet.items():
        images, labels = original.splits[split].images[::-1], original.labels[split][::-1]
        columns = {"img": [*map(encode, images)], "fine_label": labels[:, 1].astype(np.int64)}
        columns |= {"coarse_label": labels[:, 0].astype(np.int64)}
        pyarrow.parquet.write_table(pyarrow.table(columns), folder / file.name)
        content = (folder / file.name).read_bytes()
        sha256 = hashlib.sha256(content).hexdigest()
        files[split] = dataclasses.replace(file, size=len(content), sha256=sha256)
    monkeypatch.setitem(LAYOUTS, "cifar100", dataclasses.replace(layout, parquet=files))
    return folder


def serve(server, folder, at="/parquet"):
    def answer(content):
        return lambda handler: handler.wfile.write(handler.begin(content))

    for path in folder.iterdir():
        server.answers[f"{at}/{path.name}"] = answer(path.read_bytes())


TEST, TRAIN = "test-00000-of-00001.parquet", "train-00000-of-00001.parquet"


def assert_same(one, other):
    assert one.identity() == other.identity()
    np.testing.assert_array_equal(one.train.images, other.train.images)


def test_hugging_face_comes_first_and_gives_what_the_original_gives(
    server, parquet, small_cifar100, tmp_path, capsys
):
    serve(server, parquet)
    dataset = load("cifar100", tmp_path / "data")
    assert [path for path, _ in server.asked] == [f"/parquet/{TEST}", f"/parquet/{TRAIN}"]
    assert_same(dataset, load("cifar100", small_cifar100))
    assert dataset.class_names == FINE_NAMES
    assert f"downloading {server.url}/parquet/{TEST} (" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "data" / "downloads").rglob("*.*")] == []


def test_the_prepared_folder_is_the_same_from_every_source(server, parquet, tmp_path):
    import tensorflow_datasets as tfds

    load("cifar100", tmp_path / "data")  # the server has the archive only
    serve(server, parquet)
    (tmp_path / "other").mkdir()
    load("cifar100", tmp_path / "other")
    one, other = (tmp_path / root / "cifar100" / "3.0.2" for root in ("data", "other"))
    names = sorted(path.name for path in one.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    for name in names:
        if "array_record" in name or name.endswith(".txt"):
            assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert len(tfds.data_source("cifar100", split="test", data_dir=tmp_path / "other")) == 100


def unavailable(handler: Handler) -> None:
    handler.send_error(503)


@pytest.mark.parametrize("fault", ["missing", "unavailable", "wrong", "large"])
def test_the_original_is_next_and_a_line_says_why(server, parquet, tmp_path, fault, capsys):
    serve(server, parquet)
    content = (parquet / TRAIN).read_bytes()
    wrong, large = content[:-1] + bytes([content[-1] ^ 1]), content + b"x"
    match fault:
        case "missing":
            del server.answers[f"/parquet/{TRAIN}"]
        case "unavailable":
            server.answers[f"/parquet/{TRAIN}"] = unavailable
        case _:
            sent = {"wrong": wrong, "large": large}[fault]
            server.answers[f"/parquet/{TRAIN}"] = lambda h: h.wfile.write(h.begin(sent))
    assert len(load("cifar100", tmp_path / "data").train) == 200
    reason = {"missing": "404", "unavailable": "503", "wrong": "SHA-256", "large": "more than"}
    lines = [line for line in capsys.readouterr().err.splitlines() if "; continuing with" in line]
    assert len(lines) == 1
    assert reason[fault] in lines[0]
    assert lines[0].endswith(f"{server.url}/small.tar.gz")
    assert server.asked[-1] == ("/small.tar.gz", None)
    assert [path.name for path in (tmp_path / "data" / "downloads").rglob("*.*")] == []


def test_both_reasons_are_given_and_a_whole_file_is_kept(server, parquet, tmp_path):
    serve(server, parquet)
    test = server.answers[f"/parquet/{TEST}"]
    server.answers.clear()
    server.answers[f"/parquet/{TEST}"] = test
    with pytest.raises(UserError) as caught:
        load("cifar100", tmp_path / "data")
    for url in (f"{server.url}/parquet/", f"{server.url}/small.tar.gz"):
        assert f"downloading it from {url} failed: the server answers 404" in str(caught.value)
    kept = (tmp_path / "data" / "downloads").rglob("*.*")
    assert [path.name for path in kept] == [f"cifar100-{TEST}"]


@pytest.mark.parametrize("ending", ["/", f"/{TRAIN}"])
def test_a_mirror_is_a_folder_of_parquet_files_or_one_of_them(server, parquet, tmp_path, ending):
    serve(server, parquet, "/mine")
    dataset = load("cifar100", tmp_path / "data", mirror=f"{server.url}/mine{ending}")
    assert_same(dataset, load("cifar100", parquet))
    assert [path for path, _ in server.asked] == [f"/mine/{TEST}", f"/mine/{TRAIN}"]


def test_a_mirrors_query_is_kept(server, parquet, tmp_path):
    """As `?download=true`, which the hub's own links have."""
    serve(server, parquet, "/mine")
    server.answers |= {f"{path}?a=/b": answer for path, answer in server.answers.items()}
    dataset = load("cifar100", tmp_path / "data", mirror=f"{server.url}/mine/{TRAIN}?a=/b")
    assert_same(dataset, load("cifar100", parquet))
    assert [path for path, _ in server.asked] == [f"/mine/{TEST}?a=/b", f"/mine/{TRAIN}?a=/b"]


def test_a_mirror_of_the_archive_is_asked_for_nothing_else(server, parquet, tmp_path):
    serve(server, parquet)
    load("cifar100", tmp_path / "data", mirror=f"{server.url}/small.tar.gz")
    assert server.asked == [("/small.tar.gz", None)]


def test_what_an_interrupted_call_downloaded_is_used(server, parquet, tmp_path):
    downloads = tmp_path / "data" / "downloads" / "jax_resnet"
    downloads.mkdir(parents=True)
    (downloads / f"cifar100-{TEST}").write_bytes((parquet / TEST).read_bytes())
    serve(server, parquet)
    load("cifar100", tmp_path / "data")
    assert [path for path, _ in server.asked] == [f"/parquet/{TRAIN}"]


def test_a_folder_of_other_parquet_files_is_refused(parquet):
    (parquet / TEST).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=f"{TEST} is .*not cifar100's: 4 bytes with SHA-256"):
        load("cifar100", parquet)


def test_one_parquet_file_of_two_is_named(server, parquet):
    with pytest.raises(UserError, match=f"{TRAIN} is a single file, expected the folder of "):
        load("cifar100", parquet / TRAIN)
    (parquet / TEST).unlink()
    with pytest.raises(UserError, match=f"{parquet} has {TRAIN}, but no {TEST}: expected both"):
        load("cifar100", parquet)
    assert server.asked == []


def test_a_foreign_parquet_file_hides_no_original(server, small_cifar100, tmp_path):
    """Many data sets have files of this name."""
    folder = tmp_path / "mixed"
    shutil.copytree(small_cifar100, folder / LAYOUTS["cifar100"].folder)
    (folder / TRAIN).write_bytes(b"PAR1")
    assert_same(load("cifar100", folder), load("cifar100", small_cifar100))


@pytest.fixture
def hub(parquet, tmp_path):
    """The folder of CIFAR-100 in the hub's cache. Its files are links; one revision lacks one, and
    another data set has files of the same names."""
    folder = tmp_path / "hub" / "datasets--uoft-cs--cifar100"
    (folder / "blobs").mkdir(parents=True)
    for revision, names in (("0", [TEST]), ("1", [TEST, TRAIN])):
        files = folder / "snapshots" / revision / "cifar100"
        files.mkdir(parents=True)
        for name in names:
            shutil.copy(parquet / name, folder / "blobs" / name)
            (files / name).symlink_to(f"../../../blobs/{name}")
    other = folder.with_name("datasets--other--cifar100") / "snapshots" / "0" / "cifar100"
    other.mkdir(parents=True)
    for name in (TEST, TRAIN):
        (other / name).write_bytes(b"PAR1")
    return folder


def test_the_hubs_cache_is_read(server, parquet, hub):
    expected = load("cifar100", parquet)
    revision = hub / "snapshots" / "1"
    for given in (hub.parent, hub, revision, revision / "cifar100"):
        assert_same(load("cifar100", given), expected)
    assert server.asked == []


def test_another_revision_of_the_hubs_does_not_stand_in_the_way(parquet, hub):
    other = hub / "snapshots" / "00" / "cifar100"
    other.mkdir(parents=True)
    for name in (TEST, TRAIN):
        (other / name).write_bytes(b"PAR1")
    assert_same(load("cifar100", hub.parent), load("cifar100", parquet))


def test_the_hubs_files_are_checked(hub):
    (hub / "blobs" / TRAIN).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=f"1/cifar100/{TRAIN} is .*not cifar100's: 4 bytes"):
        load("cifar100", hub.parent)


@pytest.mark.parametrize(("name", "config"), [("cifar10", "plain_text"), ("cifar100", "cifar100")])
def test_each_data_set_has_its_place_in_the_hub(tmp_path, name, config):
    files = tmp_path / f"datasets--uoft-cs--{name}" / "snapshots" / "0b27" / config
    files.mkdir(parents=True)
    for file in (TEST, TRAIN):
        (files / file).write_bytes(b"PAR1")
    with pytest.raises(UserError, match=f"{files}/.*, or not {name}'s: 4 bytes"):
        load(name, tmp_path)
