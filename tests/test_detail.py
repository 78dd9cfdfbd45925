"""What --inf, --ci, --kad and --per-file print, and what they refuse."""

import csv
import json
import shutil

import numpy as np
import pytest

from fad_onnx.api import functions, making
from fad_onnx.api.measure import Wanted
from fad_onnx.errors import OptionError, StatisticsError
from fad_onnx.metrics.definitions.fad import few
from fad_onnx.metrics.fad_infinity import fad_infinity
from fad_onnx.metrics.frechet import frechet_distance
from fad_onnx.metrics.moments import Moments
from fad_onnx.networks import table
from fad_onnx.pipeline.metadata import Metadata
from fad_onnx.pipeline.remarks import warnings

from .conftest import write_clip
from .test_cli import WEIGHTLESS, run  # noqa: F401 - a fixture

EVERYTHING = Wanted(inf=True, ci=0.9, kad=True, per_file=True, seed=3)


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name, first in (("a", 0), ("b", 200)):
        for index in range(24):
            write_clip(folder / name / f"{index:02}.wav", first + index, 1 + 9 * (index % 5 != 0))
    return folder / "a", folder / "b"


@pytest.fixture(scope="module")
def score(sets):
    return functions.score(*sets, WEIGHTLESS, EVERYTHING, cache=False)


def test_json_carries_what_was_asked_for(run, sets):  # noqa: F811
    said = json.loads(
        run("score", *sets, "--json", "--inf", "--kad", "--ci", "0.9", "--seed", "3").out
    )
    (result,) = said["results"]
    assert isinstance(result["fad_inf"], float) and result["fad_inf"] < result["fad"]
    assert set(result["fad_inf_fit"]) == {"r2", "sizes", "values"}
    low, high = result["fad_ci"]
    assert low < result["fad"] < high
    assert isinstance(result["kad"], float)
    plain = json.loads(run("score", *sets, "--json").out)["results"][0]
    assert not {"fad_inf", "fad_ci", "kad"} & set(plain)


@pytest.mark.large
def test_a_seed_gives_the_same_numbers_and_another_seed_others(score, sets):
    again = functions.score(*sets, WEIGHTLESS, EVERYTHING, cache=False)
    assert again.metrics["fad-inf"] == score.metrics["fad-inf"]
    other = functions.score(*sets, WEIGHTLESS, Wanted(inf=True, seed=4), cache=False)
    assert other.metrics["fad-inf"].value != score.metrics["fad-inf"].value


@pytest.mark.large
def test_fad_infinity_draws_clips_unless_embeddings_are_asked_for(run, sets, tmp_path):  # noqa: F811
    made = functions.score(*sets, WEIGHTLESS, Wanted(per_file=True), cache=False)
    vectors = made.evaluation.embeddings_by_file
    found = {}
    for draw, by_clip in (("clips", [len(one) for one in vectors]), ("embeddings", None)):
        flags = [] if draw == "clips" else ["--inf-draw", draw]
        table = tmp_path / f"{draw}.csv"
        printed = run("score", *sets, "--json", "--inf", *flags, "--seed", "3", "--csv", table)
        (result,) = json.loads(printed.out)["results"]
        expected = fad_infinity(made.reference.moments, np.concatenate(vectors), 3, by_clip)
        assert result["fad_inf"] == expected.value and result["fad_inf_draw"] == draw
        (line,) = csv.DictReader(table.read_text().splitlines())
        assert line["fad_inf_draw"] == draw and float(line["fad_inf"]) == expected.value
        assert f"fad_inf({draw})" in run("score", *sets, "--inf", *flags).out.splitlines()[0]
        found[draw] = expected.value
    assert found["clips"] < found["embeddings"]
    with pytest.raises(OptionError, match="'files' is neither clips nor embeddings"):
        Wanted(inf_draw="files")


def test_clips_come_with_their_influence_highest_first(score):
    files = score.files
    assert len(files) == 24 and sorted({file.embeddings for file in files}) == [1, 10]
    influences = [file.influence for file in files]
    assert influences == sorted(influences, reverse=True) and influences[0] > 0 > influences[-1]
    reference = score.reference.moments
    by_name = dict(zip((f.file.name for f in score.evaluation.files),
                       score.evaluation.embeddings_by_file, strict=True))  # fmt: skip
    for file in files:
        rest = np.concatenate([vectors for name, vectors in by_name.items() if name != file.name])
        without = frechet_distance(Moments.of(rest), reference)
        assert file.influence == pytest.approx(score.value - without, rel=1e-5)
        vectors = by_name[file.name].astype(np.float64)
        if len(vectors) == 1:
            direct = ((vectors[0] - reference.mean) ** 2).sum() + np.trace(reference.covariance())
        else:
            direct = frechet_distance(Moments.of(vectors), reference)
        assert file.fad == pytest.approx(direct, rel=1e-9)
        distance = np.linalg.norm(vectors.mean(axis=0) - reference.mean)
        assert file.mean_distance == pytest.approx(distance, rel=1e-9)


def test_the_csv_of_clips_starts_with_its_header(run, sets, tmp_path):  # noqa: F811
    run("score", sets[0], sets[1], sets[0], "--per-file", tmp_path / "files.csv")
    with open(tmp_path / "files.csv", newline="") as lines:
        reader = csv.DictReader(lines)
        rows = list(reader)
    assert ",".join(reader.fieldnames) == (
        "model,dataset,path,embeddings,seconds,influence,fad,mean_distance"
    )
    influences = [float(row["influence"]) for row in rows]
    assert influences == sorted(influences, reverse=True)
    datasets = [row["dataset"] for row in rows]
    assert datasets != sorted(datasets) and datasets != sorted(datasets, reverse=True)
    for path in (sets[1], sets[0]):
        own = [row for row in rows if row["dataset"] == str(path)]
        assert sorted(row["path"] for row in own) == [f"{i:02}.wav" for i in range(24)]
    assert {row["embeddings"] for row in rows} == {"1", "10"}


def test_the_only_clip_of_a_set_has_the_whole_distance(run, sets, tmp_path):  # noqa: F811
    table = tmp_path / "one.csv"
    found = run("score", sets[0], sets[1] / "01.wav", "--json", "--per-file", table)
    (row,) = csv.DictReader(table.read_text().splitlines())
    assert float(row["influence"]) == pytest.approx(json.loads(found.out)["results"][0]["fad"])


def test_too_few_rows_are_null_with_a_warning_and_the_command_goes_on(run, sets):  # noqa: F811
    found = run("score", sets[0], sets[1] / "01.wav", "--json", "--inf", "--ci")
    said = json.loads(found.out)
    (result,) = said["results"]
    assert result["fad_inf"] is None and result["fad_ci"] is None and result["fad"] > 0
    assert any(
        "192 embeddings at 128 dimensions, there are 10" in text for text in said["warnings"]
    )
    assert any("at least 10 clips" in text for text in said["warnings"])


def test_statistics_are_refused_where_rows_are_needed(run, sets, tmp_path):  # noqa: F811
    run("stats", sets[0], "-o", tmp_path / "a.npz")
    run("embed", sets[1], "-o", tmp_path / "b.npz")
    for flag in ("--inf", "--ci", "--kad"):
        error = run("score", sets[1], tmp_path / "a.npz", flag, code=1).err
        assert "holds statistics without embeddings" in error
    assert "kad needs embeddings" in run("score", tmp_path / "a.npz", sets[1], "--kad", code=1).err
    # A reference of statistics stays fixed; only the evaluation set is resampled.
    found = run("score", tmp_path / "a.npz", sets[1], "--json", "--inf", "--ci")
    (result,) = json.loads(found.out)["results"]
    assert result["fad_ci"][0] < result["fad"] and result["fad_ci_files"] == [24, None]
    live = json.loads(run("score", *sets, "--json", "--ci").out)["results"][0]
    assert live["fad_ci_files"] == [24, 24]
    assert live["fad_ci"][1] - live["fad_ci"][0] > result["fad_ci"][1] - result["fad_ci"][0]


@pytest.mark.large
def test_results_say_whether_the_sets_were_paired_by_name(run, sets, tmp_path):  # noqa: F811
    """The two folders hold the same names, as a codec's input and output do."""
    for index in range(24):
        (tmp_path / "others").mkdir(exist_ok=True)
        shutil.copy(sets[1] / f"{index:02}.wav", tmp_path / "others" / f"other{index:02}.wav")
    run("embed", sets[1], "-o", tmp_path / "same.npz")
    run("stats", sets[0], "-o", tmp_path / "fixed.npz")
    for reference, evaluation, pairs, said in (
        (sets[0], sets[1], 24, "(24 pairs)"),
        (sets[0], tmp_path / "same.npz", 24, "(24 pairs)"),
        (sets[0], tmp_path / "others", 0, "(independent)"),
        (tmp_path / "fixed.npz", sets[1], 0, "(fixed reference)"),
    ):
        table = tmp_path / f"{pairs}{evaluation.name}.csv"
        found = run("score", reference, evaluation, "--json", "--ci", "--csv", table)
        (result,) = json.loads(found.out)["results"]
        assert result["fad_ci_pairs"] == pairs
        assert [line["fad_ci_pairs"] for line in csv.DictReader(table.open())] == [str(pairs)]
        assert said in run("score", reference, evaluation, "--ci").out


@pytest.mark.large
def test_a_report_on_statistics_leaves_out_what_needs_their_rows(run, sets, tmp_path):  # noqa: F811
    pytest.importorskip("matplotlib")
    run("stats", sets[0], "-o", tmp_path / "a.npz")
    run("score", tmp_path / "a.npz", sets[1], "--report", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    assert 'data-label="FAD"' in page and 'data-label="KAD"' not in page


def test_rows_from_a_file_are_as_good_as_audio(score, sets, run, tmp_path):  # noqa: F811
    run("embed", sets[1], "-o", tmp_path / "b.npz")
    stored = functions.score(sets[0], tmp_path / "b.npz", WEIGHTLESS, EVERYTHING, cache=False)
    assert stored.value == score.value and stored.metrics["fad-inf"] == score.metrics["fad-inf"]
    assert [f.name for f in stored.files] == [f.name for f in score.files]
    assert stored.files[0].seconds == pytest.approx(score.files[0].seconds, abs=1e-3)
    with pytest.raises(StatisticsError):
        functions.score(sets[0], _stats(sets[1], tmp_path), WEIGHTLESS, EVERYTHING, cache=False)


def _stats(folder, tmp_path):
    making.stats(folder, tmp_path / "s.npz", WEIGHTLESS, cache=False)
    return tmp_path / "s.npz"


def test_a_reference_to_publish_says_what_it_is(run, sets, tmp_path):  # noqa: F811
    run("stats", sets[0], "-o", tmp_path / "a.npz", "--name", "Tones", "--licence", "CC0")
    found = run("score", tmp_path / "a.npz", sets[1], "--json")
    said = json.loads(found.out)["models"][WEIGHTLESS]["reference"]
    assert said["name"] == "Tones" and said["licence"] == "CC0"
    assert "reference: Tones, CC0, " in run("score", tmp_path / "a.npz", sets[1]).err


def test_several_models_have_a_column_each(run, sets, monkeypatch):  # noqa: F811
    from dataclasses import replace

    entry = table.model(WEIGHTLESS)
    network = replace(entry.network, revision=2)
    entries = {**table.models(), "other": replace(entry, name="other", network=network)}
    monkeypatch.setattr(table, "models", lambda: entries)
    out = run("score", *sets, sets[0], "-m", WEIGHTLESS, "-m", "other", "--kad").out
    head, best, _ = (line.split() for line in out.splitlines())
    assert head == ["dataset", WEIGHTLESS, WEIGHTLESS, "kad", "other", "other", "kad"]
    assert best[0] == str(sets[0]) and len(best) == 5


@pytest.mark.parametrize(
    ("count", "largest", "warned"),
    [
        (1, 0, "1 embeddings for 8 dimensions"), (8, 0, "8 embeddings for 8 dimensions"),
        (9, 0, None), (20, 10, None), (20, 11, "a.wav holds 11 of 20 embeddings"),
    ],
)  # fmt: skip
def test_warnings_begin_where_the_covariance_is_singular_or_one_clip_is_most(
    count, largest, warned
):
    metadata = {
        "fingerprint": "f" * 64, "protocol": {"dimension": 8}, "files": 2, "embeddings": count,
        "largest_file": {"name": "a.wav", "embeddings": largest},
    }  # fmt: skip
    moments = Moments.of(np.random.RandomState(0).randn(count, 8))
    found = (*warnings("s", Metadata.from_json(metadata)), *few("s", moments))
    assert found == () if warned is None else len(found) == 1 and warned in found[0]
    singular = np.linalg.matrix_rank(moments.dense_scatter()) < 8
    assert singular == any("FAD is biased upward" in text for text in found)
