"""The cache folder as a whole: what it holds, in what order room is made."""

import json
import os
import time

import numpy as np
import pytest

from fad_onnx.cache import embeddings, root
from fad_onnx.cli import main
from fad_onnx.networks import synthetic
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline.run import cache_folder
from fad_onnx.tools import housekeeping
from fad_onnx.weights import converted, prepare

from .test_embedding_cache import Facts
from .test_weights import ENTRY, bound


def convert(tmp_path, seed):
    """A model from the user's own file; the file, and where the model is kept."""
    path = tmp_path / f"mine-{seed}.npz"
    np.savez(path, **synthetic.tensors(bound(ENTRY), seed))
    request = prepare.Request(ModelSpec(ENTRY.name, weights={"main": str(path)}))
    return path, prepare.load(request).session.graph.parent


def keep_embeddings(count):
    with embeddings.EmbeddingCache(cache_folder()) as rows:
        for n in range(count):
            rows.put("0" * 64, f"{n}", np.zeros((100, 100), np.float32), Facts())


def info(capsys, *arguments):
    capsys.readouterr()
    assert main(["cache", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def names(found, kind):
    return [one["name"] for one in found[kind]["items"]]


@pytest.fixture
def full(tmp_path, home):
    """Two models, one of another release, a whole and a partial download, embeddings."""
    keep_embeddings(20)
    models = [convert(tmp_path, seed) for seed in (1, 2)]
    _, other = convert(tmp_path, 3)
    facts = dict(converted.read_note(other))
    converted.write_note(other, {**facts, "files": {**facts["files"], "model.onnx": "0" * 64}})
    for days, folder in ((3, models[1][1]), (2, models[0][1]), (1, other)):
        os.utime(folder, (time.time() - days * 86400,) * 2)
    downloads = home / "checkpoints"
    downloads.mkdir()
    (downloads / "whole.pth").write_bytes(b"x" * 1000)
    (downloads / "cut.pth.part").write_bytes(b"x" * 500)
    return models, other, downloads


def test_info_says_what_there_is_by_kind(full, capsys):
    (first, second), other, _ = full
    found = info(capsys, "info")
    assert found["values"] == 20 and found["max_bytes"] == embeddings.MAX_BYTES
    assert names(found, "models") == [second[1].name, first[1].name, other.name]
    one = found["models"]["items"][1]
    assert one["weights"]["main"]["path"] == str(first[0]) and one["model"] == ENTRY.name
    assert one["current"] and not found["models"]["items"][2]["current"]
    size = sum(file.stat().st_size for file in first[1].iterdir())
    assert one["bytes"] == size and found["models"]["bytes"] == pytest.approx(3 * size, rel=1e-3)
    assert found["downloads"]["bytes"] == 1500
    assert main(["cache", "info"]) == 0
    said = capsys.readouterr().out
    assert str(first[0]) in said and "given by the user" in said
    assert "not used by this release" in said and "in part" in said


@pytest.mark.large
def test_room_is_made_in_the_stated_order(full, capsys):
    (first, second), *_ = full
    before = info(capsys, "info")
    model = before["models"]["items"][0]["bytes"]
    total = before["bytes"] + before["models"]["bytes"] + 1500

    def down_to(count):
        return info(capsys, "prune", "--max-gb", repr(count / 1e9))

    assert len(names(down_to(total), "downloads")) == 2
    found = down_to(total - 1)
    assert len(names(found, "downloads")) == 1 and len(names(found, "models")) == 3
    found = down_to(total - 1501)
    assert names(found, "models") == [second[1].name, first[1].name]
    assert names(found, "downloads") == [] and found["values"] == 20
    found = down_to(2 * model + 1000)
    assert len(names(found, "models")) == 2 and found["values"] == 0
    found = down_to(2 * model - 1)
    assert names(found, "models") == [first[1].name]
    assert names(down_to(0), "models") == []


@pytest.mark.large
def test_what_is_loaded_is_the_last_to_go(full):
    (first, second), *_ = full
    prepare.load(prepare.Request(ModelSpec(ENTRY.name, weights={"main": str(second[0])})))
    order = [one.path for one in housekeeping.items() if one.kind == "models"]
    assert order.index(second[1]) > order.index(first[1])


def test_clear_takes_all_or_one_kind(full, capsys):
    found = info(capsys, "clear", "--only", "embeddings")
    assert found["values"] == 0 and len(names(found, "models")) == 3
    found = info(capsys, "clear", "--only", "downloads")
    assert len(names(found, "models")) == 3 and names(found, "downloads") == []
    keep_embeddings(2)
    found = info(capsys, "clear")
    assert found["values"] == 0 and names(found, "models") == []


@pytest.mark.large
def test_what_another_process_works_on_stays(full, capsys):
    with root.locked(ENTRY.name), root.locked("cut.pth"):
        found = info(capsys, "clear")
    assert len(names(found, "models")) == 3 and names(found, "downloads") == ["cut.pth.part"]


def test_a_named_folder_holds_embeddings_alone(full, capsys, tmp_path):
    found = info(capsys, "clear", "--cache-dir", str(tmp_path / "elsewhere"))
    assert found["values"] == 0 and names(found, "models") == []
    assert len(names(info(capsys, "info"), "models")) == 3


def test_an_option_of_another_action_is_refused(capsys):
    for command in (["info", "--max-gb", "1"], ["prune", "--only", "models"]):
        assert main(["cache", *command]) == 2
        assert "goes with" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["nan", "-1", "inf", "many", ""])
def test_sizes_that_are_none(size, capsys):
    with pytest.raises(SystemExit) as caught:
        main(["cache", "prune", f"--max-gb={size}"])
    assert caught.value.code == 2 and "not a size in GB" in capsys.readouterr().err


def test_a_model_stays_while_another_takes_tensors_from_it(tmp_path):
    """That one holds the lock of the checkpoint that both are made of."""
    path, folder = convert(tmp_path, 1)
    (item,) = (one for one in housekeeping.items() if one.kind == "models")
    with root.locked(path.name):
        assert not housekeeping._remove(item) and folder.exists()
    assert housekeeping._remove(item) and not folder.exists()
