"""Several metrics and models in one pass: `evaluate` on the command line and in Python."""

import base64
import csv
import hashlib
import json
import re
import unicodedata
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.api.asked import Asked, asked_for, named
from fad_onnx.errors import OptionError, StatisticsError
from fad_onnx.metrics.definitions.isc import inception_score
from fad_onnx.metrics.definitions.kl import divergences
from fad_onnx.metrics.definitions.prdc import prdc
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.protocols import Definition, Protocol

from .conftest import write_clip
from .test_captions import spoken  # noqa: F401 - a fixture
from .test_cli import WEIGHTLESS, run  # noqa: F401 - a fixture

METRICS = ("fad", "kad", "prdc")
ASKED = [part for name in METRICS for part in ("--metric", f"{name}:{WEIGHTLESS}")]


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name in ("a", "b", "c"):
        for index in range(6):
            write_clip(folder / name / f"{index}.wav", 10 * ord(name) + index, 4)
    return [folder / name for name in ("a", "b", "c")]


def test_json_has_a_result_for_each_metric_model_and_dataset(run, sets):  # noqa: F811
    reference, *evaluations = sets
    said = json.loads(
        run(
            "evaluate", *evaluations, "--reference", reference, *ASKED, "--prdc-k", "3", "--json"
        ).out
    )
    assert set(said) == {"schema", "results", "protocols", "skipped", "warnings"}
    assert said["schema"] == 2 and len(said["results"]) == 6
    assert {one["model"] for one in said["results"]} == {WEIGHTLESS}
    by_place = {(one["path"], one["metric"]): one for one in said["results"]}
    for path in evaluations:
        for name in ("fad", "kad"):
            wanted = fad_onnx.Wanted(kad=True)
            score = fad_onnx.score(reference, path, WEIGHTLESS, wanted)
            assert by_place[str(path), name]["value"] == score.metrics[name].value
        rows = [np.concatenate(list(fad_onnx.embed(one, WEIGHTLESS).values()))
                for one in (reference, path)]  # fmt: skip
        found = by_place[str(path), "prdc"]
        assert {key: found[key] for key in prdc(*rows, 3)} == prdc(*rows, 3)
        assert found["k"] == 3 and found["value"] == found["coverage"]
    for one in said["results"]:
        assert (one["files"], one["embeddings"], one["seconds"]) == (6, 24, 24.0)
    made = said["protocols"][WEIGHTLESS]
    assert set(made) == set(map(str, sets)) and made[str(reference)]["fingerprint"]


def test_in_python_the_numbers_are_flat(sets):
    asked = [f"fad:{WEIGHTLESS}", f"prdc:{WEIGHTLESS}"]
    found = fad_onnx.evaluate(sets[1], sets[0], asked, metric_options={"prdc_k": 2})
    assert list(found.to_dict()) == [f"fad:{WEIGHTLESS}", f"prdc:{WEIGHTLESS}"]
    assert all(isinstance(value, float) for value in found.to_dict().values())
    both = fad_onnx.evaluate(sets[1:], sets[0], f"fad:{WEIGHTLESS}").to_dict()
    assert list(both) == [f"{path} fad:{WEIGHTLESS}" for path in sets[1:]]


def test_csv_markdown_latex_and_the_table(run, sets, tmp_path):  # noqa: F811
    line = ("evaluate", *sets[1:], "--reference", sets[0], *ASKED)
    said = run(*line, "--csv", tmp_path / "t.csv").out.splitlines()
    assert said[0].split()[:3] == ["dataset", f"fad:{WEIGHTLESS}", f"kad:{WEIGHTLESS}"]
    assert len(said) == 3
    rows = list(csv.DictReader((tmp_path / "t.csv").open()))
    assert [row["metric"] for row in rows] == [*METRICS, *METRICS]
    assert {row["k"] for row in rows} == {"5", ""} and {row["ci_low"] for row in rows} == {""}
    markdown = run(*line, "--markdown").out
    assert f"| Coverage {WEIGHTLESS} ↑ | Precision {WEIGHTLESS} ↑ |" in markdown
    assert "**" in markdown.splitlines()[2]
    latex = run(*line, "--latex").out
    assert latex.startswith(r"\begin{tabular}{lrrrrrr}") and r"\bottomrule" in latex
    head, *rows = [line.split(" & ") for line in latex.splitlines() if " & " in line]
    assert head[1] == rf"FAD {WEIGHTLESS} $\downarrow$" and head[3].endswith(r"$\uparrow$")
    # The best of each column is bold, and nothing else.
    for column, choose in enumerate((min, min, max, max, max, max), 1):
        cells = [row[column] for row in rows]
        values = [float(cell.removeprefix(r"\textbf{").strip("}\\ ")) for cell in cells]
        bold = [cell.startswith(r"\textbf{") for cell in cells]
        assert bold == [value == choose(values) for value in values]


def test_a_report_of_several_metrics(run, sets, tmp_path):  # noqa: F811
    pytest.importorskip("matplotlib")
    run("evaluate", *sets[1:], "--reference", sets[0], *ASKED, "--report", tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text("utf-8")
    for title in ("FAD", "KAD", "Coverage", "Precision", "Recall", "Density"):
        assert f'data-label="{title}"' in page
    assert "The 6 clips to listen to" in page
    # The one script of the page is the one that its policy lets run.
    (script,) = re.findall("<script>(.*?)</script>", page, re.S)
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page
    for name, head in (("FAD", "influence on FAD"), ("KAD", "what the clip adds to KAD"),
                       ("Coverage", "distance to the nearest reference embedding")):  # fmt: skip
        assert page.count(f"<caption>{name} by {WEIGHTLESS}: {head}</caption>") == 2
    assert page.count("Listen to the reference ") == page.count("Listen to ") / 2 == 12
    links = set(re.findall('href="#(set[0-9]-clip-[0-9]+-card)"', page))
    assert links and all(f'id="{link}"' in page for link in links)


def test_what_cannot_be_is_said_before_the_work(run, sets, tmp_path):  # noqa: F811
    assert (
        "--reference: fad needs a reference"
        in run("evaluate", sets[1], "--metric", "fad", code=2).err
    )
    with pytest.raises(OptionError, match="kl needs logits, which .* models that do: "):
        Asked.parse(f"kl:{WEIGHTLESS}")
    with pytest.raises(OptionError, match="'what' is not a metric; known: fad, "):
        Asked.parse("what")
    with pytest.raises(OptionError, match=r"metrics: ModelSpec.* is not a text such as 'fad"):
        fad_onnx.evaluate(sets[1], sets[0], [fad_onnx.ModelSpec(WEIGHTLESS)])
    with pytest.raises(OptionError, match="prdc_k: has no effect without metrics=prdc"):
        fad_onnx.evaluate(sets[1], sets[0], ["fad"], metric_options={"prdc_k": 1})
    run("stats", sets[0], "-o", tmp_path / "s.npz")
    with pytest.raises(StatisticsError, match="and prdc needs embeddings"):
        fad_onnx.evaluate(sets[1], tmp_path / "s.npz", [f"prdc:{WEIGHTLESS}"])


@pytest.fixture
def classifier(monkeypatch):
    """The model without weights, whose embeddings are also its logits."""
    model = table.model(WEIGHTLESS)
    embedding = model.network.outputs["embedding"]
    outputs = {"embedding": embedding, "logits": replace(embedding)}
    network = replace(model.network, outputs=outputs)
    every = {**table.models(), "classifier": replace(model, name="classifier", network=network)}
    monkeypatch.setattr(table, "models", lambda: every)


def test_metrics_of_logits_and_of_embeddings_of_one_model(sets, classifier):
    asked = ["fad:classifier", "kl:classifier", "isc:classifier"]
    found = fad_onnx.evaluate(sets[1], sets[0], asked, metric_options={"isc_splits": 2})
    assert list(found.to_dict()) == asked and len(found.results) == 1
    logits = [
        np.stack([rows.mean(axis=0) for rows in fad_onnx.embed(one, WEIGHTLESS).values()])
        for one in sets[:2]
    ]
    assert found.to_dict()["kl:classifier"] == pytest.approx(divergences(*logits).mean())
    assert found.to_dict()["isc:classifier"] == inception_score(logits[1], 2)[0]
    said = {one["metric"]: one for one in found.to_json()["results"]}
    assert said["kl"]["direction"] == "reference||evaluation" and said["kl"]["pairs"] == 6
    assert said["isc"]["splits"] == 2 and said["isc"]["std"] >= 0
    # The inception score alone needs no reference.
    alone = fad_onnx.evaluate(sets[1], None, "isc:classifier", metric_options={"isc_splits": 2})
    assert alone.to_dict()["isc:classifier"] == found.to_dict()["isc:classifier"]
    assert alone.results[0].reference is None


@pytest.mark.large
def test_a_report_without_a_reference(sets, classifier, tmp_path, run):  # noqa: F811
    pytest.importorskip("matplotlib")
    flags = ("--metric", "isc:classifier", "--isc-splits", "3", "--report", tmp_path / "r.html")
    run("evaluate", sets[1], sets[2], *flags)
    page = (tmp_path / "r.html").read_text("utf-8")
    assert "Evaluated: " in page and 'data-label="Inception score"' in page
    assert "reference</bdi>" not in page and "<figure>" not in page


def test_either_side_is_what_score_takes(sets):
    asked = [f"fad:{WEIGHTLESS}", f"prdc:{WEIGHTLESS}"]
    expected = fad_onnx.evaluate(sets[1], sets[0], asked).to_dict()
    ours, theirs = (np.concatenate(list(fad_onnx.embed(one, WEIGHTLESS).values()))
                    for one in (sets[1], sets[0]))  # fmt: skip
    found = fad_onnx.evaluate([ours], theirs, ["fad", "prdc"]).to_dict()
    assert list(found.values()) == pytest.approx(list(expected.values()))


def test_a_metric_without_a_model_has_the_default_one_where_others_name_theirs():
    found = named([Asked.parse("fad"), Asked.parse(f"prdc:{WEIGHTLESS}")])
    default = table.model().name
    assert [one.spec.name for one in found] == [default, WEIGHTLESS]
    assert named([Asked.parse("fad")])[0].spec is None  # that of a file, if it is one


def test_embeddings_are_not_taken_for_logits(sets, classifier, run, tmp_path):  # noqa: F811
    for name, side in zip("re", sets, strict=False):
        run("embed", side, "-m", "classifier", "-o", tmp_path / f"{name}.npz")
        run("embed", side, "-m", "classifier:output=logits", "-o", tmp_path / f"{name}l.npz")
    line = ("evaluate", "--metric", "kl:classifier", "--json", "--reference")
    error = run(*line, tmp_path / "r.npz", tmp_path / "e.npz", code=1).err
    assert "holds the output embedding, kl needs logits" in error
    said = json.loads(run(*line, tmp_path / "rl.npz", tmp_path / "el.npz").out)
    live = fad_onnx.evaluate(sets[1], sets[0], "kl:classifier")
    assert said["results"][0]["value"] == live.to_dict()["kl:classifier"]


def test_is_one_dataset_better_than_another(run, tmp_path):  # noqa: F811
    """B is A with noise of its own; clips of one name are pairs, and decide."""
    noise = np.random.RandomState(0)
    for index in range(12):
        clip = synthetic.clip(index, 4 * 16000)[0]
        for name, level in (("r", 0.0), ("a", 0.003), ("b", 0.1)):
            (tmp_path / name).mkdir(exist_ok=True)
            disturbed = clip + level * noise.standard_normal(len(clip))
            soundfile.write(tmp_path / name / f"{index}.wav", disturbed, 16000)
    r, a, b = (tmp_path / name for name in "rab")
    line = ("evaluate", "--reference", r, *ASKED[:4], "--compare", a, b)
    said = json.loads(run(*line, "--json").out)
    assert [one["path"] for one in said["results"]] == [str(a)] * 2 + [str(b)] * 2
    assert [one["metric"] for one in said["comparisons"]] == ["fad", "kad"]
    for one, result in zip(said["comparisons"], said["results"], strict=False):
        assert (one["first"], one["second"], one["model"]) == (str(a), str(b), WEIGHTLESS)
        assert one["better"] == str(a) and one["high"] < 0 and one["pairs"] == 12
        other = next(o["value"] for o in said["results"][2:] if o["metric"] == one["metric"])
        assert one["value"] == result["value"] - other
    text = run(*line).out
    assert f"fad:{WEIGHTLESS}: {a} is better: difference -" in text and "(12 pairs)" in text
    found = fad_onnx.evaluate([a, b], r, [f"fad:{WEIGHTLESS}"])
    (swapped,) = found.compare(str(b), str(a), 0.9)
    assert swapped.better == str(a) and swapped.low > 0 and swapped.level == 0.9
    (same,) = found.compare(str(a), str(a))
    assert same.value == 0.0 and same.better is None and same.clips_needed is None
    assert found.compare(b, a, 0.9) == (swapped,)
    with pytest.raises(OptionError, match="was not evaluated, but"):
        found.compare("c", str(a))
    run("stats", a, "-o", tmp_path / "a.npz")
    error = run(*line[:-2], tmp_path / "a.npz", b, code=1).err
    assert "holds statistics without embeddings" in error
    assert "no dataset; name at least one" in run("evaluate", "--reference", r, code=2).err


def test_without_metrics_fad_is_computed_or_what_the_protocol_defines(sets):
    found = asked_for(None, None)
    assert [one.metric.name for one in found] == ["fad"]
    every = {key: one for model in table.models().values() for key, one in model.protocols.items()}
    assert every
    for name, protocol in every.items():
        if protocol.metrics:
            asked = asked_for(None, name, captions=True)
            assert {one.metric.name for one in asked} == set(protocol.metrics)
            silent = {one.metric for one in asked_for(None, name)}
            assert silent == {one.metric for one in asked if not one.metric.needs.captions}
            for one in asked:
                models = protocol.metrics[one.metric.name].models
                assert one.spec.name in [
                    model.partition(":")[0] for model in models or protocol.models
                ]
    with pytest.raises(OptionError, match="the protocol native has none"):
        fad_onnx.evaluate(sets[1], sets[0], protocol="native")


@pytest.mark.parametrize("order", [("kl", "fad"), ("isc", "fad"), ("fad", "isc")])
def test_every_metric_says_which_output_it_was_computed_from(
    order, sets, classifier, run, tmp_path  # noqa: F811
):  # fmt: skip
    table = tmp_path / "found.csv"
    asked = [text for name in order for text in ("--metric", f"{name}:classifier")]
    line = ("evaluate", sets[1], "--reference", sets[0], *asked, "--json", "--csv", table)
    said = json.loads(run(*line).out)
    made = said["protocols"]
    assert {name: one[str(sets[1])]["output"]["name"] for name, one in made.items()} == {
        "classifier": "embedding", "classifier:output=logits": "logits",
    }  # fmt: skip
    assert [one["metric"] for one in said["results"]] == list(order)
    with table.open(newline="") as file:
        for one in csv.DictReader(file):
            name = "classifier" if one["metric"] == "fad" else "classifier:output=logits"
            assert one["fingerprint"] == made[name][str(sets[1])]["fingerprint"]
            assert bool(one["reference"]) == (one["metric"] != "isc")


@pytest.mark.parametrize("order", [("kl", "fad"), ("fad", "kl")])
def test_a_report_of_two_outputs_draws_that_of_fad_and_lists_both(
    order, sets, classifier, tmp_path
):
    pytest.importorskip("matplotlib")
    from fad_onnx import report

    found = fad_onnx.evaluate(sets[1], sets[0], [f"{name}:classifier" for name in order])
    (result,) = found.results
    assert [one.provenance["output"]["name"] for one in result.sides] == ["embedding"] * 2
    page = report.write(tmp_path / "r.html", found.results, differences=()).read_text("utf-8")
    made = re.findall(r"How the embeddings of <b>([^<]*)", page)
    assert sorted(made) == ["classifier", "classifier:output=logits"]


def test_clips_without_a_partner_are_listed_or_counted(sets, classifier, run, tmp_path):  # noqa: F811
    for index in range(12):
        write_clip(tmp_path / "e" / f"{index}.wav", index, 4)
    line = ("evaluate", tmp_path / "e", "--reference", sets[0], "--metric", "kl:classifier")
    error = run(*line, code=1).err
    assert "6 of" in error and "6.wav" in error and "--skip-errors goes on with the pairs" in error
    said = json.loads(run(*line, "--skip-errors", "--json").out)
    assert said["results"][0]["pairs"] == 6 and said["results"][0]["value"] > 0
    assert any("kl is of 6 pairs: 6 clips of" in text for text in said["warnings"])


def test_a_protocol_alone_computes_its_metrics_as_it_defines_them(sets, monkeypatch):
    model = table.model(WEIGHTLESS)
    embedding = model.network.outputs["embedding"]
    network = replace(model.network, outputs={"embedding": embedding, "logits": replace(embedding)})
    harness = Protocol(
        "harness", "a harness", {"classifier": {"preparation.level_before": ["remove_dc"]}},
        metrics={
            "kl": Definition(("classifier",), {"kl_direction": "evaluation", "kl_epsilon": 1e-3}),
            "isc": Definition((), {"isc_splits": 3}),
            "fad": Definition(),
        },
    )  # fmt: skip
    own = replace(model, name="classifier", network=network, protocols={"harness": harness})
    every = {**table.models(), "classifier": own}
    monkeypatch.setattr(table, "models", lambda: every)
    monkeypatch.setattr(table, "protocol", lambda name: harness)
    found = fad_onnx.evaluate(sets[1], sets[0], protocol="harness", cache=False)
    said = {one["metric"]: one for one in found.to_json()["results"]}
    assert list(said) == ["kl", "isc", "fad"]
    assert {one["model"] for one in said.values()} == {"classifier:protocol=harness"}
    assert said["kl"]["direction"] == "evaluation||reference" and said["kl"]["epsilon"] == 1e-3
    assert said["isc"]["splits"] == 3
    # What is asked for by name is prepared as the harness does, and an option decides over it.
    given = {"metric_options": {"kl_epsilon": 0.0}, "protocol": "harness", "cache": False}
    one = fad_onnx.evaluate(sets[1], sets[0], "kl:classifier", **given)
    (result,) = one.to_json()["results"]
    assert result["epsilon"] == 0.0 and result["direction"] == "evaluation||reference"
    assert result["value"] != said["kl"]["value"]


def test_a_protocol_with_a_model_computes_its_metrics_with_this_model(run, sets, monkeypatch):  # noqa: F811
    model = table.model(WEIGHTLESS)
    metrics = {"kad": Definition(("named", "other")), "fad": Definition(),
               "prdc": Definition(("other",)), "clap-score": Definition()}  # fmt: skip
    models = {"named": {"preparation.level_before": ["remove_dc"]}, "free": {}, "other": {}}
    harness = Protocol("harness", "a harness", models, metrics=metrics)
    own = {name: replace(model, name=name, protocols={"harness": harness}) for name in models}
    every = {**table.models(), **own}
    monkeypatch.setattr(table, "models", lambda: every)
    monkeypatch.setattr(table, "protocol", lambda name: harness)
    common = ("evaluate", sets[1], "--reference", sets[0], "--protocol", "harness")
    said = run(*common, "-m", "named", "-m", "free", "--json").out
    label = "named:protocol=harness"
    expected = [("kad", label), ("fad", label), ("fad", "free:protocol=harness")]
    assert sorted(_keys(said)) == sorted(expected)
    direct = fad_onnx.score(sets[0], sets[1], label)
    assert direct.value in [one["value"] for one in json.loads(said)["results"]]
    error = run(*common, "-m", "named", "-m", WEIGHTLESS, code=2).err
    assert (
        f"--model, --protocol: harness computes no metric with {WEIGHTLESS}; its metrics and"
        in error
    )
    assert "models: kad: named, other; fad: named, free, other; prdc: other" in error
    assert "clap-score" not in error
    dry = json.loads(run(*common, "-m", "named", "--dry-run").out)
    assert dry["model"] == label


def test_a_reference_for_each_model(sets, classifier, run, tmp_path):  # noqa: F811
    asked = ["fad:classifier", "kl:classifier", f"kad:{WEIGHTLESS}", "isc:classifier"]
    models = ("classifier", "classifier:output=logits", WEIGHTLESS)
    files = [tmp_path / f"{i}.npz" for i in range(3)]
    for model, file in zip(models, files, strict=True):
        run("embed", sets[0], "-m", model, "-o", file)
    flags = [part for name in asked for part in ("--metric", name)]
    given = [part for file in files for part in ("--reference", file)]
    said = json.loads(run("evaluate", sets[1], *flags, *given, "--isc-splits", "2", "--json").out)
    expected = fad_onnx.evaluate(sets[1], sets[0], asked, metric_options={"isc_splits": 2})
    values = {f"{one['metric']}:{one['model']}": one["value"] for one in said["results"]}
    assert values == pytest.approx(expected.to_dict(), rel=1e-9)
    error = run("evaluate", sets[1], *flags, *given[:4], code=2).err
    assert f"--reference: one made with {WEIGHTLESS} is needed; these were made with" in error
    error = run("evaluate", sets[1], *flags, *given[:2], code=2).err
    assert "a reference for each" in error
    # One file goes with metrics of other models that need none.
    one = run("evaluate", sets[1], "--metric", f"kad:{WEIGHTLESS}", "--metric", "isc:classifier",
              *given[4:], "--isc-splits", "2", "--json").out  # fmt: skip
    assert {o["metric"] for o in json.loads(one)["results"]} == {"kad", "isc"}


def test_the_deviations_of_two_metrics_have_columns_of_their_own(run, spoken, tmp_path):  # noqa: F811
    """The inception score's was once overwritten by the CLAP score's."""
    model = table.model("toy")
    outputs = {**model.network.outputs, "logits": replace(model.network.outputs["mean"])}
    table.models()["toy"] = replace(model, network=replace(model.network, outputs=outputs))
    files = [part for name, file in spoken.items() for part in ("--weights", f"{name}={file}")]
    line = ["evaluate", tmp_path / "clips", "--metric", "isc:toy", "--isc-splits", "1",
            "--metric", "clap-score:toy", "--captions", tmp_path / "c.jsonl", *files]  # fmt: skip
    said = {one["metric"]: one["std"] for one in json.loads(run(*line, "--json").out)["results"]}
    assert said["isc"] != said["clap-score"]
    head, values = (text.split() for text in run(*line).out.splitlines())
    shown = dict(zip(head, values, strict=True))
    assert float(shown["isc_std"]) == pytest.approx(said["isc"], rel=1e-5)
    assert float(shown["clap_score_std"]) == pytest.approx(said["clap-score"], rel=1e-5)
    assert "Inception score, deviation toy" in run(*line, "--markdown").out


def test_warnings_are_those_of_the_metrics_that_are_asked_for(run, sets, spoken, tmp_path):  # noqa: F811
    few = "FAD is biased upward"
    line = ("evaluate", sets[1], "--reference", sets[0])
    said = run(*line, "--metric", f"prdc:{WEIGHTLESS}", "--metric", f"kad:{WEIGHTLESS}").err
    assert few not in said
    said = run(*line, "--metric", f"prdc:{WEIGHTLESS}", "--metric", f"fad:{WEIGHTLESS}").err
    assert said.count(few) == 2
    files = [part for name, file in spoken.items() for part in ("--weights", f"{name}={file}")]
    spoken_line = ("evaluate", tmp_path / "clips", "--metric", "clap-score:toy", *files)
    assert few not in run(*spoken_line, "--captions", tmp_path / "c.jsonl").err
    # A file of statistics is made for FAD, and a score against it says so once.
    assert run("stats", sets[0], "-m", WEIGHTLESS, "-o", tmp_path / "r.npz").err.count(few) == 1
    assert run("score", tmp_path / "r.npz", sets[1]).err.count(few) == 2
    assert few not in run("embed", sets[0], "-m", WEIGHTLESS, "-o", tmp_path / "e.npz").err


def test_what_is_compared_leaves_a_table_valid(run, sets):  # noqa: F811
    line = ("evaluate", *sets[1:], "--reference", sets[0], *ASKED[:4], "--compare", *sets[1:])
    latex = run(*line, "--latex").out.splitlines()
    assert latex[-3] == r"\end{tabular}" and all(text.startswith("% ") for text in latex[-2:])
    markdown = run(*line, "--markdown").out.splitlines()
    assert markdown[-3] == "" and all(text.startswith("- ") for text in markdown[-2:])
    assert all(text.startswith("|") for text in markdown[:-3])


def test_of_one_dataset_nothing_is_the_best(run, sets):  # noqa: F811
    line = ("evaluate", sets[1], "--reference", sets[0], *ASKED)
    assert "**" not in run(*line, "--markdown").out and "textbf" not in run(*line, "--latex").out


def test_too_few_clips_for_an_interval_are_counted_by_dataset(run, sets, recwarn):  # noqa: F811
    line = ("evaluate", *sets[1:], "--reference", sets[0], *ASKED, "--ci=0.9")
    said = run(*line).err
    for path in sets[1:]:
        for name in METRICS:
            assert re.search(rf"warning: {name}: .* there are 6 of {path} and 6 of the", said)
    # A single clip leaves none for the jackknife, without a word from NumPy.
    run("evaluate", sets[1] / "0.wav", "--reference", sets[0], *ASKED, "--ci=0.9")
    assert not [one for one in recwarn if one.category is RuntimeWarning]


def test_names_pair_however_their_accents_are_written(sets, classifier, tmp_path):
    for form in ("NFC", "NFD"):
        for index in range(3):
            name = unicodedata.normalize(form, f"é {index}.wav")
            write_clip(tmp_path / form / name, index + len(form), 2)
    found = fad_onnx.evaluate(tmp_path / "NFC", tmp_path / "NFD", "kl:classifier")
    assert found.measured[0].value.fields["pairs"] == 3


def test_datasets_that_were_made_differently_are_named(sets, tmp_path):
    made = fad_onnx.embed(sets[0], WEIGHTLESS)
    before = replace(made.metadata, protocol={**made.metadata.protocol, "onnxruntime": "1.0"})
    found = fad_onnx.evaluate(sets[1], replace(made, metadata=before), f"kad:{WEIGHTLESS}")
    assert any(re.search("were made differently: .*1\\.0 and", text) for text in found.warnings)


def test_a_model_is_that_of_every_metric_that_names_none(run, sets):  # noqa: F811
    reference, one, _ = sets
    common = "evaluate", one, "--reference", reference, "--json"
    assert _keys(run(*common, "-m", WEIGHTLESS).out) == [("fad", WEIGHTLESS)]
    asked = ["--metric", "fad", "--metric", f"kad:{WEIGHTLESS}", "-m", WEIGHTLESS]
    assert sorted(_keys(run(*common, *asked).out)) == [("fad", WEIGHTLESS), ("kad", WEIGHTLESS)]
    error = run(*common, *ASKED, "-m", WEIGHTLESS, code=2).err
    assert "every metric names a model of its own" in error


def _keys(text):
    return [(one["metric"], one["model"]) for one in json.loads(text)["results"]]


def test_one_line_for_each_clip_as_score_writes_it(run, sets, tmp_path):  # noqa: F811
    reference, one, other = sets
    mine, theirs = tmp_path / "mine.csv", tmp_path / "theirs.csv"
    flags = "-m", WEIGHTLESS, "--per-file"
    run("evaluate", one, other, "--reference", reference, "--metric", "fad", *flags, mine)
    run("score", reference, one, other, *flags, theirs)
    assert mine.read_bytes() == theirs.read_bytes() and len(mine.read_text().splitlines()) == 13
    error = run("evaluate", one, "--reference", reference, "--metric", "kad", *flags, mine, code=2)
    assert "--per-file: ranks clips" in error.err


@pytest.fixture
def files(sets, classifier, run, tmp_path):  # noqa: F811
    """The reference "r" and an evaluation "e" as embeddings, and as logits "rl" and "el"."""
    for name, side in zip("re", sets, strict=False):
        run("embed", side, "-m", "classifier", "-o", tmp_path / f"{name}.npz")
        run("embed", side, "-m", "classifier:output=logits", "-o", tmp_path / f"{name}l.npz")
    return {name: tmp_path / f"{name}.npz" for name in ("r", "e", "rl", "el")}


@pytest.mark.parametrize("metric", ["kl", "isc"])
def test_a_metric_of_logits_takes_the_model_of_a_file(metric, files, sets, run):  # noqa: F811
    given = {"isc_splits": 2} if metric == "isc" else {}
    reference = None if metric == "isc" else files["rl"]
    expected = fad_onnx.evaluate(
        sets[1], reference and sets[0], f"{metric}:classifier", metric_options=given
    )
    cases = [(files["el"], reference), (files["el"], reference and sets[0])]
    if reference:
        cases.append((sets[1], reference))
    for evaluation, other in cases:
        found = fad_onnx.evaluate(evaluation, other, metric, metric_options=given)
        assert found.to_dict() == pytest.approx(expected.to_dict(), rel=1e-9)
        assert list(found.to_dict()) == [f"{metric}:classifier"]


def test_metrics_of_files_of_one_output_stand_together(files, sets, run):  # noqa: F811
    line = ("evaluate", "--metric", "kl", "--metric", "fad", "--json", "--reference")
    said = json.loads(run(*line, files["rl"], files["el"]).out)["results"]
    assert {(one["metric"], one["model"]) for one in said} == {
        ("kl", "classifier"), ("fad", "classifier:output=logits")
    }  # fmt: skip
    # A reference for each output: each metric takes the one that it needs.
    said = json.loads(run(*line, files["rl"], "--reference", files["r"], sets[1]).out)["results"]
    assert {(one["metric"], one["model"]) for one in said} == {
        ("kl", "classifier"), ("fad", "classifier")
    }  # fmt: skip
    # The inception score is of logits, whatever output the reference of another metric has.
    mixed = ("evaluate", sets[1], "--metric", "fad", "--metric", "isc", "--isc-splits", "2")
    said = json.loads(run(*mixed, "--reference", files["r"], "--json").out)["results"]
    made = fad_onnx.evaluate(sets[1], None, "isc:classifier", metric_options={"isc_splits": 2})
    assert next(one["value"] for one in said if one["metric"] == "isc") in made.to_dict().values()


def test_a_file_without_the_output_that_a_metric_needs(files, sets, run, tmp_path):  # noqa: F811
    line = ("evaluate", "--metric", "kl", "--reference")
    for sides in ((files["r"], files["e"]), (files["r"], sets[1]), (sets[0], files["e"])):
        error = run(*line, *sides, code=1).err
        assert "holds the output embedding, kl needs logits: give audio" in error
    error = run(*line, files["r"], files["e"], "--metric", "fad", code=1).err
    assert "e.npz: holds the output embedding, kl needs logits" in error
    run("embed", sets[0], "-m", WEIGHTLESS, "-o", tmp_path / "w.npz")
    error = run(*line, tmp_path / "w.npz", sets[1], code=2).err
    assert f"kl needs logits, which {WEIGHTLESS} does not give" in error
    # A dry run takes the model in the same way.
    said = json.loads(run(*line, files["rl"], sets[1], "--dry-run").out)
    assert said["model"] == "classifier:output=logits"
    assert "kl needs logits" in run(*line, sets[0], sets[1], "--dry-run", code=2).err


def test_a_stream_takes_the_model_of_its_reference(files, sets):
    clips = [soundfile.read(sets[1] / f"{i}.wav") for i in range(6)]
    for metric in ("kl", "fad"):
        metrics = fad_onnx.StreamingEvaluation(metric, files["rl"])
        for index, (samples, rate) in enumerate(clips):
            metrics.update(samples, rate, names=[f"{index}.wav"])
        (value,) = metrics.compute().values()
        (expected,) = fad_onnx.evaluate(sets[1], files["rl"], metric).to_dict().values()
        assert value == pytest.approx(expected, rel=1e-9)
    metrics = fad_onnx.StreamingEvaluation("kl", files["r"])
    metrics.update(*clips[0], names=["0.wav"])
    with pytest.raises(StatisticsError, match="holds the output embedding, kl needs logits"):
        metrics.compute()
