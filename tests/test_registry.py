"""A metric is one definition: whatever shows numbers shows it."""

import csv
import json

import numpy as np
import pytest

from fad_onnx import report
from fad_onnx.api import functions
from fad_onnx.api.measure import Wanted, measured
from fad_onnx.cli import show, tables
from fad_onnx.cli.parser import build
from fad_onnx.errors import KeywordError, OptionError
from fad_onnx.metrics import registry
from fad_onnx.metrics.registry import Cell, Metric, Needs, Option, Value

from .conftest import write_clip
from .kit import WEIGHTLESS


def against(reference, options):
    def compute(evaluation, tell):
        gap = np.abs(evaluation.gaussian.mean - reference.gaussian.mean).max()
        value = float(gap) * options["peak_scale"]
        return Value(value, {"peak_twice": 2 * value}, ("peaks are odd",),
                     cells=(Cell("peak_twice", "Twice", 2 * value),))  # fmt: skip

    return compute


PEAK = Metric(
    "peak", "Peak", "higher", Needs(), against, "the largest gap of the means",
    lambda found: [("Peak", "A throw-away metric.")],
    (Option("peak_scale", 1, "how much it counts", whole=(1, 9)),), ("peak_twice",), "peak",
)  # fmt: skip


@pytest.fixture
def peak(monkeypatch):
    monkeypatch.setattr(registry, "_added", {})
    registry.register(PEAK)
    # What is asked once, when the command line is loaded.
    scored = (registry.metric("fad"), *registry.switches().values())
    monkeypatch.setattr(show, "SCORED", scored)
    monkeypatch.setattr(show, "CSV_COLUMNS", show.csv_columns(scored))


@pytest.fixture
def scores(peak, tmp_path):
    for name in ("a", "b", "c"):
        for index in range(3):
            write_clip(tmp_path / name / f"{index}.wav", ord(name) + index, 2)
    wanted = Wanted(peak=True, peak_scale=3, per_file=True)
    paths = [tmp_path / "b", tmp_path / "c"]
    return functions.compare(tmp_path / "a", paths, WEIGHTLESS, wanted, cache=False)


def test_a_metric_that_is_defined_once_appears_everywhere(scores, tmp_path):
    direct = [
        3 * np.abs(one.evaluation.moments.mean - one.reference.moments.mean).max() for one in scores
    ]
    assert [one.metrics["peak"].value for one in scores] == direct
    said = json.loads(json.dumps(scores.to_dict()))
    assert [one["peak"] for one in said["results"]] == direct
    assert [one["peak_twice"] for one in said["results"]] == [2 * value for value in direct]
    assert "peaks are odd" in said["warnings"]
    head, *lines = show.number_or_table(scores).splitlines()
    assert head.split() == ["dataset", WEIGHTLESS, "peak", "peak_twice"] and len(lines) == 2
    assert all(any(f"{value:.6g}" in line for line in lines) for value in direct)
    show.append_csv(str(tmp_path / "t.csv"), scores)
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [float(row["peak"]) for row in rows] == direct
    assert [float(row["peak_twice"]) for row in rows] == [2 * value for value in direct]
    best = f"**{max(direct):.6g}**"
    markdown = tables.markdown(measured(scores))
    assert f"Peak {WEIGHTLESS} ↑" in markdown and best in markdown
    assert f"FAD {WEIGHTLESS} ↓" in markdown and markdown.count("**") == 4
    latex = tables.latex(measured(scores))
    assert rf"Peak {WEIGHTLESS} $\uparrow$" in latex
    assert rf"\textbf{{{max(direct):.6g}}}" in latex and latex.count(r"\textbf") == 2
    pytest.importorskip("matplotlib")
    page = report.write(tmp_path / "r.html", scores).read_text("utf-8")
    assert 'data-label="Peak"' in page and "A throw-away metric." in page and "Twice" in page


def test_flags_are_generated_from_the_options(peak):
    asked = build().parse_args(["score", "a", "b", "--peak", "--peak-scale", "4"])
    assert asked.peak is True and asked.peak_scale == 4
    with pytest.raises(SystemExit):
        build().parse_args(["score", "a", "b", "--peak-scale", "10"])
    with pytest.raises(OptionError, match="peak_scale: 10 is not a whole number, 1 to 9"):
        Wanted(peak_scale=10)
    with pytest.raises(KeywordError, match="did you mean 'peak'"):
        Wanted(peek=True)


def test_every_definition_says_what_a_table_and_a_flag_need():
    for name, metric in registry.metrics().items():
        assert metric.name == name and metric.title and metric.summary
        assert metric.better in ("lower", "higher")
        assert metric.chosen({}) == {one.keyword: one.default for one in metric.options}
    with pytest.raises(OptionError, match="'fda' is not a metric; known: fad, clap-score, "):
        registry.metric("fda")


@pytest.mark.parametrize("values", [(1, 2), (1, 2.0), tuple(np.float32([1, 2]))])
def test_the_best_number_of_any_type_is_bold(values):
    def one(path, value):
        return registry.Measured(path, "m", registry.metric("fad"), Value(value))

    lines = tables.markdown([one("a", values[0]), one("b", values[1])]).splitlines()
    assert lines[2:] == ["| a | **1** |", "| b | 2 |"]


def test_text_in_tables_is_escaped_for_its_format():
    def one(path, value):
        return registry.Measured(path, "m_1", registry.metric("fad"), Value(value))

    found = [one("a|b_c", 2.0), one("d&\n", 1.0), one("none", None)]
    assert tables.markdown(found).splitlines() == [
        "| dataset | FAD m_1 ↓ |", "| --- | ---: |",
        r"| d&\\n | **1** |", r"| a\|b_c | 2 |", "| none | - |",
    ]  # fmt: skip
    assert tables.latex(found).splitlines() == [
        r"\begin{tabular}{lr}", r"\toprule", r"Dataset & FAD m\_1 $\downarrow$ \\", r"\midrule",
        r"d\&\textbackslash{}n & \textbf{1} \\", r"a|b\_c & 2 \\", r"none & - \\",
        r"\bottomrule", r"\end{tabular}",
    ]  # fmt: skip
