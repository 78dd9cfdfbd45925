"""Scores by protocol against the harness' own code, on 44.1 kHz stereo with offsets and peaks."""

from functools import cache

import pytest

import fad_onnx
from exporters import harnesses
from exporters.harnesses import LIMITS, clips

pytestmark = pytest.mark.parity

CLOSER = {"gudgud96": 1e-4}
# One of each kind, and stereo, and a classifier; all together take most of an hour, some in the
# environment of tests/parity_transformers.
QUICK = {
    ("gudgud96", "encodec-48k"), ("fadtk", "vggish"), ("kadtk", "vggish"),
    ("av-benchmark", "pann-16k"), ("audiocraft", "vggish"),
}  # fmt: skip
CASES = [
    pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
    for case in harnesses.cases()
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Reference and evaluation for a model."""
    return cache(lambda count: clips.write(tmp_path_factory.mktemp("clips"), count))


@pytest.mark.parametrize(("protocol", "model"), CASES)
def test_a_protocol_gives_the_numbers_of_its_harness(protocol, model, folders):
    for one in harnesses.compared(protocol, model, folders(clips.count(model))):
        assert one.difference < CLOSER.get(protocol, LIMITS[one.metric]), one


def test_the_drop_in_class_gives_the_originals_score(folders, tmp_path):
    tensors = harnesses.checkpoint("vggish", 1)
    pair = folders(clips.CLIPS)
    expected = harnesses.cases()["gudgud96", "vggish"](tensors, *pair)["fad"]
    weights = harnesses.saved(tensors, tmp_path)
    metric = fad_onnx.FrechetAudioDistance(weights=weights, cache=False)
    assert metric.score(*pair) == pytest.approx(expected, rel=1e-4)
    native = fad_onnx.FrechetAudioDistance(weights=weights, cache=False, protocol="native")
    assert native.score(*pair) != pytest.approx(expected, rel=1e-4)
