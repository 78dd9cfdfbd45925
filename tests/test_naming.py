"""Checkpoints that name tensors otherwise than the graph, or spread them over several files."""

import json
import re
from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest

from fad_onnx.errors import CheckpointError
from fad_onnx.networks import table
from fad_onnx.networks.network import Checkpoint
from fad_onnx.networks.selection import select
from fad_onnx.weights import binding, checkpoints, naming

from .checkpoints import writers

NAMES = {
    "a.weight": np.arange(6, dtype=np.float32).reshape(3, 2),
    "b.weight_g": np.ones((3, 1), np.float32),
}
NETWORK = replace(
    table.model().network,
    checkpoints={
        "main": Checkpoint(
            "w.npz",
            "",
            "MIT",
            prefix="net.",
            aliases={
                r"(.*)\.weight_g": (r"\1.parametrizations.weight.original0",),
                r"(.*)\.qkv\.(\w+)": (r"\1.q.\2", r"\1.k.\2", r"\1.v.\2"),
            },
        )
    },
)


def opened(path, stack, network=NETWORK):
    return naming.open_all(network, {"main": path}, stack)


def fitted(path, name, shape):
    with ExitStack() as stack:
        parts = opened(path, stack).parts(name)
        assert parts, name
        return naming.joined(parts, shape, np.dtype(np.float32))


@pytest.mark.parametrize("prefix", ["", "net.", "module.", "module.net."])
def test_a_prefix_is_removed_where_it_is_there(prefix, tmp_path):
    np.savez(tmp_path / "w.npz", **{prefix + key: value for key, value in NAMES.items()})
    found = fitted(tmp_path / "w.npz", "a.weight", (3, 2))
    np.testing.assert_array_equal(found, NAMES["a.weight"])


def nested(*keys):
    """A torch file of training: the tensors in a dictionary under each key."""
    made = writers.ordered(**{name: writers.tensor(value) for name, value in NAMES.items()})
    return writers.torch_zip({"epoch": 3, **dict.fromkeys(keys, made)})


@pytest.mark.parametrize("key", ["model", "state_dict", "model_state_dict"])
def test_the_only_dictionary_of_tensors_is_read(key, tmp_path):
    (tmp_path / "w.pt").write_bytes(nested(key))
    np.testing.assert_array_equal(fitted(tmp_path / "w.pt", "a.weight", (3, 2)), NAMES["a.weight"])


def test_of_two_dictionaries_of_tensors_none_is_chosen(tmp_path):
    (tmp_path / "w.pt").write_bytes(nested("model", "ema"))
    with ExitStack() as stack:
        assert not opened(tmp_path / "w.pt", stack).own


@pytest.mark.parametrize("name", ["b.weight_g", "b.parametrizations.weight.original0"])
def test_both_names_of_a_tensor_are_read(name, tmp_path):
    np.savez(tmp_path / "w.npz", **{"net." + name: NAMES["b.weight_g"]})
    assert fitted(tmp_path / "w.npz", "b.weight_g", (3, 1)).shape == (3, 1)


def test_the_graphs_own_name_comes_before_an_alias(tmp_path):
    other = {"b.parametrizations.weight.original0": np.zeros((3, 1), np.float32)}
    np.savez(tmp_path / "w.npz", **NAMES, **other)
    np.testing.assert_array_equal(fitted(tmp_path / "w.npz", "b.weight_g", (3, 1)), 1)


def test_three_tensors_are_joined_along_axis_0(tmp_path):
    parts = {f"x.{key}.weight": np.full((2, 4), i, np.float32) for i, key in enumerate("qkv")}
    np.savez(tmp_path / "w.npz", **parts)
    found = fitted(tmp_path / "w.npz", "x.qkv.weight", (6, 4))
    np.testing.assert_array_equal(found, np.concatenate(list(parts.values())))


def test_a_part_that_is_missing_or_does_not_fit_is_named(tmp_path):
    parts = {f"x.{key}.weight": np.zeros((2, 4), np.float32) for key in "qk"}
    np.savez(tmp_path / "w.npz", **parts)
    with ExitStack() as stack:
        assert opened(tmp_path / "w.npz", stack).held(["x.qkv.weight"]) == set()
    np.savez(tmp_path / "w.npz", **parts, **{"x.v.weight": np.zeros((2, 5), np.float32)})
    with pytest.raises(CheckpointError, match=r"x\.q\.weight and .*\(2, 5\), the graph needs"):
        fitted(tmp_path / "w.npz", "x.qkv.weight", (6, 4))


def sharded(folder, weight_map=None, tensors=NAMES):
    for i, (name, value) in enumerate(tensors.items()):
        (folder / f"{i}.safetensors").write_bytes(writers.safetensors({name: value}))
    weight_map = weight_map or {name: f"{i}.safetensors" for i, name in enumerate(tensors)}
    path = folder / "model.safetensors.index.json"
    path.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}), "utf-8")
    return path


def test_an_index_gives_the_tensors_of_its_files(tmp_path):
    path = sharded(tmp_path)
    with checkpoints.open(path) as found:
        assert found.container == "sharded"
        for name, value in NAMES.items():
            np.testing.assert_array_equal(found.tensors()[name].read(), value)


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a\\b", "..", "", "c:x", "sub/x"])
def test_an_index_stays_in_its_folder(name, tmp_path):
    with pytest.raises(CheckpointError, match="outside its folder"):
        checkpoints.open(sharded(tmp_path, {"a.weight": name}))


def test_an_index_that_is_wrong_says_how(tmp_path):
    with pytest.raises(CheckpointError, match="does not hold tensor 'c'"):
        checkpoints.open(sharded(tmp_path, {"c": "0.safetensors"}))
    with pytest.raises(CheckpointError, match=r"9\.safetensors.*cannot be read"):
        checkpoints.open(sharded(tmp_path, {"a.weight": "9.safetensors"}))
    with pytest.raises(CheckpointError, match="named by another index"):
        checkpoints.open(sharded(tmp_path, {"a": "model.safetensors.index.json"}))
    path = tmp_path / "x.json"
    for text, problem in (("{", "not JSON"), ("{}", "weight_map"), ('{"weight_map": {"a": 1}}',
                          "weight_map"), ("{" * 100_000, "not JSON")):  # fmt: skip
        path.write_text(text)
        with pytest.raises(CheckpointError, match=problem):
            checkpoints.open(path)


# Names of the graph to those of the authors: fairseq 0.12, models/wav2vec/wav2vec2.py; microsoft's
# unilm, wavlm/WavLM.py and modules.py; openai-whisper 20240930, whisper/model.py.
FAIRSEQ = (
    (r"conv_layers\.(\d)\.conv\.", r"conv_layers.\1.0."),
    (r"conv_layers\.(\d)\.layer_norm\.", r"conv_layers.\1.2.1."),
    (r"^feature_projection\.layer_norm", "layer_norm"),
    (r"^feature_projection\.projection", "post_extract_proj"),
    (r"pos_conv_embed\.conv", "pos_conv.0"),
    (r"(layers\.\d+)\.layer_norm", r"\1.self_attn_layer_norm"),
    (r"feed_forward\.intermediate_dense", "fc1"),
    (r"feed_forward\.output_dense", "fc2"),
    (r"\.attention\.", ".self_attn."),
    ("gru_rel_pos_linear", "grep_linear"),
    ("gru_rel_pos_const", "grep_a"),
    ("rel_attn_embed", "relative_attention_bias"),
)
GROUP_NORM = ((r"conv_layers\.0\.layer_norm\.", "conv_layers.0.2."), *FAIRSEQ)
OPENAI = (
    ("embed_positions.weight", "positional_embedding"),
    ("embed_tokens", "token_embedding"),
    (r"^encoder\.layer_norm", "encoder.ln_post"),
    (r"^decoder\.layer_norm", "decoder.ln"),
    ("layers", "blocks"),
    ("encoder_attn_layer_norm", "cross_attn_ln"),
    ("self_attn_layer_norm", "attn_ln"),
    ("final_layer_norm", "mlp_ln"),
    ("encoder_attn", "cross_attn"),
    ("self_attn", "attn"),
    ("q_proj", "query"),
    ("k_proj", "key"),
    ("v_proj", "value"),
    ("out_proj", "out"),
    ("fc1", "mlp.0"),
    ("fc2", "mlp.2"),
)


@pytest.mark.parametrize(
    ("model", "rules"),
    [
        ("wav2vec2-base", GROUP_NORM),
        ("hubert-large-ll60k", FAIRSEQ),
        ("wavlm-base-plus", GROUP_NORM),
        ("wavlm-large", FAIRSEQ),
        ("whisper-tiny", OPENAI),
    ],
)
def test_the_authors_own_names_are_read(model, rules, tmp_path):
    """Each tensor is filled with a number of its own."""
    selection, tensors, expected = select(model), {}, {}
    for number, name in enumerate(binding.external(binding.graph_file(selection))):
        theirs = name
        for pattern, replacement in rules:
            theirs = re.sub(pattern, replacement, theirs)
        tensors[theirs], expected[name] = np.float32([number]), number
    np.savez(tmp_path / "w.npz", **tensors)
    with ExitStack() as stack:
        found = opened(tmp_path / "w.npz", stack, selection.network)
        got = {name: found.parts(name) for name in expected}
        assert all(len(parts) == 1 for parts in got.values())
        numbers = {name: float(part.tensor.read().flat[0]) for name, (part,) in got.items()}
    assert len(tensors) == len(expected) and numbers == expected
