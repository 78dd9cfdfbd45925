"""A file of Keras 2, whose layers are bound by position, gives the model of the same tensors."""

import gzip

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.weights import prepare
from fad_onnx.weights.binding import external, graph_file

from .checkpoints import hdf5_writer

MODEL = "openl3-music"
LEAVES = ("gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias")


def layers(tensors, counter):
    """The layers as Keras names them, with counters from `counter` on."""
    positions: dict[int, dict] = {}
    for name, array in tensors.items():
        layer, _, leaf = name.partition(".")
        positions.setdefault(int(layer), {})[leaf] = array
    made = [("input_1", []), ("melspectrogram_1", [])]
    for position, weights in sorted(positions.items()):
        kind = "conv2d" if "kernel" in weights else "batch_normalization"
        layer = f"{kind}_{position // 2 + counter}"
        ordered = sorted(weights.items(), key=lambda item: LEAVES.index(item[0]))
        made += [(layer, [(f"{layer}/{leaf}:0", array) for leaf, array in ordered]), ("relu", [])]
    return made


@pytest.fixture(scope="module")
def tensors():
    return synthetic.tensors(external(graph_file(select(MODEL))), 3)


def load(path, name=MODEL):
    return prepare.load(prepare.Request(ModelSpec(name, weights={"main": str(path)})))


@pytest.mark.large
def test_h5_and_h5_gz_give_what_the_tensors_give(tensors, tmp_path):
    np.savez(tmp_path / "own.npz", **tensors)
    data = hdf5_writer.keras(layers(tensors, counter=9))
    (tmp_path / "w.h5").write_bytes(data)
    (tmp_path / "w.h5.gz").write_bytes(gzip.compress(data, compresslevel=1))
    expected = load(tmp_path / "own.npz")
    clip = synthetic.clip(4, 30_000).T
    for path in ("w.h5", "w.h5.gz"):
        found = load(tmp_path / path)
        assert found.fingerprint == expected.fingerprint
        np.testing.assert_array_equal(found.embed(clip, 48_000), expected.embed(clip, 48_000))


def test_a_layer_too_many_in_front_does_not_fit(tensors, tmp_path):
    """As in the files of OpenL3 0.2, which hold the weights of a spectrogram."""
    extra = ("spectrogram_1", [("spectrogram_1/kernel:0", np.zeros((512, 1, 1, 257), "<f4"))])
    path = tmp_path / "old.h5"
    path.write_bytes(hdf5_writer.keras([extra, *layers(tensors, 1)]))
    with pytest.raises(CheckpointError, match="17 of the 48 tensors of the graph are not in it"):
        load(path)


def test_a_layer_of_another_shape_does_not_fit(tensors, tmp_path):
    made = layers(tensors, 1)
    made[-2] = (made[-2][0], [("c/kernel:0", np.zeros((3, 3, 512, 128), "<f4")), made[-2][1][1]])
    path = tmp_path / "other.h5"
    path.write_bytes(hdf5_writer.keras(made))
    problem = r"15\.0: shape \(3, 3, 512, 128\), the graph needs \(3, 3, 512, 512\)"
    with pytest.raises(CheckpointError, match=problem):
        load(path)


def test_a_layer_too_few_is_named(tensors, tmp_path):
    path = tmp_path / "short.h5"
    path.write_bytes(hdf5_writer.keras(layers(tensors, 1)[:-2]))
    with pytest.raises(CheckpointError, match=r"2 of the 48 tensors .* first '15\.bias'"):
        load(path)
