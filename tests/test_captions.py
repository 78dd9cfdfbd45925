"""Files of captions, which clip each is of, and the CLAP score of a network of a few nodes."""

import csv
import json
import logging
import pickle

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.api.text import Captions
from fad_onnx.cli import main
from fad_onnx.errors import (
    CaptionError,
    CheckpointError,
    DownloadError,
    KeywordError,
    NoAudioError,
    OptionError,
    StatisticsError,
    UncaptionedError,
)
from fad_onnx.files import captions
from fad_onnx.metrics.definitions.clap_score import cosines
from fad_onnx.networks import synthetic, tokenizer
from fad_onnx.networks.selection import select, text_tower
from fad_onnx.pipeline import datasets
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import text_files

from . import toy
from .networks.test_tokenizer import write as write_vocabulary

CLIPS = ("a.wav", "b.wav", "sub/c.flac")
TEXTS = {"a.wav": "a dog", "b.wav": 'rain, "heavy"\nand loud', "sub/c.flac": "é\u2028dog " * 60}


def write(path, rows, **form):
    """A .csv or .tsv of (file, caption), or a .jsonl."""
    if path.suffix == ".jsonl":
        lines = (json.dumps({"file": name, "caption": text}, **form) for name, text in rows)
        path.write_text("\n".join(lines), "utf-8")
        return path
    with path.open("w", encoding=form.pop("encoding", "utf-8"), newline="") as out:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.writer(out, delimiter=delimiter, **form)
        writer.writerows([("file", "caption"), *rows])
    return path


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("c.csv", {}),
        ("c.csv", {"encoding": "utf-8-sig"}),
        ("c.csv", {"lineterminator": "\n"}),
        ("c.CSV", {"quoting": csv.QUOTE_ALL}),
        ("c.tsv", {}),
        ("c.jsonl", {}),
        ("c.jsonl", {"ensure_ascii": False}),
    ],
)
def test_every_format_gives_the_same_captions(tmp_path, name, form):
    path = write(tmp_path / name, TEXTS.items(), **form)
    assert captions.read(path) == TEXTS


def test_other_columns_are_left_alone_and_blank_captions_are_none(tmp_path):
    path = tmp_path / "c.csv"
    path.write_text("id,caption,file\n1,a dog,./a.wav\n\n2, ,b.wav\n", "utf-8")
    assert captions.read(path) == {"a.wav": "a dog"}


@pytest.mark.parametrize(
    ("name", "text", "problem"),
    [
        ("c.csv", "", "empty; its first line needs the columns file and caption"),
        ("c.csv", "name,caption\na,b\n", "needs one column `file`, it has name, caption"),
        ("c.csv", "file,caption,caption\na,b,c\n", "needs one column `caption`"),
        ("c.csv", "file,caption\na,a dog, barking\n", "line 2 has 3 fields, the first 2"),
        ("c.csv", 'file,caption\na,"b\n', "line 2: "),
        ("c.csv", "file,caption\na,x\nb,y\n./a,z\n", "lines 2 and 4 both name 'a'"),
        ("c.csv", "file,caption\n,x\n", "line 2: `file` is '', not the name of a clip"),
        ("c.csv", "file,caption\n", "holds no caption"),
        ("c.csv", "file,caption\na, \n", "holds no caption"),
        ("c.csv", f"file,caption\na,{'x' * 200_000}\n", "line 2: field larger"),
        ("c.jsonl", '{"file": "a"}', "line 1 is not an object with `file` and `caption`"),
        ("c.jsonl", '{"file": "a", "caption": "b"}\n{', "line 2 is not JSON"),
        ("c.jsonl", '{"file": 3, "caption": "b"}', "line 1: `file` is 3"),
        ("c.jsonl", '{"file": "a", "caption": null}', "line 1: NoneType is not text"),
        ("c.jsonl", '{"file": "a", "caption": "\\ud800"}', "line 1: character 1 is"),
        ("c.jsonl", "[" * 100_000, "line 1 is not JSON"),
        ("c.txt", "file,caption\n", "read from .csv, .tsv and .jsonl"),
    ],
)
def test_what_is_no_file_of_captions_is_an_error(tmp_path, name, text, problem):
    (tmp_path / name).write_text(text, "utf-8")
    with pytest.raises(CaptionError) as found:
        captions.read(tmp_path / name)
    assert problem in str(found.value) and str(tmp_path / name) in str(found.value)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(CaptionError, match="No such file"):
        captions.read(tmp_path / "c.csv")
    (tmp_path / "c.csv").write_bytes("file,caption\na,é\n".encode("latin-1"))
    with pytest.raises(CaptionError, match=r"not UTF-8 text \(byte 15\)"):
        captions.read(tmp_path / "c.csv")


def of(names, given, skip=False):
    return Captions("c.csv", {name: f"of {name}" for name in given}).of(names, "clips", skip)


@pytest.mark.parametrize(
    ("clip", "name"),
    [("a.wav", "a.wav"), ("a.wav", "a"), ("a.flac", "a.wav"), ("x/a.b.wav", "x/a.b"),
     ("a.wav.flac", "a.wav")],
)  # fmt: skip
def test_a_caption_names_a_clip_with_or_without_suffix(clip, name):
    assert of([clip, "other.wav"], [name, "other"]) == [f"of {name}", "of other"]


@pytest.mark.parametrize(
    ("clip", "name"), [("a.wav", "A"), ("a.wav", "a.txt"), ("x/a.wav", "a"), ("a.b.wav", "a")]
)
def test_nothing_else_is_the_same_name(clip, name):
    with pytest.raises(UncaptionedError):
        of([clip, "other.wav"], [name, "other"])


@pytest.mark.parametrize(("clips", "names"), [(["a.wav", "b.wav"], ["a"]), (["a.wav"], ["a", "b"])])
def test_either_side_without_a_partner_is_an_error(clips, names):
    with pytest.raises(UncaptionedError):
        of(clips, names)
    assert of(clips, names, skip=True)[0] == "of a"


def test_clips_of_one_stem_need_their_suffix():
    both = ["a.wav", "a.flac"]
    assert of(both, ["a.flac", "a.wav"]) == ["of a.wav", "of a.flac"]
    with pytest.raises(UncaptionedError):
        of(both, ["a"])


def test_two_captions_of_one_clip_are_an_error():
    with pytest.raises(CaptionError, match=r"'a' and 'a\.wav' both name a\.wav of clips"):
        of(["a.wav"], ["a", "a.wav"])


def test_what_has_no_partner_is_listed_and_counted():
    names = [f"{number:02}.wav" for number in range(30)]
    with pytest.raises(UncaptionedError) as found:
        of(names, ["00", "x", "y"])
    said = str(found.value)
    assert "29 clips of clips have no caption in c.csv (01.wav, " in said
    assert "10.wav, ...)" in said and "11.wav" not in said
    assert "2 captions of c.csv have no clip in clips (x, y)" in said and "--skip-errors" in said
    assert of(names, ["00", "x"], skip=True)[:2] == ["of 00", None]
    with pytest.raises(CaptionError, match="names no clip of clips"):
        of(names, ["x"], skip=True)


def text_graph():
    """A ModelProto: ids in; their mean and their maximum out."""
    nodes = [
        toy.node("Cast", ["ids"], "numbers", to=1),
        toy.node("ReduceMean", ["numbers"], "mean", axes=[1], keepdims=1),
        toy.node("ReduceMax", ["numbers"], "maximum", axes=[1], keepdims=1),
        toy.node("Concat", ["mean", "maximum"], "embedding", axis=1),
    ]
    return toy.model(
        nodes, [toy.value("ids", "batch", "length", kind=7)],
        [toy.value("embedding", "batch", "width")],
    )  # fmt: skip


@pytest.fixture
def spoken(monkeypatch, tmp_path):
    """The model "toy" with a text tower, the two files of its vocabulary, and clips in stereo."""
    folder = tmp_path / "graphs"
    folder.mkdir()
    files = {
        name: {"file": f"{name}.txt", "url": "", "licence": "-", "holds": "text"}
        for name in ("vocab", "merges")
    }
    tower = {"width": 2, "graph": "text.onnx", "checkpoints": ["vocab", "merges"]}
    toy.install(
        monkeypatch, folder,
        network={
            "checkpoints": files, "text": tower,
            "outputs": {"mean": {"width": 2, "tensor": "mean", "checkpoints": []}},
        },
        graphs={"text.onnx": text_graph()}, channels="stereo",
        model={"aliases": [{"model_name": "clap", "submodel_name": "toy", "enable_fusion": False}]},
    )  # fmt: skip
    for number, name in enumerate(CLIPS):
        (tmp_path / "clips" / name).parent.mkdir(parents=True, exist_ok=True)
        clip = synthetic.clip(number, 2000 + number, 2) + np.array([[0.3], [0.1 * number]])
        soundfile.write(tmp_path / "clips" / name, clip.T / 2, 1000)
    write(tmp_path / "c.jsonl", TEXTS.items())
    return {f"toy:{name}": path for name, path in write_vocabulary(tmp_path).items()}


def ids(spoken, text):
    made = tokenizer.TOKENIZERS["roberta"]({name: spoken[f"toy:{name}"] for name in FILES})
    return made.encode(text).ids


FILES = ("vocab", "merges")


def expected(spoken, texts):
    made = [ids(spoken, text) for text in texts]
    return np.array([[np.mean(one), max(one)] for one in made], np.float32)


def test_embed_text_gives_what_the_graph_gives_one_by_one(spoken, caplog):
    texts = [*TEXTS.values(), "", "dog", "a dog", "\0"] * 3
    found = fad_onnx.embed_text(texts, "toy", weights=spoken)
    assert found.dtype == np.float32 and found.shape == (21, 2)
    np.testing.assert_allclose(found, expected(spoken, texts), rtol=1e-6)
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "3 of 21 captions were cut at 77 tokens"
    ]
    assert fad_onnx.embed_text("a dog", "toy", weights=spoken).tolist() == [found[0].tolist()]
    assert fad_onnx.embed_text([], "toy", weights=spoken).shape == (0, 2)


def test_embed_text_of_what_is_no_caption_names_it(spoken):
    with pytest.raises(CaptionError, match="caption 2: character 1 is"):
        fad_onnx.embed_text(["dog", "\ud800"], "toy", weights=spoken)
    with pytest.raises(OptionError, match="logmel has no text tower; models that do: .*toy"):
        fad_onnx.embed_text("dog", "logmel")


def test_a_loaded_model_embeds_text_too(spoken):
    loaded = fad_onnx.load_model("toy", weights=spoken)
    np.testing.assert_array_equal(
        fad_onnx.embed_text("a dog", loaded), fad_onnx.embed_text("a dog", "toy", weights=spoken)
    )


def test_the_text_tower_is_no_output(spoken):
    assert "text" not in fad_onnx.models()["toy"].outputs
    with pytest.raises(OptionError, match="has the outputs mean"):
        fad_onnx.load_model("toy:output=text", weights=spoken)


def test_a_name_that_is_no_file_of_the_model_is_an_error(spoken):
    for call in (
        fad_onnx.load_model,
        lambda model, **given: fad_onnx.embed_text("", model, **given),
    ):
        with pytest.raises(CheckpointError, match=r"'pca' \(vocab, merges\)"):
            call("toy", weights={**spoken, "toy:pca": spoken["toy:vocab"]})


def test_the_vocabulary_is_kept_with_the_model_and_checked(spoken):
    from fad_onnx.weights import converted

    fad_onnx.embed_text("a dog", "toy", weights=spoken)
    (home,) = converted.folders()
    kept = text_files(text_tower(select("toy").model), home)
    assert {name: path.read_bytes() for name, path in kept.items()} == {
        name: spoken[f"toy:{name}"].read_bytes() for name in FILES
    }
    kept["merges"].write_text("d o\n")
    before = expected(spoken, ["a dog"])
    np.testing.assert_allclose(fad_onnx.embed_text("a dog", "toy", weights=spoken), before)
    assert kept["merges"].read_bytes() == spoken["toy:merges"].read_bytes()


def test_a_vocabulary_that_is_none_is_not_kept(spoken, tmp_path):
    from fad_onnx.weights import converted

    (tmp_path / "merges.txt").write_text("no pair of tokens\n")
    with pytest.raises(CheckpointError, match=r"merges\.txt: line 1 is not a pair"):
        fad_onnx.embed_text("a dog", "toy", weights=spoken)
    assert not list(converted.folders())


def evaluate(tmp_path, spoken, **more):
    given = {"captions": tmp_path / "c.jsonl", "weights": spoken, "cache": False, **more}
    return fad_onnx.evaluate(tmp_path / "clips", None, "clap-score:toy", **given)


def cosine(tmp_path, spoken, name):
    samples, _ = soundfile.read(tmp_path / "clips" / name)
    clip, text = samples.mean(axis=0), expected(spoken, [TEXTS[name]])[0].astype(float)
    return float(clip @ text / np.linalg.norm(clip) / np.linalg.norm(text))


def test_the_score_is_the_mean_cosine_over_pairs(spoken, tmp_path):
    found = evaluate(tmp_path, spoken)
    pairs = [cosine(tmp_path, spoken, name) for name in CLIPS]
    assert np.std(pairs) > 0.01
    (result,) = found.to_json()["results"]
    assert result.pop("path") == str(tmp_path / "clips")
    assert result == {
        "metric": "clap-score", "model": "toy", "value": pytest.approx(np.mean(pairs), rel=1e-5),
        "std": pytest.approx(np.std(pairs), rel=1e-4), "pairs": 3,
        "files": 3, "embeddings": 3, "seconds": 6.003,
    }  # fmt: skip
    assert found.to_dict() == {"clap-score:toy": result["value"]}
    assert any("1 of 3 captions were cut at 77 tokens" in text for text in found.warnings)
    made = found.to_json()["protocols"]["toy"][str(tmp_path / "c.jsonl")]
    assert made["captions"] == 3 and set(made["weights"]) == set(FILES)


def test_the_order_of_the_captions_does_not_matter(spoken, tmp_path):
    value = evaluate(tmp_path, spoken).to_dict()
    write(tmp_path / "c.jsonl", reversed(TEXTS.items()))
    assert evaluate(tmp_path, spoken).to_dict() == value


def test_unpaired_clips_are_an_error_before_the_work_or_counted(spoken, tmp_path, monkeypatch):
    write(tmp_path / "c.jsonl", [*list(TEXTS.items())[:2], ("nowhere", "wind")])
    with monkeypatch.context() as patched:
        patched.setattr(prepare, "load_all", lambda *_: pytest.fail("the work has begun"))
        with pytest.raises(UncaptionedError, match=r"sub/c\.flac\); 1 captions .*nowhere"):
            evaluate(tmp_path, spoken)
    found = evaluate(tmp_path, spoken, skip_errors=True)
    ((result,), warnings) = found.to_json()["results"], found.warnings
    assert result["pairs"] == 2
    pairs = [cosine(tmp_path, spoken, name) for name in CLIPS[:2]]
    assert result["value"] == pytest.approx(np.mean(pairs), rel=1e-5)
    assert any("2 pairs of 3 clips and 3 captions" in text for text in warnings)


def test_a_dataset_with_captions_is_listed_once(spoken, tmp_path, monkeypatch):
    looked, find = [], datasets.find
    monkeypatch.setattr(datasets, "find", lambda path: looked.append(path) or find(path))
    evaluate(tmp_path, spoken)
    assert looked == [tmp_path / "clips"]


def test_only_captions_of_clips_are_embedded(spoken, tmp_path, monkeypatch):
    from fad_onnx.networks.text import TextEmbedder

    more = [(f"nowhere/{number}", f"rain {number}") for number in range(50)]
    write(tmp_path / "c.jsonl", [*TEXTS.items(), *more])
    seen, embed = [], TextEmbedder.embed
    monkeypatch.setattr(
        TextEmbedder,
        "embed",
        lambda self, these, *rest: seen.extend(these) or embed(self, these, *rest),
    )
    evaluate(tmp_path, spoken, skip_errors=True)
    assert len(seen) == 3


def test_embeddings_of_captions_are_cached(spoken, tmp_path, monkeypatch):
    from fad_onnx.networks.text import TextEmbedder

    ran, run = [], TextEmbedder.run
    monkeypatch.setattr(TextEmbedder, "run", lambda self, ids: ran.append(ids) or run(self, ids))
    first = evaluate(tmp_path, spoken, cache=True).to_dict()
    assert ran and evaluate(tmp_path, spoken, cache=False).to_dict() == first
    ran.clear()
    assert evaluate(tmp_path, spoken, cache=True).to_dict() == first
    assert not ran
    write(tmp_path / "c.jsonl", [*list(TEXTS.items())[:2], ("sub/c", "another")])
    assert evaluate(tmp_path, spoken, cache=True).to_dict() != first
    assert sum(map(len, ran)) == 1


def test_the_report_shows_the_caption_of_a_clip(spoken, tmp_path):
    pytest.importorskip("matplotlib")
    from fad_onnx import report

    found = evaluate(tmp_path, spoken)
    (value,) = found.results[0].metrics.values()
    assert dict(value.blame().texts) == TEXTS
    worst = min(CLIPS, key=lambda name: cosine(tmp_path, spoken, name))
    assert value.blame().clips[0][0] == worst
    page = report.write(tmp_path / "r.html", found.results, differences=()).read_text("utf-8")
    assert "a dog" in page and "How well clips fit their captions" in page


def test_embeddings_of_a_file_have_their_names_too(spoken, tmp_path):
    fad_onnx.embed(tmp_path / "clips", "toy", output=tmp_path / "e.npz", weights=spoken)
    given = {"captions": tmp_path / "c.jsonl", "weights": spoken}
    found = fad_onnx.evaluate(tmp_path / "e.npz", None, "clap-score:toy", **given)
    assert found.to_dict() == evaluate(tmp_path, spoken).to_dict()
    fad_onnx.stats(tmp_path / "clips", tmp_path / "s.npz", "toy", weights=spoken)
    with pytest.raises(StatisticsError, match="clap-score needs embeddings"):
        fad_onnx.evaluate(tmp_path / "s.npz", None, "clap-score:toy", **given)


def test_captions_are_needed_and_must_be_needed(spoken, tmp_path):
    with pytest.raises(OptionError, match="captions: clap-score needs captions"):
        evaluate(tmp_path, spoken, captions=None)
    with pytest.raises(OptionError, match="captions: none of the requested metrics"):
        fad_onnx.evaluate(
            tmp_path / "clips", tmp_path / "clips", "fad:toy", captions=tmp_path / "c.jsonl"
        )
    for metric in ("clap-score", "clap-score:logmel"):
        with pytest.raises(OptionError, match="clap-score needs a text tower, which .* does not"):
            fad_onnx.evaluate(tmp_path / "clips", None, metric, captions=tmp_path / "c.jsonl")


def test_the_clap_score_takes_the_model_of_a_file(spoken, tmp_path):
    made = fad_onnx.embed(tmp_path / "clips", "toy", output=tmp_path / "e.npz", cache=False)
    expected = evaluate(tmp_path, spoken).to_dict()
    for evaluation in (tmp_path / "e.npz", made):
        found = fad_onnx.evaluate(
            evaluation, None, "clap-score", captions=tmp_path / "c.jsonl", weights=spoken
        )
        assert found.to_dict() == pytest.approx(expected, rel=1e-6)
    other = fad_onnx.embed(tmp_path / "clips", "logmel", cache=False)
    with pytest.raises(OptionError, match="clap-score needs a text tower, which logmel does not"):
        fad_onnx.evaluate(other, None, "clap-score", captions=tmp_path / "c.jsonl")


def test_without_the_vocabulary_nothing_is_embedded(spoken, tmp_path, monkeypatch):
    monkeypatch.setattr(prepare, "load_all", lambda *_: pytest.fail("the work has begun"))
    with pytest.raises((DownloadError, CheckpointError), match="vocab"):
        evaluate(tmp_path, {})


def test_the_command_line_prints_tables_and_writes_a_csv(spoken, tmp_path, capsys):
    weights = [part for key, path in spoken.items() for part in ("--weights", f"{key}={path}")]
    call = ["evaluate", str(tmp_path / "clips"), "--metric", "clap-score:toy", "--no-cache",
            "--captions", str(tmp_path / "c.jsonl"), "--csv", str(tmp_path / "t.csv"),
            *weights]  # fmt: skip
    assert main([*call, "--json"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    (row,) = csv.DictReader((tmp_path / "t.csv").open())
    assert float(row["value"]) == result["value"] and float(row["std"]) == result["std"]
    assert row["pairs"] == "3" and row["metric"] == "clap-score"
    assert main([*call, "--markdown"]) == 0
    assert "CLAP score toy ↑" in capsys.readouterr().out
    assert main([*call, "--latex"]) == 0
    assert r"CLAP score toy $\uparrow$" in capsys.readouterr().out
    assert main(call[:4]) == 2
    assert "--captions: clap-score" in capsys.readouterr().err


def test_cosines_are_those_of_the_harnesses():
    """frechet-audio-distance adds 1e-8 to the lengths, torch takes at least that."""
    random = np.random.RandomState(0)
    audio, text = (random.standard_normal((50, 512)).astype(np.float32) for _ in range(2))
    audio, text = (one / np.linalg.norm(one, axis=1, keepdims=True) for one in (audio, text))
    added = [one / (np.linalg.norm(one, axis=-1, keepdims=True) + 1e-8) for one in (audio, text)]
    np.testing.assert_allclose(cosines(audio, text), (added[1] @ added[0].T).diagonal(), atol=3e-8)
    assert cosines(np.zeros((1, 4)), np.ones((1, 4))).tolist() == [0.0]
    np.testing.assert_allclose(cosines(3 * audio, text), cosines(audio, text), atol=1e-7)
    with pytest.raises(StatisticsError, match="no pairs"):
        cosines(audio, text[:3])


@pytest.fixture
def drop_in(spoken, tmp_path):
    write(tmp_path / "c.csv", TEXTS.items())
    return fad_onnx.CLAPScore(submodel_name="toy", weights=spoken, cache=False)


def test_the_drop_in_gives_mean_and_deviation_over_pairs_of_names(drop_in, spoken, tmp_path):
    (result,) = evaluate(tmp_path, spoken).to_json()["results"]
    expected = pytest.approx((result["value"], result["std"]))
    assert drop_in.score(tmp_path / "c.csv", tmp_path / "clips") == expected
    rows = [(text, name) for name, text in reversed(TEXTS.items())]
    with (tmp_path / "other.csv").open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("text", "file"), *rows])
    assert drop_in.score(str(tmp_path / "other.csv"), str(tmp_path / "clips"), "text") == expected
    with pytest.raises(CaptionError, match="needs one column `caption`"):
        drop_in.score(tmp_path / "other.csv", tmp_path / "clips")


def test_the_drop_in_keeps_embeddings_and_reads_them(drop_in, tmp_path):
    files = {"text_embds_path": tmp_path / "t.npy", "audio_embds_path": tmp_path / "a.npy"}
    first = drop_in.score(tmp_path / "c.csv", tmp_path / "clips", **files)
    assert [np.load(path).shape for path in files.values()] == [(3, 2), (3, 2)]
    assert drop_in.score("nowhere", "nowhere", **files) == first
    for name in files:
        one = {name: files[name]}
        assert drop_in.score(tmp_path / "c.csv", tmp_path / "clips", **one) == pytest.approx(first)
    np.save(files["text_embds_path"], np.ones((2, 2)))
    with pytest.raises(StatisticsError, match=r"shape \(2, 2\), the audio's is \(3, 2\)"):
        drop_in.score(tmp_path / "c.csv", tmp_path / "clips", **files)
    np.save(files["text_embds_path"], np.ones((3, 5)))
    with pytest.raises(StatisticsError, match="not of this model"):
        drop_in.score(tmp_path / "c.csv", tmp_path / "clips", **files)


def test_what_the_drop_in_of_the_original_answers_with_minus_one_raises(drop_in, tmp_path):
    write(tmp_path / "c.csv", list(TEXTS.items())[:2])
    with pytest.raises(UncaptionedError, match=r"1 clips .*sub/c\.flac"):
        drop_in.score(tmp_path / "c.csv", tmp_path / "clips")
    with pytest.raises(CaptionError, match="No such file"):
        drop_in.score(tmp_path / "none.csv", tmp_path / "clips")
    with pytest.raises(NoAudioError):
        drop_in.score(tmp_path / "c.csv", tmp_path / "none")
    with pytest.raises(OptionError, match="no model fits"):
        fad_onnx.CLAPScore(submodel_name="music")
    with pytest.raises(KeywordError):
        fad_onnx.CLAPScore(verbos=True)


def test_the_drop_in_goes_on_without_what_has_no_partner_if_asked(spoken, tmp_path):
    (tmp_path / "clips" / "d.wav").write_text("no audio")
    write(tmp_path / "c.csv", [*TEXTS.items(), ("d", "wind"), ("nowhere", "x")])
    going = fad_onnx.CLAPScore(submodel_name="toy", weights=spoken, cache=False, skip_errors=True)
    (result,) = evaluate(tmp_path, spoken, skip_errors=True).to_json()["results"]
    assert result["pairs"] == 3
    found = going.score(tmp_path / "c.csv", tmp_path / "clips")
    assert found == pytest.approx((result["value"], result["std"]))


def test_the_drop_in_embeds_arrays_and_survives_a_pickle(drop_in, spoken):
    samples = synthetic.clip(3, 1500, 2).T
    found = drop_in.get_audio_embeddings([samples, samples], sr=1000)
    np.testing.assert_allclose(found, [samples.mean(axis=0)] * 2, rtol=1e-5)
    text = drop_in.get_text_embeddings(["a dog", "dog"])
    again = pickle.loads(pickle.dumps(drop_in))
    np.testing.assert_array_equal(again.get_text_embeddings(["a dog", "dog"]), text)
    assert drop_in.calculate_clap_score(text, found) == again.calculate_clap_score(text, found, 7)
    with pytest.raises(NoAudioError):
        drop_in.get_audio_embeddings([], sr=1000)


def test_streaming_takes_captions_with_the_clips(spoken, tmp_path):
    expected = evaluate(tmp_path, spoken).to_dict()
    streaming = fad_onnx.StreamingEvaluation("clap-score:toy", weights=spoken)
    for name, text in TEXTS.items():
        samples, rate = soundfile.read(tmp_path / "clips" / name)
        streaming.update(samples, rate, text)
    assert streaming.compute() == pytest.approx(expected, rel=1e-6)
    # Captions go with their clips where these are numbered anew.
    merged = fad_onnx.StreamingEvaluation("clap-score:toy", weights=spoken)
    for name, text in TEXTS.items():
        process = fad_onnx.StreamingEvaluation("clap-score:toy", weights=spoken)
        samples, rate = soundfile.read(tmp_path / "clips" / name)
        process.update(samples, rate, text)
        merged.merge_state([process])
    assert merged.compute() == streaming.compute()
    streaming.reset()
    samples, rate = soundfile.read(tmp_path / "clips" / "a.wav")
    streaming.update(samples, rate)
    with pytest.raises(OptionError, match="clap-score needs captions"):
        streaming.compute()


def test_the_report_shows_captions(spoken, tmp_path):
    pytest.importorskip("matplotlib")
    from fad_onnx import report

    found = evaluate(tmp_path, spoken)
    page = report.write(tmp_path / "r.html", found.results, differences=()).read_text("utf-8")
    assert "Caption: <q>" in page and "rain, &#34;heavy&#34;\\nand loud" in page
    assert page.count('aria-label="Listen to ') == len(CLIPS) and "Its reference" not in page
