"""What holds for every graph, whatever its family."""

import json
import os
import re

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from exporters import parity
from exporters.__main__ import main
from exporters.check import difference
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.selection import variants
from fad_onnx.tools.known_answers import options_key
from tests import kit

pytestmark = pytest.mark.parity

GRAPHS = parity.graphs()
# .ci/parity.py runs one family of exporters at a time; "" is what holds for all of them together.
FAMILY = os.environ.get("PARITY_FAMILY")
OWN = {
    name
    for family in parity.families()
    if FAMILY in (None, family.__name__.rpartition(".")[2])
    for name in (*(graph.name for graph in family.GRAPHS), *getattr(family, "ORIGINALS", ()))
}
# Counters of training steps: no arithmetic at inference.
UNUSED = ("num_batches_tracked",)
# Models that differ by nothing but their checkpoint are one case.
MODELS = [
    model for model in table.models().values() if model.name in OWN and parity.at_hand(model.name)
]
FIRST_USES = {
    (selection.graph, selection.output.tensor): selection
    for model in reversed(MODELS)
    for selection in variants(model)
}
# One graph of those whose tensors have the same names but for the number of layers.
ARCHITECTURES = {
    tuple(dict.fromkeys(re.sub(r"\d+", "N", key) for key in parity.bound(graph.path))): name
    for name, graph in reversed(GRAPHS.items())
    if graph.path.is_file()  # a missing one fails where it is compared
}
every_graph = pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] if kit.is_huge(graph.path) else [])
        for name, graph in GRAPHS.items()
        if name in OWN
    ],
)


def example(name: str, batch: int):
    """Inputs unlike those of the export."""
    graph, random, inputs = GRAPHS[name], np.random.RandomState(batch), []
    for tensor, axes in zip(graph.example(), graph.dynamic, strict=True):
        shape = list(tensor.shape)
        for axis, dim in axes.items():
            shape[axis] = batch if dim == "batch" else shape[axis]
        values = random.random_sample(shape)
        if tensor.dtype == torch.int64:
            inputs.append(random.randint(0, 50, size=shape))
        elif tensor.dtype == torch.bool:
            inputs.append(np.arange(batch).reshape(shape) % 2 == 0)
        else:
            inputs.append((values * 2 - 0.5 if tensor.min() < 0 else values).astype(np.float32))
    return inputs


class Unbound:
    """A graph whose checkpoint tensors are inputs, so that each run can have others."""

    def __init__(self, name: str):
        graph = GRAPHS[name]
        proto = onnx.load(graph.path, load_external_data=False)
        self.inputs = [value.name for value in proto.graph.input]
        self.infos = parity.bound(graph.path)
        constants = [tensor for tensor in proto.graph.initializer if tensor.name not in self.infos]
        for tensor in proto.graph.initializer:
            if tensor.name in self.infos:
                proto.graph.input.append(
                    onnx.helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
                )
        del proto.graph.initializer[:]
        proto.graph.initializer.extend(constants)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(proto.SerializeToString(), options)
        self.tensors = synthetic.tensors(self.infos, seed=11)

    def run(self, inputs, **others):
        feed = dict(zip(self.inputs, inputs, strict=True)) | self.tensors | others
        return self.session.run(None, feed)


@every_graph
def test_committed_graph_is_what_the_exporter_writes(name):
    assert difference(GRAPHS[name]) is None


@pytest.mark.parametrize(
    "selection",
    [
        pytest.param(selection, id=f"{selection.model.name}-{options_key(selection)}")
        for selection in FIRST_USES.values()
    ],
)
def test_any_batch_gives_what_the_original_gives_one_by_one(selection, tmp_path):
    tensors = parity.checkpoint(selection, seed=5)
    ours = parity.embedder(selection, tensors, tmp_path)
    theirs = parity.original(selection, tensors)
    lengths = parity.clip_samples(selection.model)
    samples, channels = lengths[len(lengths) // 2], selection.preparation.channel_count
    # Levels 12 dB apart: on random weights embeddings of equally loud clips are much alike.
    clips = [synthetic.clip(seed, samples, channels) * np.float32(0.25**seed) for seed in range(5)]
    windows = [ours.windower("error").push(clip, last=True)[0] for clip in clips]
    expected = np.stack([theirs(clip)[: len(ours.run(windows[:1])[0])] for clip in clips])
    varies = "batch" in GRAPHS[selection.graph.removesuffix(".onnx")].dynamic[0].values()
    for batch in (1, 2, 3, 5) if varies else (1,):
        off = np.stack(ours.run(windows[:batch])) - expected[:batch]
        if (expected == np.rint(expected)).all():
            # Whole numbers: a tie may fall on either side, seldom.
            assert np.abs(off).max() <= 1 and np.abs(off).mean() < 2e-3
        else:
            spread = np.linalg.norm(expected - expected.mean(axis=(0, 1)))
            assert np.linalg.norm(off) <= 1e-4 * spread


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(model, id=model.name)
        for model in MODELS
        if model.preparation.windows.fill == "none" and model.preparation.windows.tail != "pad"
    ],
)
def test_the_minimum_is_the_shortest_clip_that_the_original_takes(model):
    """Where a tail is padded, the entry's minimum says what is exact, not what is possible."""
    (selection, *_), rules = variants(model), model.preparation
    theirs = parity.original(selection, parity.checkpoint(selection, seed=6))
    assert len(theirs(synthetic.clip(1, rules.minimum_samples, rules.channel_count)))
    try:
        embeddings = theirs(synthetic.clip(1, rules.minimum_samples - 1, rules.channel_count))
    except (RuntimeError, ValueError, IndexError):
        return
    assert not len(embeddings), "the original takes a shorter clip: lower minimum_samples"


@pytest.mark.slow
@pytest.mark.parametrize("name", ARCHITECTURES.values())
def test_every_bound_tensor_changes_the_output(name):
    unbound, random = Unbound(name), np.random.RandomState(3)
    inputs = example(name, 1)
    before = unbound.run(inputs)
    silent = []
    for key, values in unbound.tensors.items():
        if values.dtype.kind == "f":
            # Noise, not a factor: weight norm would cancel that.
            noise = random.standard_normal(values.shape) * (0.3 * np.abs(values).mean() + 0.03)
            other = np.abs(values + noise) if (values >= 0).all() else values + noise
        else:
            other = values[::-1]
        after = unbound.run(inputs, **{key: np.ascontiguousarray(other, values.dtype)})
        if all(np.array_equal(a, b) for a, b in zip(before, after, strict=True)):
            silent.append(key)
    assert not silent


@every_graph
def test_names_shapes_and_types_are_the_modules(name):
    state = GRAPHS[name].module().state_dict()
    infos = parity.bound(GRAPHS[name].path)
    assert [key for key in state if not key.endswith(UNUSED)] == list(infos)
    for key, info in infos.items():
        assert info.shape == tuple(state[key].shape)
        assert info.dtype == state[key].numpy().dtype


def test_all_graphs_together_are_small():
    assert sum(graph.path.stat().st_size for graph in GRAPHS.values()) < 8e6  # as the wheel
    assert {graph.path.name for graph in GRAPHS.values()} == {
        path.name for path in parity.GRAPHS_FOLDER.glob("*.onnx")
    }


def test_every_model_has_an_original_to_answer_to():
    assert parity.offered("ORIGINALS").keys() == table.models().keys()


def test_check_says_what_differs_and_fails(tmp_path, monkeypatch, capsys):
    proto = onnx.load(GRAPHS["logmel"].path)
    monkeypatch.setattr("exporters.skeleton.GRAPHS_FOLDER", tmp_path)
    assert main(["logmel", "--check"]) == 1
    assert "logmel.onnx: is not committed" in capsys.readouterr().out
    proto.graph.node[0].op_type = "Gemm"
    (tmp_path / "logmel.onnx").write_bytes(proto.SerializeToString())
    assert main(["logmel", "--check"]) == 1
    assert repr(proto.graph.node[0].name) in capsys.readouterr().out


def test_unknown_names_are_refused_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as error:
        main(["vgish"])
    assert error.value.code == 2
    assert "vggish_pca" in capsys.readouterr().err


def test_a_standalone_model_needs_weights_and_a_place(tmp_path, capsys):
    with pytest.raises(SystemExit):
        main(["vggish", "--weights", "weights.pth"])
    missing = str(tmp_path / "missing.pth")
    assert main(["vggish", "--weights", missing, "-o", str(tmp_path / "out.onnx")]) == 1
    assert f"{missing}: no such file" in capsys.readouterr().err
    assert not (tmp_path / "out.onnx").exists()


def test_a_checkpoint_with_an_equals_sign_in_its_name_is_a_path(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Cnn14_16k_mAP=0.438.pth").write_bytes(b"no checkpoint")
    given = ["--weights", "Cnn14_16k_mAP=0.438.pth", "-o", "out.onnx"]
    assert main(["pann-16k", *given]) == 1
    assert "Cnn14_16k_mAP=0.438.pth: starts with" in capsys.readouterr().err


def test_verify_prints_what_the_readme_shows(capsys):
    assert main(["verify", "logmel", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    (row,), (finding,) = printed["rows"], printed["findings"]
    assert list(row) == printed["columns"] and row["model"] == "logmel"
    assert finding["rows_error"] < 1e-5 and finding["score_difference"] < 1e-5
    # The resamplers differ, a little.
    assert 1e-5 < finding["resampled_difference"] < 1e-2
