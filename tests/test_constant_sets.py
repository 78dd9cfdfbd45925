"""Silent and constant datasets: FAD as long as it exists, and what goes with it or a warning."""

from __future__ import annotations

import csv
import json
from itertools import product

import numpy as np
import pytest
import soundfile

from fad_onnx.api import making
from fad_onnx.errors import StatisticsError
from fad_onnx.metrics.fad_infinity import fad_infinity
from fad_onnx.metrics.frechet import Gaussian, frechet_distance
from fad_onnx.metrics.kad import Kad
from fad_onnx.metrics.moments import Moments

from .conftest import write_clip
from .test_cli import WEIGHTLESS, run  # noqa: F401 - a fixture


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Silence, a constant, silence for the most part, and tones: 20 clips of ten embeddings.

    Each as a folder and as embeddings.
    """
    folder = tmp_path_factory.mktemp("constant")
    for name, level in (("silent", 0.0), ("constant", 0.25)):
        (folder / name).mkdir()
        for index in range(20):
            soundfile.write(folder / name / f"{index:02}.wav", np.full(160000, level), 16000)
    for index in range(20):
        write_clip(folder / "tones" / f"t{index:02}.wav", index, 10)
        write_clip(folder / "mostly" / f"m{index:02}.wav", index, 10)
        if index > 1:
            soundfile.write(folder / "mostly" / f"m{index:02}.wav", np.zeros(160000), 16000)
    for name in SIDES:
        making.embed(folder / name, WEIGHTLESS, output=folder / f"{name}.npz", cache=False)
    return folder


SIDES = ("silent", "constant", "mostly", "tones")


PAIRS = [
    pytest.param(*pair, marks=[] if pair[0] == "silent" else [pytest.mark.large])
    for pair in product(SIDES, SIDES)
]


@pytest.mark.parametrize(("reference", "evaluation"), PAIRS)
def test_fad_is_there_with_all_that_can_be_computed(
    folders, run, tmp_path, reference, evaluation  # noqa: F811
):  # fmt: skip
    table = tmp_path / "clips.csv"
    flags = ("--json", "--inf", "--ci", "--kad", "--per-file", table)
    found = run("score", folders / f"{reference}.npz", folders / f"{evaluation}.npz", *flags)
    said = json.loads(found.out)
    (result,) = said["results"]
    assert (result["fad"] == 0.0) == (reference == evaluation)
    assert np.isfinite([result["fad_inf"], *result["fad_ci"]]).all()
    assert result["fad_ci"][0] <= result["fad"] <= result["fad_ci"][1]
    rows = list(csv.DictReader(table.read_text().splitlines()))
    assert np.isfinite([float(row["influence"]) for row in rows]).all() and len(rows) == 20
    assert (result["kad"] is None) == (reference != "tones")
    assert any("as its bandwidth" in text for text in said["warnings"]) == (result["kad"] is None)


def test_the_table_has_a_dash_for_what_is_not_there(folders, run):  # noqa: F811
    head, line = run(
        "score", folders / "silent.npz", folders / "tones.npz", "--kad"
    ).out.splitlines()
    assert head.split()[-1] == "kad" and line.split()[-1] == "-"


def test_statistics_of_silence_give_the_same_fad(folders, run, tmp_path):  # noqa: F811
    live = float(run("score", folders / "silent", folders / "tones").out)
    run("stats", folders / "silent", "-o", tmp_path / "silent.npz")
    stored = run("score", tmp_path / "silent.npz", folders / "tones").out
    assert float(stored) == pytest.approx(live, rel=1e-12)


@pytest.mark.large
@pytest.mark.parametrize(("reference", "evaluation"), [("silent", "constant"), ("mostly", "tones")])
def test_a_report_on_constant_sets(folders, run, tmp_path, reference, evaluation):  # noqa: F811
    pytest.importorskip("matplotlib")
    page = tmp_path / "report.html"
    run("score", folders / f"{reference}.npz", folders / f"{evaluation}.npz", "--report", page)
    assert "as its bandwidth" in page.read_text("utf-8")


def test_the_distance_to_a_constant_is_that_to_a_point():
    random = np.random.RandomState(0)
    x, constant = random.randn(50, 4), np.full((9, 4), 0.3)
    point = np.square(x.mean(axis=0) - 0.3).sum() + np.trace(np.cov(x.T))
    for one in (Moments.of(constant), Moments.of(np.repeat(constant, 9, axis=0))):
        gaussian = Gaussian.of_statistics(one.mean, one.covariance())
        for reference in (one, gaussian):
            assert frechet_distance(reference, Moments.of(x)) == pytest.approx(point, rel=1e-12)
        assert frechet_distance(one, gaussian) == 0.0


def test_rounding_is_no_fit():
    """All subsets of a constant set have one distance, whatever its last bits."""
    random = np.random.RandomState(1)
    found = fad_infinity(Moments.of(random.randn(60, 4)), np.full((60, 4), 0.1))
    assert found.r2 is None and found.value == pytest.approx(found.values[0], rel=1e-12)


def test_no_kad_is_no_number():
    with pytest.raises(StatisticsError, match="no bandwidth here"):
        float(Kad(None, 0.0, (0, 0), (0, 0), "no bandwidth here"))
