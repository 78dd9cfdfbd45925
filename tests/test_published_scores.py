"""Published scores: the clips are those of the publication, and wrong scores fail."""

import json

import pytest

from fad_onnx.cli import main
from fad_onnx.errors import OptionError
from fad_onnx.networks import table as models
from fad_onnx.networks.runtime import Settings
from fad_onnx.networks.selection import select
from fad_onnx.tools import published_scores
from fad_onnx.weights import prepare

from .kit import WEIGHTLESS

CPU = Settings("cpu")
HELD = published_scores.table()[published_scores.SOURCE]


def test_the_clips_have_the_published_digests(tmp_path):
    assert published_scores.write_clips(tmp_path) == HELD["digests"]


@pytest.mark.parametrize("truth", HELD["scores"], ids=lambda truth: truth["model"])
def test_a_published_score_is_of_a_model_and_a_protocol(truth):
    selection = select(f"{truth['model']}:protocol={truth['protocol']}")
    assert truth["metric"] in selection.model.protocols[truth["protocol"]].metrics


def test_a_harness_has_scores_of_models_that_its_protocol_defines():
    for model, own in published_scores.table()["fadtk"]["models"].items():
        assert select(f"{model}:protocol=fadtk") and len(own["scores"]) == 24


def test_without_weights_the_check_says_how_to_get_them():
    (check,) = published_scores.of_synthetic_clips(models.model("vggish"), CPU)
    assert check.passed is None and "fad-onnx pull vggish" in check.what
    assert not list(published_scores.of_synthetic_clips(models.model(WEIGHTLESS), CPU))


@pytest.fixture
def of_weightless(monkeypatch):
    """The tables as if the scores were of the model that needs no weights, prepared natively."""

    def published(**values):
        scores = [
            {"model": WEIGHTLESS, "metric": metric, "protocol": "native", "value": value,
             "tolerance": 1e-3}
            for metric, value in values.items()
        ]  # fmt: skip
        held = {**HELD, "scores": scores}
        monkeypatch.setattr(published_scores, "table", lambda: {published_scores.SOURCE: held})
        monkeypatch.setattr(prepare, "ready", lambda _: True)
        return list(published_scores.of_synthetic_clips(models.model(WEIGHTLESS), CPU))

    return published


@pytest.mark.large
def test_a_wrong_score_fails_and_the_right_one_passes(of_weightless):
    (wrong,) = of_weightless(fad=1e-3)
    assert wrong.passed is False and wrong.error > 1
    value = float(wrong.what.split("clips, ")[1].split(" against")[0])
    (right, near) = of_weightless(fad=value, kad=1.0)
    assert right.passed and right.error < 1e-5
    assert near.passed is False


def test_other_clips_are_not_compared(of_weightless, monkeypatch):
    monkeypatch.setattr(published_scores, "SETS", {"reference": ("ref", 3)})
    (check,) = of_weightless(fad=1.0)
    assert check.passed is None and "differ from the published" in check.what


def test_a_table_needs_its_clips_and_statistics(tmp_path, capsys):
    assert main(["verify", "vggish", "--published", "fadtk"]) != 0
    assert "needs a MODEL, --audio FOLDER and --statistics FILE" in capsys.readouterr().err
    for name, model, text in (
        ("kadtk", "vggish", "known: fadtk"),
        ("synthetic_clips", "vggish", "known: fadtk"),
        ("fadtk", "pann-16k", "no scores of pann-16k, but of vggish"),
    ):
        with pytest.raises(OptionError, match=text):
            list(published_scores.of_harness(name, model, tmp_path, tmp_path, CPU))


def test_the_json_of_verify_has_the_published_scores(capsys):
    assert main(["verify", WEIGHTLESS, "--json"]) == 0
    assert all(
        check["passed"] is not False for check in json.loads(capsys.readouterr().out)["checks"]
    )
