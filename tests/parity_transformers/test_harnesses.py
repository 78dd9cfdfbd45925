"""Scores of fadtk and kadtk by their own code, with networks of transformers."""

import pytest

pytest.importorskip("torch")

from exporters import harnesses
from exporters.harnesses import LIMITS, clips, fadtk

pytestmark = pytest.mark.parity
QUICK = {("fadtk", "whisper-tiny"), ("kadtk", "hubert-base")}
CASES = [
    pytest.param(protocol, model, marks=() if (protocol, model) in QUICK else pytest.mark.slow)
    for protocol in ("fadtk", "kadtk")
    for model in fadtk.TRANSFORMERS
]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Few clips: a network of a second takes a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips, "CLIPS", 5)
        return clips.write(tmp_path_factory.mktemp("clips"))


@pytest.mark.parametrize(("protocol", "model"), CASES)
def test_a_protocol_gives_the_numbers_of_its_harness(protocol, model, folders):
    for one in harnesses.compared(protocol, model, folders):
        assert one.difference < LIMITS[one.metric], one
