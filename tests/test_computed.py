"""Constants that a release of a checkpoint leaves out."""

import re
from pathlib import Path

import numpy as np
import pytest

from fad_onnx.networks import table
from fad_onnx.networks.network import SlaneyFilters, SwinMask
from fad_onnx.networks.selection import select
from fad_onnx.weights.computed import constant
from fad_onnx.weights.naming import Part, Tensors


@pytest.mark.parametrize("windows", [2, 4, 8])
def test_the_mask_parts_what_the_shift_brought_together(windows):
    """As Swin makes it: number the regions of the picture, cut it into windows, compare."""
    side = 8 * windows
    picture, number = np.zeros((side, side)), 0
    for rows in (slice(0, -8), slice(-8, -4), slice(-4, None)):
        for columns in (slice(0, -8), slice(-8, -4), slice(-4, None)):
            picture[rows, columns] = number
            number += 1
    own = [
        picture[r : r + 8, c : c + 8].ravel() for r in range(0, side, 8) for c in range(0, side, 8)
    ]
    expected = [np.where(one[:, None] == one, 0.0, -100.0) for one in own]
    found = constant(SwinMask(), (windows**2, 64, 64))
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, expected)


# Bin, band and value of librosa 0.11.0, filters.mel(sr=48000, n_fft=1024, n_mels=64, fmin=50,
# fmax=14000).
LIBROSA = {
    (2, 0): 0.01501181349158287,
    (3, 1): 0.012572206556797028,
    (19, 15): 0.010585889220237732,
    (79, 40): 0.004341618157923222,
    (283, 63): 0.001313270186074078,
}


def test_filters_are_triangles_of_equal_area_on_slaneys_scale():
    found = constant(FILTERS, (513, 64))
    assert found.shape == (513, 64) and found.dtype == np.float32 and found.min() == 0.0
    for (row, band), value in LIBROSA.items():
        assert found[row, band] == np.float32(value) and found[:, band].argmax() == row
    fine = constant(FILTERS, (32_769, 64)).sum(axis=0) * 24_000 / 32_768
    np.testing.assert_allclose(fine, 1.0, rtol=1e-3)


FILTERS = SlaneyFilters(48_000, 50, 14_000)
BLOCK = "audio_model.audio_encoder.layers.2.blocks.1."
# A tensor of the graph, and what transformers' ClapModel calls it.
NAMES = {
    "audio_branch.bn0.running_var": ["audio_model.audio_encoder.batch_norm.running_var"],
    "audio_branch.patch_embed.proj.bias": ["audio_model.audio_encoder.patch_embed.proj.bias"],
    "audio_branch.patch_embed.fusion_model.local_att.1.running_mean": [
        "audio_model.audio_encoder.patch_embed.fusion_model.local_att.1.running_mean"
    ],
    "audio_branch.layers.2.blocks.1.norm1.weight": [BLOCK + "layernorm_before.weight"],
    "audio_branch.layers.2.blocks.1.norm2.bias": [BLOCK + "layernorm_after.bias"],
    "audio_branch.layers.2.blocks.1.attn.qkv.bias": [
        BLOCK + f"attention.self.{name}.bias" for name in ("query", "key", "value")
    ],
    "audio_branch.layers.2.blocks.1.attn.proj.weight": [BLOCK + "attention.output.dense.weight"],
    "audio_branch.layers.2.blocks.1.attn.relative_position_bias_table": [
        BLOCK + "attention.self.relative_position_bias_table"
    ],
    "audio_branch.layers.2.blocks.1.mlp.fc1.weight": [BLOCK + "intermediate.dense.weight"],
    "audio_branch.layers.2.blocks.1.mlp.fc2.weight": [BLOCK + "output.dense.weight"],
    "audio_branch.layers.0.downsample.norm.weight": [
        "audio_model.audio_encoder.layers.0.downsample.norm.weight"
    ],
    "audio_branch.norm.weight": ["audio_model.audio_encoder.norm.weight"],
    "audio_projection.0.weight": ["audio_projection.linear1.weight"],
    "audio_projection.2.bias": ["audio_projection.linear2.bias"],
    "text_branch.encoder.layer.11.attention.self.query.weight": [
        "text_model.encoder.layer.11.attention.self.query.weight"
    ],
    "text_projection.2.weight": ["text_projection.linear2.weight"],
}
CLAPS = [one.name for one in table.models().values() if one.network.graph.startswith("htsat")]


def of_transformers(clap):
    """What a file of transformers' ClapModel would give to a network."""
    checkpoint = select(clap).network.checkpoints["main"]
    aliases = [(re.compile(one), made) for one, made in checkpoint.aliases.items()]
    computed = [(re.compile(one), rule) for one, rule in checkpoint.computed.items()]
    own = {name: Part(Path(), name, None) for names in NAMES.values() for name in names}
    return Tensors(own, aliases, computed)


@pytest.mark.parametrize("clap", CLAPS)
def test_transformers_names_are_known_to_every_clap(clap):
    tensors = of_transformers(clap)
    for name, theirs in NAMES.items():
        assert [part.name for part in tensors.parts(name)] == theirs
        assert tensors.rule(name) is None


def test_what_transformers_leaves_out_is_computed():
    tensors = of_transformers(CLAPS[0])
    assert tensors.rule("audio_branch.layers.2.blocks.1.attn_mask") == SwinMask()
    assert tensors.rule("audio_branch.logmel_extractor.melW") == FILTERS
