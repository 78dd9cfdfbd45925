"""Every model under every protocol gives embeddings as wide as it says, from a real run."""

import numpy as np
import pytest

from fad_onnx.networks import synthetic, table
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import select
from fad_onnx.weights.binding import publish_synthetic

from ..test_verify import cost


def selections():
    """Each model under each protocol, by the graph that computes it; equal preparations once."""
    found = {}
    for name, model in table.models().items():
        for protocol in ("native", *model.protocols):
            one = select(f"{name}:protocol={protocol}")
            found.setdefault(one.graph, {}).setdefault((one.preparation, one.output.width), one)
    return {graph: list(own.values()) for graph, own in found.items()}


SELECTIONS = selections()


@pytest.mark.parametrize(
    "graph",
    [pytest.param(name, marks=cost(own[0].network)) for name, own in SELECTIONS.items()],
)
def test_embeddings_are_as_wide_as_declared(graph, tmp_path):
    session = Session(publish_synthetic(SELECTIONS[graph][0], 0, tmp_path), Settings("cpu"))
    for selection in SELECTIONS[graph]:
        model, preparation = Embedder(selection, session, {}, ""), selection.preparation
        samples = max(preparation.minimum_samples, preparation.sample_rate_hz)
        clip = synthetic.clip(0, samples, preparation.channel_count).T
        found = model.embed(clip, preparation.sample_rate_hz, short="pad")
        assert found.shape[1] == model.width and len(found) > 0, selection.label
        assert np.isfinite(found).all(), selection.label
