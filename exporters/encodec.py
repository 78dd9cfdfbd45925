"""Encodec's encoder: 128 numbers per 320 samples, before quantisation.

A. Defossez et al., "High Fidelity Neural Audio Compression", 2022, arXiv:2210.13438. Layers,
tensor names and padding are those of encodec 0.1.1 (modules/seanet.py, conv.py, lstm.py). The
24 kHz model is causal and mono with weight norm; the 48 kHz model is not causal, stereo, and
normalises every convolution over all channels and the whole time axis. As in
frechet_audio_distance 0.3.4 (fad.py, get_embeddings) a clip goes through in one pass, with no
loudness normalisation and no segments of a second.

The run time passes samples (batch, channels, n); embeddings are (batch, ceil(n / 320), 128), for
every n from 1. Those graphs are written node by node (encodec_loop.py, encodec_scan.py); those
for windows of ten seconds are exported from torch (encodec_modules.py).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray

from . import encodec_loop, encodec_scan
from .encodec_modules import Encodec
from .encodec_nodes import FRAME_SAMPLES
from .mocks import stand_ins
from .skeleton import Graph

Write = Callable[[Mapping[str, ir.Value], int], ir.Model]


def _any(name: str, channels: int, causal: bool, write: Write) -> Graph:
    """The graph for any batch of clips of any length."""
    return Graph(
        name=name,
        module=partial(Encodec, channels, causal),
        example=lambda: (torch.rand(2, channels, 3 * FRAME_SAMPLES),),
        input_names=("samples",),
        output_names=("embedding",),
        dynamic=({0: "batch", 2: "samples"},),
        write=write,
    )


def _fixed(name: str, channels: int, causal: bool, samples: int) -> Graph:
    """The graph for one clip of this many samples."""
    return Graph(
        name=name,
        module=partial(Encodec, channels, causal),
        example=lambda: (torch.rand(1, channels, samples),),
        input_names=("samples",),
        output_names=("embedding",),
        dynamic=({},),
    )


GRAPHS = (
    _any("encodec_24k", 1, True, encodec_loop.write),
    _any("encodec_48k", 2, False, encodec_scan.write),
    _fixed("encodec_24k_10s", 1, True, 240_000),
    _fixed("encodec_48k_10s", 2, False, 480_000),
)
# Windows of ten seconds are exact for these lengths alone (24 kHz: any whole frames from 7 on).
CLIP_SAMPLES = {
    "encodec-24k-10s": (7 * FRAME_SAMPLES, 8 * FRAME_SAMPLES, 64_000, 240_000),
    "encodec-48k-10s": (480_000,),
}


def original_network(rate: str, tensors: Mapping[str, NDArray[Any]]) -> Any:
    """The model of encodec 0.1.1 with these tensors in its encoder; rate: "24khz" or "48khz"."""
    with stand_ins("torchaudio"):
        from encodec import EncodecModel
    network = getattr(EncodecModel, f"encodec_model_{rate}")(pretrained=False).eval()
    state = {name: torch.from_numpy(np.ascontiguousarray(t)) for name, t in tensors.items()}
    network.encoder.load_state_dict(
        {name.removeprefix("encoder."): t for name, t in state.items()}, strict=True
    )
    return network


def _original(
    rate: str, tensors: Mapping[str, NDArray[Any]]
) -> Callable[[NDArray[Any]], NDArray[Any]]:
    """The encoder of encodec 0.1.1 on a whole clip, as frechet_audio_distance calls it."""
    network = original_network(rate, tensors)

    @torch.no_grad()
    def embed(samples: NDArray[Any]) -> NDArray[Any]:
        embeddings: NDArray[Any] = network.encoder(torch.from_numpy(samples)[None])[0].T.numpy()
        return embeddings

    return embed


_24K, _48K = (partial(_original, f"{rate}khz") for rate in (24, 48))
ORIGINALS = {"encodec-24k": _24K, "encodec-48k": _48K, "encodec-24k-10s": _24K,
             "encodec-48k-10s": _48K}  # fmt: skip
