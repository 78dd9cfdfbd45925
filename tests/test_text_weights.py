"""A checkpoint that serves two graphs: what is fetched, converted, kept and removed."""

import hashlib

import numpy as np
import pytest

import fad_onnx
from fad_onnx.cli import main
from fad_onnx.errors import CheckpointError, DownloadError
from fad_onnx.weights import converted, locate

from . import toy
from .checkpoints import writers
from .networks.test_tokenizer import write as write_vocabulary

SCALES = {name: np.array([scale], np.float32) for name, scale in (("audio", 3), ("text", 5))}


def scaled(value, name):
    """The node and the initializer that multiply a value of a graph by a tensor of the file."""
    place = writers.external(location="weights.bin", offset="0", length="4")
    held = writers.initializer(f"{name}.scale", SCALES[name], *place)
    return toy.node("Mul", [value, f"{name}.scale"], "embedding"), held


def graphs():
    node, held = scaled("mean", "audio")
    audio = toy.model(
        [toy.node("ReduceMean", ["samples"], "mean", axes=[2], keepdims=0), node],
        [toy.value("samples", "batch", "channels", "n")],
        [toy.value("embedding", "batch", "channels")], [held],
    )  # fmt: skip
    node, held = scaled("mean", "text")
    text = toy.model(
        [
            toy.node("Cast", ["ids"], "numbers", to=1),
            toy.node("ReduceMean", ["numbers"], "mean", axes=[1], keepdims=1), node,
        ],
        [toy.value("ids", "batch", "length", kind=7)],
        [toy.value("embedding", "batch", "width")], [held],
    )  # fmt: skip
    return {"toy.onnx": audio, "text.onnx": text}


@pytest.fixture
def official(monkeypatch, tmp_path):
    """The model "toy" of an official file with both tensors, and a vocabulary."""
    tensors = {f"{name}.scale": writers.tensor(scale) for name, scale in SCALES.items()}
    (tmp_path / "main.pt").write_bytes(writers.torch_zip(writers.ordered(**tensors)))
    files = {"main": tmp_path / "main.pt", **write_vocabulary(tmp_path)}
    checkpoints = {
        name: {
            "file": path.name, "url": f"https://example.org/{path.name}", "licence": "-",
            "digests": {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()},
            **({} if name == "main" else {"holds": "text"}),
        }
        for name, path in files.items()
    }  # fmt: skip
    folder = tmp_path / "graphs"
    folder.mkdir()
    network = {
        "checkpoints": checkpoints, "outputs": {"embedding": {"width": 1}},
        "text": {"width": 1, "graph": "text.onnx"},
    }  # fmt: skip
    toy.install(monkeypatch, folder, network=network, graphs=graphs())
    return files


@pytest.fixture
def downloaded(official):
    """The same, with all files where downloads go."""
    locate.downloads_folder().mkdir(parents=True)
    for path in official.values():
        (locate.downloads_folder() / path.name).write_bytes(path.read_bytes())
    return official


def downloads():
    """Without the notes next to them."""
    names = {path.name for path in locate.downloads_folder().iterdir()}
    return sorted(names & {"main.pt", "vocab.json", "merges.txt"})


def embeds():
    samples = np.full(500, 0.25, np.float32)
    assert fad_onnx.load_model("toy").embed(samples, 1000).tolist() == [[0.75]]
    expected = 5 * np.mean([0, *found_ids("a dog"), 2])
    assert fad_onnx.embed_text("a dog", "toy").tolist() == [[pytest.approx(expected)]]


def found_ids(text):
    from .networks.test_tokenizer import TOKENS

    return [TOKENS.index(token) for token in {"a dog": ("a", "Ġdog")}[text]]


def test_pull_converts_both_and_removes_what_was_downloaded(downloaded, capsys):
    assert main(["pull", "toy"]) == 0
    said = capsys.readouterr().out
    assert [line.split(" ")[1] for line in said.splitlines()] == [
        "main", "kept", "main", "vocab", "merges", "kept",
    ]  # fmt: skip
    assert said.count(", licence: -\n") == 4
    assert downloads() == [] and len(list(converted.folders())) == 2
    embeds()
    assert main(["pull", "toy"]) == 0, "what is ready needs no file"


def test_pull_of_an_output_leaves_the_text_tower(downloaded, capsys):
    assert main(["pull", "toy:output=embedding"]) == 0
    said = capsys.readouterr().out
    assert "vocab" not in said and f"kept {locate.downloads_folder() / 'main.pt'}" in said
    assert len(list(converted.folders())) == 1
    assert downloads() == ["main.pt", "merges.txt", "vocab.json"], "the text tower needs them"


def test_what_is_used_first_leaves_the_file_for_what_is_used_next(downloaded):
    fad_onnx.load_model("toy")
    assert "main.pt" in downloads()
    fad_onnx.embed_text("a dog", "toy")
    assert downloads() == []
    embeds()


def test_the_other_order(downloaded):
    fad_onnx.embed_text("a dog", "toy")
    assert "main.pt" in downloads()
    fad_onnx.load_model("toy")
    assert "main.pt" not in downloads()
    embeds()


def test_kept_on_request(downloaded):
    assert main(["pull", "toy", "--keep"]) == 0
    assert downloads() == ["main.pt", "merges.txt", "vocab.json"]


def test_the_converted_audio_tower_is_not_taken_for_the_checkpoint(downloaded):
    """It was made of the same file, but holds other tensors."""
    fad_onnx.load_model("toy")
    (locate.downloads_folder() / "main.pt").unlink()
    with pytest.raises(DownloadError, match=r"main\.pt .*--from main=FILE"):
        fad_onnx.embed_text("a dog", "toy")


def test_missing_files_are_named_together(official):
    with pytest.raises(DownloadError) as found:
        fad_onnx.embed_text("a dog", "toy")
    assert "`fad-onnx pull toy --from main=FILE --from vocab=FILE --from merges=FILE`" in str(
        found.value
    )


def test_pull_from_files(official, tmp_path, capsys):
    given = [part for name, path in official.items() for part in ("--from", f"{name}={path}")]
    assert main(["pull", "toy", *given]) == 0
    embeds()
    (tmp_path / "merges.txt").write_text("a b\n")
    assert main(["pull", "toy", *given]) == 1
    assert "sha256 expected" in capsys.readouterr().err


def test_a_checkpoint_without_the_text_tower_says_what_is_missing(official, tmp_path):
    tensors = {"audio.scale": writers.tensor(SCALES["audio"])}
    (tmp_path / "half.pt").write_bytes(writers.torch_zip(writers.ordered(**tensors)))
    given = {**official, "main": tmp_path / "half.pt"}
    fad_onnx.load_model("toy", weights={"main": given["main"]})
    with pytest.raises(CheckpointError, match=r"half\.pt.*1 of the 1 tensors.*'text\.scale'"):
        fad_onnx.embed_text("a dog", "toy", weights=given)


def test_models_say_which_have_a_text_tower(official):
    known = fad_onnx.models()
    assert known["toy"].text == 1 and known["logmel"].text is None
