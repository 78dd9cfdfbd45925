"""One pass: a clip is decoded once, resampled once for each rate, and each network runs once."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

import fad_onnx
from fad_onnx.audio import decoding
from fad_onnx.networks import table
from fad_onnx.networks.preparation import Preparation
from fad_onnx.networks.runtime import Session

from .conftest import write_clip
from .kit import WEIGHTLESS

CLIPS, SECONDS = 4, 3
METRICS = (
    "fad:classifier", "fad-inf:classifier", "kad:classifier", "prdc:classifier", "kl:classifier",
    "isc:classifier", "fad:other", "kad:other",
)  # fmt: skip
OPTIONS = {"isc_splits": 2, "ci": 0.9}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sets")
    for name in ("reference", "a", "b"):
        for index in range(CLIPS):
            write_clip(folder / name / f"{index}.wav", 10 * ord(name[0]) + index, SECONDS)
    return [folder / name for name in ("reference", "a", "b")]


@pytest.fixture
def models(monkeypatch):
    """A network with two outputs, and another one at another rate."""
    model = table.model(WEIGHTLESS)
    embedding = model.network.outputs["embedding"]
    two = replace(model.network, outputs={"embedding": embedding, "logits": replace(embedding)})
    faster = replace(model.preparation, sample_rate_hz=32000)
    own = {
        "classifier": replace(model, name="classifier", network=two),
        "other": replace(model, name="other", preparation=faster),
    }
    every = {**table.models(), **own}
    monkeypatch.setattr(table, "models", lambda: every)


@pytest.fixture
def counted(monkeypatch):
    """How often each file was opened, how often resampled to each rate, and windows that ran."""
    opened, resampled, runs = Counter(), Counter(), Counter()
    decoder, resample, run = decoding.Decoder.__init__, Preparation.resample, Session.run

    def opens(self, clip, *arguments, **keywords):
        opened[str(clip.path)] += 1
        decoder(self, clip, *arguments, **keywords)

    def resamples(self, *arguments, **keywords):
        resampled[self.sample_rate_hz] += 1
        return resample(self, *arguments, **keywords)

    def counts(self, inputs, tensors):
        runs["windows"] += len(inputs[0])
        return run(self, inputs, tensors)

    monkeypatch.setattr(decoding.Decoder, "__init__", opens)
    monkeypatch.setattr(Preparation, "resample", resamples)
    monkeypatch.setattr(Session, "run", counts)
    return opened, resampled, runs


def windows(paths):
    """How many windows each of the two networks has to run."""
    found = fad_onnx.embed([str(path) for path in paths], "classifier", cache=False)
    faster = fad_onnx.embed([str(path) for path in paths], "other", cache=False)
    return sum(map(len, found.values())) + sum(map(len, faster.values()))


def test_everything_happens_once_whatever_is_asked(sets, models, counted):
    opened, resampled, runs = counted
    expected = {}
    for one in sets:  # names repeat in the three sets
        before = runs["windows"]
        windows([one])
        expected[one] = runs["windows"] - before
    for counter in counted:
        counter.clear()
    reference, *evaluations = sets
    found = fad_onnx.evaluate(
        evaluations, reference, METRICS, metric_options=OPTIONS, cache=False,
        per_file=True, compare=[(str(evaluations[0]), str(evaluations[1]))],
    )  # fmt: skip
    assert len(found.measured) == 2 * len(METRICS)
    files = {str(path) for one in sets for path in one.iterdir()}
    assert opened == Counter(files)
    assert resampled == {16000: len(files), 32000: len(files)}
    assert runs["windows"] == sum(expected.values())


@pytest.mark.parametrize("kind", ["stats", "embed", "dataset", "array"])
def test_a_reference_that_was_made_is_not_made_again(sets, models, counted, kind, tmp_path):
    opened, resampled, runs = counted
    reference, evaluation, _ = sets
    made = fad_onnx.embed(reference, "classifier", cache=False)
    given = made
    if kind == "stats":
        given = tmp_path / "s.npz"
        fad_onnx.stats(reference, given, "classifier", cache=False)
    elif kind == "embed":
        given = tmp_path / "e.npz"
        fad_onnx.embed(reference, "classifier", output=given, cache=False)
    elif kind == "array":
        given = np.concatenate(list(made.values()))
    asked = [f"{name}:classifier" for name in (("fad",) if kind == "stats" else ("fad", "kad"))]
    for counter in counted:
        counter.clear()
    found = fad_onnx.evaluate(evaluation, given, asked, cache=False)
    assert len(found.measured) == len(asked)
    assert opened == Counter(str(path) for path in evaluation.iterdir())
    assert resampled == {16000: CLIPS} and runs["windows"] > 0


def test_what_is_cached_is_not_decoded_again(sets, models, counted, tmp_path):
    opened, _, runs = counted
    asked = {"metrics": ["fad:classifier", "kl:classifier"], "cache_dir": tmp_path}
    first = fad_onnx.evaluate(sets[1], sets[0], **asked)
    opened.clear()
    runs.clear()
    again = fad_onnx.evaluate([sets[1], sets[2]], sets[0], **asked)
    assert opened == Counter(str(path) for path in sets[2].iterdir())
    assert runs["windows"] > 0
    values = {(one.path, one.label): one.value.value for one in again.measured}
    for one in first.measured:
        assert values[one.path, one.label] == one.value.value
