"""wav2vec 2.0, HuBERT, WavLM and MERT: one architecture, every layer an output.

* A. Baevski, H. Zhou, A. Mohamed, M. Auli, "wav2vec 2.0", NeurIPS 2020, arXiv:2006.11477
* W.-N. Hsu et al., "HuBERT", IEEE/ACM TASLP 29, 2021, arXiv:2106.07447
* S. Chen et al., "WavLM", IEEE JSTSP 16, 2022, arXiv:2110.13900
* Y. Li et al., "MERT", ICLR 2024, arXiv:2306.00107

Networks, tensor names and constants are those of transformers 4.57.6. MERT's own code, without its
options for a constant-Q transform and deep norm, which the published models do not use, is
HuBERT's. The run time passes samples (batch, 1, n), normalised if the published preprocessor does
so. `Form` describes how the networks differ; `wav2vec2_front` and `wav2vec2_layers` write them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from .parity import Embed
from .skeleton import Graph
from .wav2vec2_layers import write
from .wav2vec2_nodes import (
    BUCKETS,
    CHANNELS,
    GROUPS,
    HEAD,
    KERNELS,
    POSITIONS,
    SHORTEST,
    Form,
)

_BASE, _LARGE = Form(), Form(width=1024, layers=24, inner=4096)
FORMS = {
    "wav2vec2_base": _BASE,
    "wav2vec2_large": _LARGE,
    "mert_large": replace(_LARGE, norm_first=True),
    "hubert_large": replace(_LARGE, norm_first=True, group_norm=False, convolution_bias=True),
    "wavlm_base": replace(_BASE, relative=True),
    "wavlm_large": replace(_LARGE, norm_first=True, group_norm=False, relative=True),
}


@dataclass(frozen=True)
class Published:
    """A published model: its form, its class in transformers, and its preprocessor's settings."""

    form: Form
    family: str
    normalise: bool
    rate_hz: int = 16_000


PUBLISHED = {
    "wav2vec2-base": Published(_BASE, "Wav2Vec2", True),
    "wav2vec2-base-960h": Published(_BASE, "Wav2Vec2", True),
    "wav2vec2-large-960h": Published(_LARGE, "Wav2Vec2", True),
    "hubert-base": Published(_BASE, "Hubert", True),
    "hubert-large-ll60k": Published(FORMS["hubert_large"], "Hubert", True),
    "wavlm-base": Published(FORMS["wavlm_base"], "WavLM", False),
    "wavlm-base-plus": Published(FORMS["wavlm_base"], "WavLM", False),
    "wavlm-large": Published(FORMS["wavlm_large"], "WavLM", True),
    "mert-95m": Published(_BASE, "Hubert", True, 24_000),
    "mert-330m": Published(FORMS["mert_large"], "Hubert", False, 24_000),
}


def shapes(form: Form) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The names of the checkpoint's tensors, without its prefix, and their shapes."""
    channels = 1
    for level, kernel in enumerate(KERNELS):
        name = f"feature_extractor.conv_layers.{level}"
        yield f"{name}.conv.weight", (CHANNELS, channels, kernel)
        if form.convolution_bias:
            yield f"{name}.conv.bias", (CHANNELS,)
        if level == 0 or not form.group_norm:
            yield from _pair(f"{name}.layer_norm", CHANNELS)
        channels = CHANNELS
    yield from _pair("feature_projection.layer_norm", CHANNELS)
    yield from _pair("feature_projection.projection", form.width, CHANNELS)
    name = "encoder.pos_conv_embed.conv"
    yield f"{name}.bias", (form.width,)
    yield f"{name}.weight_g", (1, 1, POSITIONS)
    yield f"{name}.weight_v", (form.width, form.width // GROUPS, POSITIONS)
    yield from _pair("encoder.layer_norm", form.width)
    for layer in range(form.layers):
        yield from _layer(form, layer)


def _layer(form: Form, number: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    name, width = f"encoder.layers.{number}", form.width
    for which in ("k_proj", "v_proj", "q_proj", "out_proj"):
        yield from _pair(f"{name}.attention.{which}", width, width)
    if form.relative:
        yield f"{name}.attention.gru_rel_pos_const", (1, form.heads, 1, 1)
        yield from _pair(f"{name}.attention.gru_rel_pos_linear", 8, HEAD)
        if number == 0:
            yield f"{name}.attention.rel_attn_embed.weight", (BUCKETS, form.heads)
    yield from _pair(f"{name}.layer_norm", width)
    yield from _pair(f"{name}.feed_forward.intermediate_dense", form.inner, width)
    yield from _pair(f"{name}.feed_forward.output_dense", width, form.inner)
    yield from _pair(f"{name}.final_layer_norm", width)


def _pair(name: str, *shape: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}.weight", shape
    yield f"{name}.bias", shape[:1]


class Checkpoint(nn.Module):
    """The tensors of a form under the checkpoint's names; `wav2vec2_layers` uses them."""

    def __init__(self, form: Form) -> None:
        super().__init__()
        for name, shape in shapes(form):
            *path, last = name.split(".")
            holder: nn.Module = self
            for part in path:
                if not hasattr(holder, part):
                    holder.add_module(part, nn.Module())
                holder = getattr(holder, part)
            holder.register_buffer(last, torch.zeros(shape))


def graph(name: str, form: Form) -> Graph:
    """The graph of a form."""
    return Graph(
        name=name,
        module=partial(Checkpoint, form),
        example=lambda: (torch.rand(2, 1, 1_000) * 2 - 1,),
        input_names=("samples",),
        output_names=tuple(f"layer_{layer + 1}" for layer in range(form.layers)),
        dynamic=({0: "batch", 2: "samples"},),
        write=partial(write, form),
    )


GRAPHS = tuple(graph(name, form) for name, form in FORMS.items())

# Lengths at which errors would show: the shortest clip, the first with two and with three frames,
# lengths that fill a block of the convolutions and that do not, and one beyond the farthest of
# WavLM's distances.
LENGTHS = (SHORTEST, SHORTEST + 1, 719, 720, 1_040, 16_000, 20_879, 20_880, 41_003)


def network(form: Form, family: str, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """The network of transformers with these tensors: an object of its own class."""
    import transformers

    settings = getattr(transformers, f"{family}Config")(
        hidden_size=form.width,
        num_hidden_layers=form.layers,
        num_attention_heads=form.heads,
        intermediate_size=form.inner,
        feat_extract_norm="group" if form.group_norm else "layer",
        conv_bias=form.convolution_bias,
        do_stable_layer_norm=form.norm_first,
        attn_implementation="eager",
    )
    with torch.device("meta"):
        module = getattr(transformers, f"{family}Model")(settings)
    state = {_renamed(name): torch.from_numpy(np.array(value)) for name, value in tensors.items()}
    # This tensor is in the files, but has no effect unless frames are masked.
    state["masked_spec_embed"] = torch.zeros(form.width)
    module.load_state_dict(state, strict=True, assign=True)
    return module.eval()


def _renamed(name: str) -> str:
    """The name of a tensor since torch 2.1, which has weight norm as a parametrization."""
    for old, new in (("weight_g", "original0"), ("weight_v", "original1")):
        name = name.replace(f"conv.{old}", f"conv.parametrizations.weight.{new}")
    return name


def original(
    name: str, tensors: Mapping[str, NDArray[Any]], layer: str, precision: str = "float32"
) -> Embed:
    """The hidden states of a layer by transformers, after its own feature extractor."""
    import transformers

    one = PUBLISHED[name]
    module = network(one.form, one.family, tensors).to(getattr(torch, precision))
    # A state is recorded when it enters the next layer, so no layer after that one is needed.
    module.encoder.layers = module.encoder.layers[: int(layer) + 1]
    extract = transformers.Wav2Vec2FeatureExtractor(
        sampling_rate=one.rate_hz, do_normalize=one.normalise
    )

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        given = extract(samples[0], sampling_rate=one.rate_hz, return_tensors="pt").input_values
        with torch.inference_mode():
            states = module(given.to(module.dtype), output_hidden_states=True).hidden_states
        return np.asarray(states[int(layer)][0].numpy())

    return embed


ORIGINALS = {name: partial(original, name) for name in PUBLISHED}
PACKAGES = dict.fromkeys(ORIGINALS, "transformers")
CLIP_SAMPLES = dict.fromkeys(ORIGINALS, LENGTHS)
