"""What results say of how their datasets were made is what was done, of each dataset."""

import csv
import json
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import fad_onnx
from fad_onnx.audio.sources import AudioFile
from fad_onnx.cli import main
from fad_onnx.errors import IncompatibleStatisticsError, StatisticsError
from fad_onnx.files import archives
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline import executors, provenance
from fad_onnx.pipeline.metadata import Metadata
from fad_onnx.report import tables
from fad_onnx.weights import prepare

from .conftest import write_clip
from .kit import WEIGHTLESS
from .report_factory import audio_set, score
from .test_weights import ENTRY, bound

DIM = table.model(WEIGHTLESS).output().width


def reworded(path, **changed):
    """The statistics or embeddings file with other metadata; keys of the protocol as "protocol"."""
    with np.load(path) as stored:
        arrays = dict(stored)
    metadata = json.loads(str(arrays["metadata"]))
    metadata["protocol"] |= changed.pop("protocol", {})
    metadata |= changed
    arrays["metadata"] = np.array(json.dumps(metadata))
    np.savez(path, **arrays)
    return path


@pytest.fixture
def made(clips, tmp_path):
    """Statistics by the name of what differs in them."""
    differing = {
        "plain": {},
        "skip": {"short_clips": "skip"},
        "cuda": {"provider": "CUDAExecutionProvider", "onnxruntime": "1.18.0"},
        "old": {"fad_onnx": "0.0.1", "graph_sha256": "0" * 64},
    }
    for name, protocol in differing.items():
        fad_onnx.stats(clips, tmp_path / f"{name}.npz", WEIGHTLESS)
        reworded(tmp_path / f"{name}.npz", protocol=protocol)
    return tmp_path


def said(capsys, *paths, code=0):
    assert main(["score", *map(str, paths), "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_every_result_says_how_both_its_datasets_were_made(made, capsys):
    for names in (("skip", "cuda"), ("cuda", "skip")):
        found = said(capsys, made / "plain.npz", *(made / f"{name}.npz" for name in names))
        short = {"skip": "skip", "cuda": "error"}
        provider = {"skip": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
        for name, result in zip(names, found["results"], strict=True):
            protocol = result["protocol"]
            assert protocol["reference"]["short_clips"] == "error"
            assert protocol["reference"]["provider"] == "CPUExecutionProvider"
            assert protocol["evaluation"]["short_clips"] == short[name]
            assert protocol["evaluation"]["provider"] == provider[name]
            assert protocol["evaluation"]["fingerprint"] == protocol["reference"]["fingerprint"]
        shared = found["models"][WEIGHTLESS]["protocol"]
        assert shared["preparation"]["resampler"] == "soxr_hq"
        assert not {"short_clips", "provider", "onnxruntime"} & set(shared)


def test_the_live_side_and_the_stored_one_are_told_apart(clips, made):
    live = fad_onnx.score(made / "cuda.npz", clips, short="skip")
    assert live.protocol["reference"]["provider"] == "CUDAExecutionProvider"
    assert live.protocol["evaluation"]["provider"] == "CPUExecutionProvider"
    assert live.protocol["evaluation"]["short_clips"] == "skip"
    back = fad_onnx.score(clips, made / "cuda.npz", short="skip")
    assert back.protocol == {
        "reference": live.protocol["evaluation"], "evaluation": live.protocol["reference"]
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "differing"),
    [
        ("skip", "short clips error and skip"),
        ("cuda", "provider CPUExecutionProvider and CUDAExecutionProvider; ONNX Runtime {} and 1"),
        ("old", "fad-onnx {} and 0.0.1; graph {} and 0000"),
    ],
)
def test_what_differs_between_both_is_a_warning_with_both_values(made, name, differing):
    first, second = made / "plain.npz", made / f"{name}.npz"
    found = fad_onnx.score(first, second).warnings
    pattern = re.escape(f"{first} and {second} were made differently: {differing}")
    assert any(re.match(pattern.replace(r"\{\}", r"[\w.]+"), text) for text in found), found
    assert not any("differently" in text for text in fad_onnx.score(first, first).warnings)


def test_what_one_of_both_does_not_record_is_said(made):
    path = reworded(made / "skip.npz", protocol={"provider": None, "short_clips": "error"})
    found = " ".join(fad_onnx.score(made / "plain.npz", path).warnings)
    assert "provider CPUExecutionProvider and not recorded" in found


def test_of_foreign_statistics_nothing_is_claimed(made, capsys):
    np.savez(made / "foreign.npz", mu=np.zeros(DIM), sigma=np.eye(DIM))
    for pair in (("foreign", "cuda"), ("cuda", "foreign")):
        found = said(capsys, *(made / f"{name}.npz" for name in pair))
        (result,) = found["results"]
        sides = dict(zip(pair, ("reference", "evaluation"), strict=True))
        assert result["protocol"][sides["foreign"]] == {}
        assert result["protocol"][sides["cuda"]]["provider"] == "CUDAExecutionProvider"
        assert any("nothing says how they were made" in text for text in found["warnings"])
        assert not any("differently" in text for text in found["warnings"])


def test_own_statistics_without_a_word_of_their_making_say_so(made):
    path = reworded(made / "skip.npz", fingerprint=None)
    assert any(
        "nothing in it says how it was made" in text
        for text in fad_onnx.score(made / "plain.npz", path).warnings
    )


def test_a_table_holds_what_both_sides_record(made):
    table = made / "t.csv"
    pair = [str(made / "plain.npz"), str(made / "cuda.npz")]
    for paths in (pair, pair[::-1]):
        assert main(["score", *paths, "--csv", str(table)]) == 0
    first, second = csv.DictReader(table.open())
    assert first["provider"] == second["reference_provider"] == "CUDAExecutionProvider"
    assert first["reference_provider"] == second["provider"] == "CPUExecutionProvider"
    assert first["onnxruntime"] == "1.18.0" != first["reference_onnxruntime"]
    assert first["short_clips"] == "error" and first["fingerprint"] and first["embeddings"]


def test_a_report_has_a_column_for_datasets_made_alike():
    files = ["a.wav", "b.wav"]

    def one(path, **protocol):
        return audio_set(path, [AudioFile(n, n) for n in files], extra={"protocol": protocol})

    wanted = fad_onnx.Wanted()
    reference = one("ref", short_clips="error", dimension=8)
    scores = [
        score(reference, one(path, short_clips=short, dimension=8), wanted)
        for path, short in (("x", "pad"), ("y", "error"), ("z", "pad"))
    ]
    found = tables.protocol("m", scores)
    assert found.heads == ("ref, y", "x, z") and found.unknown == ()
    assert tables.Setting("short_clips", ("error", "pad")) in found.settings
    assert tables.Setting("dimension", ("8",)) in found.settings
    bare = replace(one("foreign"), metadata=Metadata())
    found = tables.protocol("m", [replace(scores[0], evaluation=bare)])
    assert found.heads == ("ref",) and found.unknown == ("foreign",)


# Merging.


def test_a_merge_keeps_what_its_parts_record_and_says_where_they_differ(made, capsys):
    parts = [made / f"{name}.npz" for name in ("plain", "cuda", "skip", "plain")]
    whole = archives.merge(parts, made / "whole.npz")
    for found in (whole, archives.read_set(made / "whole.npz")):
        protocol = found.provenance
        assert protocol["provider"] == ["CPUExecutionProvider", "CUDAExecutionProvider"]
        assert protocol["short_clips"] == ["error", "skip"]
        assert protocol["onnxruntime"][1] == "1.18.0"
        assert protocol["preparation"]["resampler"] == "soxr_hq"
        (text,) = [text for text in found.warnings if "made differently" in text]
        assert "its parts were made differently: short clips error, skip; provider CPUEx" in text
    # Against one of its parts it differs, and the merge of merges forgets nothing.
    found = " ".join(fad_onnx.score(made / "plain.npz", made / "whole.npz").warnings)
    assert "short clips error and error, skip" in found
    again = archives.merge([made / "old.npz", made / "whole.npz"], made / "again.npz")
    assert again.provenance["provider"] == protocol["provider"]
    assert "0.0.1" in again.provenance["fad_onnx"] and len(again.provenance["fad_onnx"]) == 2
    assert main(["score", str(made / "again.npz"), str(made / "again.npz"), "--json"]) == 0
    capsys.readouterr()


def test_parts_made_alike_merge_without_a_word(made):
    whole = archives.merge([made / "plain.npz"] * 2, made / "whole.npz")
    assert whole.provenance == archives.read_set(made / "plain.npz").provenance
    assert not any("differently" in text for text in whole.warnings)


def test_the_weights_names_and_licences_of_parts_are_all_kept(made):
    files = {"a": {"main": {"file": "a.pth", "sha256": "1"}}, "b": {"main": {"file": "b.pth"}}}
    reworded(made / "plain.npz", weights=files["a"], name="Songs", licence="CC0")
    reworded(made / "skip.npz", weights=files["b"], name="Songs", licence=None)
    whole = archives.merge([made / "plain.npz", made / "skip.npz"], made / "whole.npz")
    assert whole.metadata.weights == {"main": {"file": ["a.pth", "b.pth"], "sha256": "1"}}
    assert whole.metadata.name == "Songs" and whole.metadata.licence == "CC0; not recorded"


def test_parts_of_which_nothing_is_known_do_not_pass_for_others(made):
    unknown = reworded(made / "skip.npz", fingerprint=None, protocol={})
    with np.load(unknown) as stored:
        arrays = {**stored, "metadata": np.array("{}")}
    np.savez(unknown, **arrays)
    for pair in (("plain", "skip"), ("skip", "plain")):
        with pytest.raises(IncompatibleStatisticsError, match="nothing says how"):
            archives.merge([made / f"{name}.npz" for name in pair], made / "whole.npz")


def test_values_come_together():
    assert provenance.together([1, None, 1]) == 1
    assert provenance.together([None]) is None
    assert provenance.together(["a", ["b", "a"], "c"]) == ["a", "b", "c"]
    assert provenance.together([{"x": 1}, {"x": 2, "y": 3}]) == {"x": [1, 2], "y": 3}
    assert provenance.text(["a\x1b", None, 1.5]) == "a\\x1b, not recorded, 1.5"


# Files of version 1.


def test_metadata_that_call_embeddings_rows_are_still_read(made, clips):
    path = made / "plain.npz"
    expected = archives.read_set(path)
    with np.load(path) as file:
        arrays = dict(file)
    metadata = json.loads(str(arrays["metadata"]))
    metadata["rows"] = metadata.pop("embeddings")
    metadata["largest_file"]["rows"] = metadata["largest_file"].pop("embeddings")
    np.savez(path, **{**arrays, "metadata": np.array(json.dumps(metadata))})
    found = archives.read_set(path)
    assert found.metadata == expected.metadata and found.warnings == expected.warnings
    metadata["largest_file"] = {"name": "x", "rows": "many"}
    np.savez(path, **{**arrays, "metadata": np.array(json.dumps(metadata))})
    with pytest.raises(StatisticsError, match=r"largest_file\.embeddings"):
        archives.read_set(path)


# What reaches the network, and what a fingerprint is of.


def test_the_users_weights_are_those_that_score(tmp_path):
    """And what is on record of them is theirs."""
    paths = {}
    for seed, name in enumerate(("official", "own")):
        paths[name] = tmp_path / f"{name}.npz"
        np.savez(paths[name], **synthetic.tensors(bound(ENTRY), seed))
    seconds = max(3.0, 4 * ENTRY.preparation.minimum_samples / ENTRY.preparation.sample_rate_hz)
    for side in ("ref", "gen"):
        for index in range(3):
            write_clip(tmp_path / side / f"{index}.wav", index + 3 * (side == "gen"), seconds)
    scores = {
        name: fad_onnx.score(tmp_path / "ref", tmp_path / "gen", ENTRY.name, weights=path)
        for name, path in paths.items()
    }
    assert scores["own"].value != scores["official"].value
    for name, found in scores.items():
        expected = prepare.load(
            prepare.Request(ModelSpec(ENTRY.name, weights={"main": str(paths[name])}))
        )
        for side in found.protocol.values():
            assert side["fingerprint"] == expected.fingerprint
            assert side["weights"]["main"]["sha256"] == expected.weights["main"]["sha256"]


def test_another_resampler_is_another_fingerprint(monkeypatch):
    one = select(WEIGHTLESS)
    other = replace(one, preparation=replace(one.preparation, resampler="another"))
    assert other.fingerprint("t") != one.fingerprint("t")


def test_what_decodes_a_file_is_what_is_on_record(tmp_path):
    """A float that int16 cuts off: the embeddings are those of the format on record."""
    write_clip(tmp_path / "a.wav", 1, 3)
    made = {form: fad_onnx.stats(tmp_path, None, WEIGHTLESS, sample_format=form)
            for form in ("float32", "int16")}  # fmt: skip
    for form, one in made.items():
        assert one.metadata.protocol["preparation"]["sample_format"] == form
    assert made["int16"].metadata.fingerprint != made["float32"].metadata.fingerprint


# Parts without embeddings.


def test_a_part_whose_clips_are_all_skipped_merges_with_the_rest(tmp_path, capsys):
    for index in range(2):
        write_clip(tmp_path / "set" / f"a{index}.wav", index, 0.5)
        write_clip(tmp_path / "set" / f"b{index}.wav", index, 3)
    folder, asked = str(tmp_path / "set"), ["-m", WEIGHTLESS, "--short", "skip"]
    whole = fad_onnx.stats(folder, None, WEIGHTLESS, short="skip")
    parts = [str(tmp_path / f"{part}.npz") for part in (1, 2)]
    for part, path in enumerate(parts, 1):
        assert main(["stats", folder, "-o", path, "--shard", f"{part}/2", *asked]) == 0
    assert "0 files, 0 embeddings" in capsys.readouterr().out
    with np.load(parts[0]) as stored:
        assert stored["count"] == 0
    for order in (parts, parts[::-1]):
        made = archives.merge(order, tmp_path / "all.npz")
        assert made.metadata.to_json() == json.loads(json.dumps(whole.metadata.to_json()))
        np.testing.assert_array_equal(made.moments.mean, whole.moments.mean)
    # Alone it cannot be scored, and a dataset without any embedding stays an error.
    assert main(["score", parts[0], parts[1]]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert "1.npz: 0 embeddings, a covariance needs at least 2" in error
    for index in range(2):
        (tmp_path / "set" / f"b{index}.wav").unlink()
    for part, path in enumerate(parts, 1):
        assert main(["stats", folder, "-o", path, "--shard", f"{part}/2", *asked]) == 0
    assert main(["merge", *parts, "-o", str(tmp_path / "none.npz")]) == 1
    assert main(["stats", folder, "-o", str(tmp_path / "none.npz"), *asked]) == 1
    assert not (tmp_path / "none.npz").exists()


def test_more_parts_than_files_and_parts_that_are_all_broken(tmp_path):
    for index in range(3):
        write_clip(tmp_path / "set" / f"{index}.wav", index, 3)
    (tmp_path / "set" / "1.wav").write_text("broken")
    whole = fad_onnx.stats(tmp_path / "set", None, WEIGHTLESS, skip_errors=True)
    parts = [tmp_path / f"{part}.npz" for part in range(1, 6)]
    for part, path in enumerate(parts, 1):
        fad_onnx.stats(
            tmp_path / "set", path, WEIGHTLESS, shard=f"{part}/5", skip_errors=True
        )  # fmt: skip
    assert sorted(np.load(path)["count"].item() > 0 for path in parts) == [False] * 3 + [True] * 2
    made = archives.merge(parts, tmp_path / "all.npz")
    assert made.metadata.files_skipped == 1 == whole.metadata.files_skipped
    np.testing.assert_allclose(made.moments.mean, whole.moments.mean, rtol=1e-12)
    assert made.moments.count == whole.moments.count


def test_metadata_that_count_otherwise_than_the_file_are_refused(made):
    with pytest.raises(StatisticsError, match="metadata: 7 embeddings, the file holds"):
        archives.read_set(reworded(made / "plain.npz", embeddings=7))


def test_workers_that_differ_from_each_other_are_on_record(clips, monkeypatch):
    """Their versions and providers, not those of the caller."""
    monkeypatch.setattr(executors, "CHUNK_FILES", 4)
    real = executors.versions
    turns = iter(["CUDAExecutionProvider", "CPUExecutionProvider", "CUDAExecutionProvider"])
    here = executors._here

    def elsewhere(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            provider = next(turns)
            patch.setattr(executors, "versions", lambda one: {**real(one), "provider": provider})
            yield from here(*arguments)

    monkeypatch.setattr(executors, "_here", elsewhere)
    with ThreadPoolExecutor(1) as executor:
        made = fad_onnx.stats(clips, None, WEIGHTLESS, executor=executor)
    assert made.provenance["provider"] == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert isinstance(made.provenance["onnxruntime"], str)
    assert any("its parts were made differently: provider CUDA" in text for text in made.warnings)


@pytest.mark.parametrize(
    "checked",
    [
        5,
        "none at all",
        ["none", 5],
        *(pytest.param(one, marks=pytest.mark.large) for one in (None, {"none": 1}, [[]])),
    ],
)
def test_weights_on_record_may_say_anything(made, checked):
    weights = {"main": {"file": ["a.pth", "b.pth"], "checked": checked}, "other": 7}
    path = reworded(made / "skip.npz", weights=weights)
    found = archives.merge([path, made / "plain.npz"], made / "whole.npz")
    unvouched = [text for text in found.warnings if "whether a.pth, b.pth is the" in text]
    assert bool(unvouched) == (checked == ["none", 5])
