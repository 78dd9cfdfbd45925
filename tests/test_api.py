"""The functions of the package: their signatures, and what they take and give."""

import inspect
import json
import shutil
from dataclasses import FrozenInstanceError, fields
from html import escape

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx.cli import main
from fad_onnx.cli.flags import in_flags
from fad_onnx.errors import (
    FadError,
    IncompatibleStatisticsError,
    OptionError,
    StatisticsError,
    UnknownModelError,
)
from fad_onnx.pipeline.options import RunOptions

from .conftest import write_clip
from .kit import WEIGHTLESS

SHARED = {one.name: one.default for one in fields(fad_onnx.RunOptions)}


@pytest.mark.parametrize("name", ["score", "compare", "evaluate", "stats", "embed", "load_model"])
def test_every_shared_keyword_is_in_the_signature_with_its_default(name):
    signature = inspect.signature(getattr(fad_onnx, name))
    kinds = {one.kind for one in signature.parameters.values()}
    assert inspect.Parameter.VAR_KEYWORD not in kinds
    spelt = {key: one.default for key, one in signature.parameters.items() if key in SHARED}
    of_files = {"workers", "skip_errors", "cache", "cache_dir", "executor", "download_progress"}
    left_out = {"load_model": of_files | {"key"}, "stats": {"key"}, "embed": {"key"}}
    assert spelt == {k: v for k, v in SHARED.items() if k not in left_out.get(name, ())}


def test_true_draws_bars(clips, capsys):
    fad_onnx.stats(clips, None, WEIGHTLESS, progress=True)
    assert "10/10" in capsys.readouterr().err
    fad_onnx.stats(clips, None, WEIGHTLESS, progress=False)
    assert capsys.readouterr().err == ""


def test_models_are_described():
    described = fad_onnx.models()
    assert described[WEIGHTLESS].weights == "none needed"
    assert [one.name for one in described.values() if one.default] == ["vggish"]
    with pytest.raises(FrozenInstanceError):
        described[WEIGHTLESS].name = "x"
    with pytest.raises(TypeError):
        described["x"] = described[WEIGHTLESS]


def test_pull_and_verify_name_what_they_do():
    assert fad_onnx.pull(fad_onnx.ModelSpec(WEIGHTLESS)) == (f"{WEIGHTLESS}: needs no weights",)
    assert fad_onnx.verify([WEIGHTLESS], provider="cpu")[0].passed
    with pytest.raises(UnknownModelError):
        fad_onnx.verify("none", provider="cpu")


def test_a_model_is_a_name_a_spec_or_loaded(clips):
    loaded = fad_onnx.load_model(WEIGHTLESS)
    expected = fad_onnx.stats(clips, None, WEIGHTLESS)
    for model in (fad_onnx.ModelSpec(WEIGHTLESS), loaded, [loaded]):
        made = fad_onnx.stats(clips, model=model, cache=False)
        np.testing.assert_array_equal(made.moments.mean, expected.moments.mean)
    values = [float(one) for one in fad_onnx.compare(clips, clips, [WEIGHTLESS, loaded])]
    assert values[0] == values[1]


@pytest.mark.parametrize("given", [{"provider": "cpu"}, {"weights": "x.pth"}, {"offline": True}])
def test_a_loaded_model_takes_no_option_of_loading(clips, given):
    with pytest.raises(OptionError, match=f"{next(iter(given))}: the model is loaded already"):
        fad_onnx.stats(clips, model=fad_onnx.load_model(WEIGHTLESS), **given)


def test_a_model_decodes_as_it_was_loaded(clips):
    made = fad_onnx.stats(clips, model=fad_onnx.load_model(WEIGHTLESS, sample_format="int16"))
    assert made.metadata.fingerprint == fad_onnx.stats(
        clips, model=WEIGHTLESS, sample_format="int16"
    ).metadata.fingerprint  # fmt: skip


@pytest.mark.parametrize("model", [3, [3], 2.5, {"name": 1}.values()])
def test_what_is_no_model_says_so(clips, model):
    with pytest.raises(OptionError, match="is not a name, ModelSpec or loaded model"):
        fad_onnx.stats(clips, model=model)


def test_one_score_is_of_one_model(clips):
    several = [WEIGHTLESS, "vggish"]
    for call in (
        lambda: fad_onnx.score(clips, clips, several),
        lambda: fad_onnx.stats(clips, model=several),
        lambda: fad_onnx.embed(clips, several),
        lambda: fad_onnx.load_model(several),
    ):
        with pytest.raises(OptionError, match="several models; only compare"):
            call()


def test_embeddings_are_a_mapping_by_clip(clips, tmp_path):
    held = fad_onnx.embed(clips, WEIGHTLESS)
    filed = fad_onnx.embed(clips, WEIGHTLESS, output=tmp_path / "e.npz")
    assert list(held) == list(filed) == [f"{i:02}.wav" for i in range(10)]
    for name in held:
        assert held[name].dtype == np.float32 and held[name].ndim == 2
        np.testing.assert_array_equal(held[name], filed[name])
    with pytest.raises(KeyError):
        held["none.wav"]
    assert issubclass(FadError, Exception) and "x" not in held


@pytest.fixture
def other(tmp_path):
    for seed in range(4):
        write_clip(tmp_path / "other" / f"{seed}.wav", 50 + seed, 3.0)
    return tmp_path / "other"


def test_a_dataset_of_stats_or_embed_scores_as_its_audio(clips, other):
    expected = fad_onnx.score(clips, other, WEIGHTLESS)
    for make in (lambda path: fad_onnx.stats(path, None, WEIGHTLESS),
                 lambda path: fad_onnx.embed(path, WEIGHTLESS)):  # fmt: skip
        for sides in ((make(clips), other), (clips, make(other)), (make(clips), make(other))):
            found = fad_onnx.score(*sides)
            assert float(found) == float(expected) and found.protocol == expected.protocol


def test_moments_and_embeddings_score_and_say_that_nothing_is_known(clips, other):
    expected = float(fad_onnx.score(clips, other, WEIGHTLESS))
    made = fad_onnx.embed(clips, WEIGHTLESS)
    for given in (made.moments, np.concatenate(list(made.values()))):
        found = fad_onnx.score(given, other, WEIGHTLESS)
        assert float(found) == pytest.approx(expected, rel=1e-9)
        assert found.protocol["reference"] == {} and found.model == WEIGHTLESS
        assert "reference: given in memory, nothing says how it was made" in found.warnings
    found = fad_onnx.compare(clips, [made.moments, made, other], WEIGHTLESS)
    assert [one.path for one in found[:2]] == ["evaluation 1", str(clips)]


def test_a_list_of_paths_is_one_dataset(clips, other):
    both = fad_onnx.stats([clips, other], None, WEIGHTLESS)
    found = fad_onnx.score([clips, other], other, WEIGHTLESS)
    assert found.reference.counts["files"] == both.counts["files"] == 14
    np.testing.assert_array_equal(found.reference.moments.mean, both.moments.mean)
    assert float(fad_onnx.compare(other, [[clips, other]], WEIGHTLESS)[0]) > 0


def test_embeddings_give_what_metrics_of_embeddings_need(clips, other):
    wanted = fad_onnx.Wanted(kad=True)
    expected = fad_onnx.score(clips, other, WEIGHTLESS, wanted)
    arrays = [np.concatenate(list(fad_onnx.embed(one, WEIGHTLESS).values()))
              for one in (clips, other)]  # fmt: skip
    found = fad_onnx.score(*arrays, wanted=wanted)
    assert found.metrics["kad"].value == pytest.approx(expected.metrics["kad"].value, rel=1e-9)
    with pytest.raises(StatisticsError, match="kad"):
        fad_onnx.score(fad_onnx.stats(clips, None, WEIGHTLESS), other, wanted=wanted)


def test_what_does_not_compare_is_refused(clips, other):
    made = fad_onnx.stats(clips, None, WEIGHTLESS)
    with pytest.raises(IncompatibleStatisticsError, match="dimensions"):
        fad_onnx.score(np.zeros((9, 3)), made)
    with pytest.raises(IncompatibleStatisticsError, match="it was made with"):
        fad_onnx.score(made, other, "vggish")
    for wrong in (3, [3], np.zeros(5), np.array([["a", "b"]]), []):
        with pytest.raises(OptionError, match="reference: "):
            fad_onnx.score(wrong, other, WEIGHTLESS)


def test_the_streaming_metric_agrees_with_the_score_of_files(clips, other):
    metric = fad_onnx.StreamingFAD(WEIGHTLESS)
    for folder, real in ((clips, True), (other, False)):
        for path in sorted(folder.iterdir()):
            metric.update(*soundfile.read(path, dtype="float32"), real=real)
    expected = float(fad_onnx.score(clips, other, WEIGHTLESS))
    assert metric.compute() == pytest.approx(expected, rel=1e-9)
    with pytest.raises(TypeError, match="sample_rate"):
        metric.update(np.zeros(32000), real=True)


def test_the_streaming_metric_refuses_states_of_another_model():
    metric = fad_onnx.StreamingFAD(WEIGHTLESS)
    state = metric.state() | {"fingerprint": "0" * 64, "model": "another"}
    with pytest.raises(IncompatibleStatisticsError, match="another"):
        metric.merge_state([metric.state(), state])
    with pytest.raises(UnknownModelError):
        fad_onnx.StreamingFAD("none")
    with pytest.raises(OptionError, match="several models"):
        fad_onnx.StreamingFAD([WEIGHTLESS, WEIGHTLESS])


def test_a_loaded_model_keeps_its_rule_for_short_clips():
    loaded = fad_onnx.load_model(WEIGHTLESS, short="pad")
    metric = fad_onnx.StreamingFAD(loaded)
    metric.update(np.full(1000, 0.1), 16000, real=True)
    assert metric.state()["real"].count == 1 and fad_onnx.load_model(loaded).short == "pad"


def test_a_score_is_the_json_object_of_the_command_line(clips, other, capsys):
    args = ["score", str(clips), str(other), str(clips), "-m", WEIGHTLESS, "--kad", "--json", "-q"]
    assert main(args) == 0
    printed = json.loads(capsys.readouterr().out)
    scores = fad_onnx.compare(
        str(clips), [str(other), str(clips)], WEIGHTLESS, fad_onnx.Wanted(kad=True)
    )
    assert json.loads(json.dumps(scores.to_dict())) == printed
    assert scores[1].to_dict()["results"] == printed["results"][1:]


def test_a_notebook_shows_scores_as_a_table(clips, other):
    scores = fad_onnx.compare(clips, [other, clips], WEIGHTLESS, fad_onnx.Wanted(kad=True))
    page = scores._repr_html_()
    assert page.count("<tr>") == 3 and f"<td>{scores[0].value:.6g}</td>" in page
    assert "<th>fad</th><th>kad</th>" in page and escape(scores[0].warnings[0]) in page
    one = scores[0]._repr_html_()
    assert one.count("<tr>") == 2 and str(other) in one


def test_a_table_escapes_what_it_shows(clips, tmp_path):
    odd = tmp_path / "a <b>&'"
    shutil.copytree(clips, odd)
    page = fad_onnx.score(clips, odd, WEIGHTLESS)._repr_html_()
    assert "<b>" not in page and "&lt;b&gt;&amp;" in page


def test_evaluate_takes_several_folders(clips, other):
    found = fad_onnx.evaluate([clips, other], clips, f"fad:{WEIGHTLESS}")
    assert len(found.results) == 2 and len(found.to_dict()) == 2


@pytest.mark.parametrize(("given", "parameter", "flag"), [
    ({"short": "x"}, "short", "--short"), ({"provider": "x"}, "provider", "--provider"),
    ({"workers": 0}, "workers", "--workers"), ({"device": "x"}, "device", None),
    ({"wanted": {"ci": 95.0}}, "ci", "--ci"), ({"wanted": {"seed": -1}}, "seed", "--seed"),
    ({"model": ["logmel", "vggish"], "options": {"x": 1}}, "options", "--option"),
])  # fmt: skip
def test_an_error_names_the_parameter_and_the_command_line_its_flag(clips, given, parameter, flag):
    def call():
        wanted = fad_onnx.Wanted(**given.get("wanted", {}))
        fad_onnx.compare(clips, clips, **{"model": WEIGHTLESS, **given, "wanted": wanted})

    with pytest.raises(OptionError, match=f"^{parameter}: ") as caught:
        call()
    assert "--" not in str(caught.value)
    if flag:
        assert in_flags(caught.value).startswith(f"{flag}: ")


def test_keywords_are_spelt_out_in_the_signatures():
    every = {one.name for one in fields(RunOptions)}
    for public in (fad_onnx.FrechetAudioDistance, fad_onnx.CLAPScore):
        assert inspect.signature(public).parameters.keys() >= every - {"key"}
    known = inspect.signature(fad_onnx.Wanted).parameters
    assert {"inf", "kad", "ci", "seed", "inf_draw", "per_file"} <= set(known)
    assert fad_onnx.Wanted(**{name: one.default for name, one in known.items()}).metrics


def test_an_evaluation_is_a_table_in_a_notebook(clips):
    found = fad_onnx.evaluate([clips, clips / "09.wav"], clips, [f"fad:{WEIGHTLESS}"])
    page = found._repr_html_()
    assert f"<th>dataset</th><th>fad:{WEIGHTLESS}</th>" in page
    assert page.count("<tr>") == 3 and f"<td>{clips}</td>" in page and "<li>" in page
