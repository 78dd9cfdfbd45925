"""A session computes the outputs that are fetched, and nothing else."""

import pickle

import numpy as np
import pytest

from fad_onnx.networks import frontends, runtime, synthetic, table
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import variants
from fad_onnx.networks.windows import Windower
from fad_onnx.weights import binding
from fad_onnx.weights.checkpoints.onnx_file import initializers, pruned

# The smallest network with two outputs of one graph.
MODEL = min(
    (one for one in table.models().values() if len({v.output.tensor for v in variants(one)}) > 1),
    key=lambda one: sum(
        info.length for info in binding.external(binding.graph_file(variants(one)[0])).values()
    ),
)
FIRST, SECOND = list(dict.fromkeys(one.output.tensor for one in variants(MODEL)))[:2]


@pytest.fixture(scope="module")
def graph(tmp_path_factory):
    return binding.publish_synthetic(variants(MODEL)[0], 3, tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def inputs():
    preparation = MODEL.preparation
    samples = max(preparation.minimum_samples, 4000)
    clip = synthetic.clip(1, samples, preparation.channel_count).astype(np.float32)
    (window, *_) = Windower(preparation, None, "error").push(clip, last=True)
    return frontends.apply(preparation.frontend, window.samples[None])


@pytest.mark.large
def test_one_output_takes_fewer_nodes_and_gives_the_same_bits(graph, inputs):
    part = pruned(graph, {FIRST})
    assert part is not None and len(part) < graph.stat().st_size
    whole = Session(graph, Settings("cpu")).run(inputs, (FIRST, SECOND))
    for name, expected in zip((FIRST, SECOND), whole, strict=True):
        session = Session(graph, Settings("cpu"), frozenset({name}), pruned)
        if name == FIRST and runtime._version() >= runtime.PRUNING_SINCE:
            assert [value.name for value in session._session.get_outputs()] == [name]
        np.testing.assert_array_equal(session.run(inputs, (name,))[0], expected)


@pytest.mark.large
def test_a_run_that_asks_for_more_opens_the_session_again(graph, inputs):
    session = Session(graph, Settings("cpu"), frozenset({FIRST}), pruned)
    first = session.run(inputs, (FIRST,))[0]
    both = session.run(inputs, (SECOND, FIRST))
    np.testing.assert_array_equal(both[1], first)
    assert session.outputs == {FIRST, SECOND}
    copy = pickle.loads(pickle.dumps(session))
    np.testing.assert_array_equal(copy.run(inputs, (SECOND,))[0], both[0])


def test_what_is_needed_is_left_as_it_is(graph):
    assert pruned(graph, {FIRST, SECOND}) is None


def test_a_pruned_model_names_the_tensors_that_it_needs(graph, tmp_path):
    path = tmp_path / "part.onnx"
    path.write_bytes(pruned(graph, {FIRST}))
    whole, part = initializers(graph), initializers(path)
    assert part.keys() <= whole.keys()
    outside = [name for name, info in part.items() if info.external]
    assert outside and all(part[name].offset == whole[name].offset for name in outside)
