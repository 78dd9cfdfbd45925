"""Several metrics of clips in memory: the numbers of `evaluate` on files of the same samples."""

import copy
import multiprocessing
import pickle
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import fad_onnx
from fad_onnx import StreamingEvaluation
from fad_onnx.errors import (
    IncompatibleStatisticsError,
    NoAudioError,
    OptionError,
    TooShortError,
    UnpairedError,
)
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.runtime import Session

from .kit import WEIGHTLESS

ASKED = ["fad:classifier", "prdc:classifier", "kl:classifier", "isc:classifier", "kad:other"]
OPTIONS = {"isc_splits": 2, "prdc_k": 2, "ci": 0.9}


@pytest.fixture(autouse=True)
def models(monkeypatch):
    model = table.model(WEIGHTLESS)
    embedding = model.network.outputs["embedding"]
    two = replace(model.network, outputs={"embedding": embedding, "logits": replace(embedding)})
    faster = replace(model.preparation, sample_rate_hz=32000)
    every = {
        **table.models(),
        "classifier": replace(model, name="classifier", network=two),
        "other": replace(model, name="other", preparation=faster),
    }
    monkeypatch.setattr(table, "models", lambda: every)


def clips(start, count=21):
    """So many that more than one chunk is folded."""
    return [synthetic.clip(start + i, 32000 + 1600 * (i % 3))[0] for i in range(count)]


@pytest.fixture(scope="module")
def sides(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sides")
    for name, start in (("real", 100), ("made", 300)):
        (folder / name).mkdir()
        for i, clip in enumerate(clips(start)):
            soundfile.write(folder / name / f"{i:02}.wav", clip, 16000, subtype="FLOAT")
    return folder / "real", folder / "made"


def close(found, expected):
    assert list(found) == list(expected)
    assert list(found.values()) == pytest.approx(list(expected.values()), rel=1e-6)


def test_the_numbers_are_those_of_files(sides):
    real, made = sides
    expected = fad_onnx.evaluate(made, real, ASKED, metric_options=OPTIONS, cache=False)
    streaming = StreamingEvaluation(ASKED, metric_options=OPTIONS, provider="cpu")
    streaming.update(clips(100), 16000, real=True)
    for clip in clips(300):
        streaming.update(clip, 16000)
    close(streaming.compute(), expected.to_dict())
    said = {one.label: one.value for one in streaming.evaluation().measured}
    assert said["kl:classifier"].fields["pairs"] == 21
    assert said["fad:classifier"].fields["fad_ci_pairs"] == 21
    # Epoch by epoch: the reference stays.
    streaming.reset(real=False)
    streaming.update([], 16000)
    with pytest.raises(NoAudioError, match="evaluation: there is no clip yet"):
        streaming.compute()
    streaming.update(clips(300), 16000)
    close(streaming.compute(), expected.to_dict())


@pytest.mark.parametrize("kind", ["folder", "file"])
def test_a_reference_that_is_given_is_made_once(sides, kind, monkeypatch, tmp_path):
    real, _ = sides
    given = real if kind == "folder" else tmp_path / "r.npz"
    if kind == "file":
        fad_onnx.stats(real, given, "classifier", cache=False)
    runs, run = Counter(), Session.run

    def counts(self, inputs, tensors):
        runs["windows"] += len(inputs[0])
        return run(self, inputs, tensors)

    monkeypatch.setattr(Session, "run", counts)
    streaming = StreamingEvaluation(["fad:classifier", "isc:classifier"], given,
                                    metric_options={"isc_splits": 1})  # fmt: skip
    streaming.update(clips(300), 16000)
    # Both outputs come of one run of the network.
    assert runs["windows"] == sum(len(clip) // 16000 for clip in clips(300))
    first, before = streaming.compute(), runs["windows"]
    assert streaming.compute() == first and runs["windows"] == before
    with pytest.raises(OptionError, match="the reference is given already"):
        streaming.update(clips(0), 16000, real=True)


def test_names_make_pairs_and_cannot_repeat():
    streaming = StreamingEvaluation("kl:classifier")
    order = np.random.RandomState(0).permutation(21)
    names = [f"clip {i}" for i in range(21)]
    streaming.update(clips(100), 16000, names=names, real=True)
    streaming.update([clips(300)[i] for i in order], 16000, names=[names[i] for i in order])
    expected = StreamingEvaluation("kl:classifier")
    expected.update(clips(100), 16000, real=True)
    expected.update(clips(300), 16000)
    close(streaming.compute(), expected.compute())
    with pytest.raises(OptionError, match="'clip 3' is taken"):
        streaming.update(clips(0, 1), 16000, names=["clip 3"])
    with pytest.raises(OptionError, match="1 for 2 clips; give one for each"):
        streaming.update(clips(0, 2), 16000, names=["x"])
    with pytest.raises(OptionError, match=r"names: needs texts, found 2 \(int\)"):
        streaming.update(clips(0, 2), 16000, names=["x", 2])
    expected.update(clips(0, 1), 16000)
    with pytest.raises(UnpairedError, match=r"1 of evaluation \(21\)"):
        expected.compute()


def test_a_buffer_may_be_filled_again_and_a_bad_clip_adds_nothing():
    streaming, expected = (StreamingEvaluation("fad:classifier") for _ in range(2))
    buffer = np.zeros(32000, np.float32)
    for clip in clips(100):
        buffer[:] = clip[:32000]
        streaming.update(buffer, 16000, real=True)
        expected.update(clip[:32000], 16000, real=True)
    for one in (streaming, expected):
        one.update(clips(300), 16000)
    with pytest.raises(TooShortError):
        streaming.update([*clips(0, 2), np.zeros(10)], 16000)
    close(streaming.compute(), expected.compute())


def test_captions_are_demanded_where_a_metric_needs_them():
    with pytest.raises(OptionError):
        StreamingEvaluation("what")
    with pytest.raises(OptionError, match="prdc_k: has no effect without metrics=prdc"):
        StreamingEvaluation("fad:classifier", metric_options={"prdc_k": 1})


def parts():
    """Two processes' metrics and one pass over the clips of both."""
    made = [StreamingEvaluation(ASKED, metric_options=OPTIONS, provider="cpu") for _ in range(3)]
    real, evaluation = clips(100, 24), clips(300, 24)
    for one, own in zip(made, (slice(0, 11), slice(11, 24)), strict=False):
        for metric in (one, made[2]):
            metric.update(real[own], 16000, real=True)
            metric.update(evaluation[own], 16000)
    return made


def test_merged_metrics_are_those_of_one_pass_bit_for_bit():
    first, second, whole = parts()
    expected = whole.evaluation()
    before = first.compute()
    merged = first.merge_state([pickle.loads(pickle.dumps(second.state()))]).evaluation()
    assert merged.to_dict() == expected.to_dict() != before
    assert merged.to_json()["results"] == expected.to_json()["results"]
    # What comes later has numbers of its own, on either side.
    for one in (first, whole):
        one.update(clips(500, 2), 16000)
        one.update(clips(700, 2), 16000, real=True)
    assert first.compute() == whole.compute()


def test_pairs_stay_pairs_where_a_process_has_fewer_on_one_side():
    made = [StreamingEvaluation("kl:classifier") for _ in range(3)]
    for one, start, own in ((made[0], 0, 1), (made[1], 10, 0)):
        one.update(clips(100 + start, 3), 16000, real=True)
        one.update(clips(300 + start, 3 - own), 16000)
    with pytest.raises(UnpairedError):
        made[0].merge_state([made[1]]).compute()
    made[0].update(clips(300, 3)[2], 16000, names=["2"])
    for start in (0, 10):
        made[2].update(clips(100 + start, 3), 16000, real=True)
        made[2].update(clips(300 + start, 3), 16000)
    close(made[0].compute(), made[2].compute())


def test_a_copy_stands_alone_and_a_pickle_loads_its_models_again(monkeypatch):
    first, _, _ = parts()
    expected = first.compute()
    for other in (copy.copy(first), copy.deepcopy(first), pickle.loads(pickle.dumps(first))):
        assert other.compute() == expected
        other.update(clips(0, 1), 16000, names=["another"])
        assert first.compute() == expected
    kept = pickle.dumps(first)
    every = table.models()
    changed = replace(every["other"].preparation, sample_rate_hz=16000)
    own = {**every, "other": replace(every["other"], preparation=changed)}
    monkeypatch.setattr(table, "models", lambda: own)
    with pytest.raises(IncompatibleStatisticsError, match="of this process and that of the copied"):
        pickle.loads(kept).compute()


def test_what_cannot_be_merged_adds_nothing(sides):
    first, second, _ = parts()
    expected = first.compute()
    named = StreamingEvaluation(ASKED)
    named.update(clips(0, 1), 16000, names=["a"])
    other = StreamingEvaluation([*ASKED[:4], "kad:classifier"])
    again = copy.copy(named)
    for states, error, said in (
        ([second, other], IncompatibleStatisticsError, "made by other models"),
        ([second, named, again], OptionError, "'a' is taken"),
    ):
        with pytest.raises(error, match=said):
            first.merge_state(states)
        assert first.compute() == expected
    given = StreamingEvaluation(ASKED, sides[0])
    with pytest.raises(OptionError, match="the reference is given already"):
        given.merge_state([second])
    with pytest.raises(OptionError, match="captions: belong to clips of the evaluation"):
        named.update(clips(0, 1), 16000, ["a dog"], real=True)


def in_another_process(start):
    metric = StreamingEvaluation("fad:logmel", provider="cpu")
    metric.update(clips(start, 3), 16000)
    metric.update(clips(start + 1, 3), 16000, real=True)
    return metric.state(), metric


def test_states_and_metrics_come_from_other_processes():
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        (state, metric), (other, _) = pool.map(in_another_process, (100, 200))
    whole = StreamingEvaluation("fad:logmel", provider="cpu")
    for start in (100, 200):
        whole.update(clips(start, 3), 16000)
        whole.update(clips(start + 1, 3), 16000, real=True)
    assert metric.merge_state([other]).compute() == whole.compute()
    empty = StreamingEvaluation("fad:logmel", provider="cpu").merge_state([state, other])
    assert empty.compute() == whole.compute()
