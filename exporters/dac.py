"""DAC, the Descript Audio Codec at 44.1 kHz: 1024 numbers per 512 samples before quantisation.

R. Kumar et al., "High-Fidelity Audio Compression with Improved RVQGAN", NeurIPS 2023,
arXiv:2306.06546. Layers and tensor names are those of descript-audio-codec 1.0.0
(dac/model/dac.py: Encoder 64; dac/nn/layers.py: snake), with the weight norm of the published file
(weight_g, weight_v).

The run time passes samples (batch, 1, n). Every layer pads with zeros and drops what is left after
its last full stride, so n samples give floor(n / 512) embeddings.

A long clip can be computed in tiles. An embedding depends on 4244 samples on either side of its
own: 3 of the first convolution; 39 of the residual units of each block (three kernels of 7 with
dilations 1, 3 and 9) at steps of 1, 2, 8 and 64 samples; 2, 10, 88 and 704 of the strided
convolutions (a kernel of twice the stride reaches stride + ceil(stride / 2) - 1 steps beyond its
own first one); 512 of the last. In tiles that start at a multiple of 512 samples, every embedding
is therefore that of the whole clip, except for the CONTEXT_STEPS next to a cut.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .mocks import stand_ins
from .parity import Embed
from .skeleton import Graph

CHANNELS, STRIDES, WIDTH = 64, (2, 4, 8, 8), 1024
HOP_SAMPLES = math.prod(STRIDES)
DILATIONS = (1, 3, 9)
EPSILON = 1e-9  # dac/nn/layers.py, snake


class Snake(nn.Module):
    """x + sin(alpha x)^2 / alpha, with one alpha for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.ones(1, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        waves = torch.sin(self.alpha * x)
        return x + (self.alpha + EPSILON).reciprocal() * (waves * waves)


class Convolution(nn.Module):
    """A convolution over time whose kernels are direction and length (torch's weight_norm)."""

    def __init__(
        self, inner: int, outer: int, kernel: int, stride: int = 1, padding: int = 0,
        dilation: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outer))
        self.weight_g = nn.Parameter(torch.ones(outer, 1, 1))
        self.weight_v = nn.Parameter(torch.randn(outer, inner, kernel))
        self.stride, self.padding, self.dilation = stride, padding, dilation

    def forward(self, x: Tensor) -> Tensor:
        squares = (self.weight_v * self.weight_v).sum(dim=(1, 2), keepdim=True)
        kernels = self.weight_v * (self.weight_g / torch.sqrt(squares))
        return functional.conv1d(x, kernels, self.bias, self.stride, self.padding, self.dilation)


class ResidualUnit(nn.Module):
    """Steps plus the output of a dilated kernel of 7 for them (dac/model/dac.py:22)."""

    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            Snake(channels),
            Convolution(channels, channels, 7, padding=3 * dilation, dilation=dilation),
            Snake(channels),
            Convolution(channels, channels, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return x + self.block(x)


class EncoderBlock(nn.Module):
    """Three residual units, then a stride that doubles the channels (dac/model/dac.py:41)."""

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        self.block = nn.Sequential(
            *(ResidualUnit(channels, dilation) for dilation in DILATIONS),
            Snake(channels),
            Convolution(channels, 2 * channels, 2 * stride, stride, math.ceil(stride / 2)),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.block(x)


class Encoder(nn.Module):
    """Samples (batch, 1, n) to steps (batch, 1024, n // 512)."""

    def __init__(self) -> None:
        super().__init__()
        channels = [CHANNELS * 2**number for number in range(len(STRIDES) + 1)]
        self.block = nn.Sequential(
            Convolution(1, CHANNELS, 7, padding=3),
            *(EncoderBlock(*pair) for pair in zip(channels, STRIDES, strict=False)),
            Snake(channels[-1]),
            Convolution(channels[-1], WIDTH, 3, padding=1),
        )

    def forward(self, samples: Tensor) -> Tensor:
        return self.block(samples)


class Dac(nn.Module):
    """Samples (batch, 1, n) to embeddings (batch, n // 512, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Encoder()

    def forward(self, samples: Tensor) -> Tensor:
        return self.encoder(samples).transpose(1, 2)


def original_network(tensors: Mapping[str, NDArray[Any]]) -> Any:
    """dac.model.dac.Encoder with these tensors, ready to run."""
    with stand_ins("audiotools", "argbind", "torchaudio", "julius"):
        import audiotools.ml

        # The package derives its codec from this class, and adds to its lists.
        audiotools.ml.BaseModel = type("BaseModel", (nn.Module,), {"INTERN": [], "EXTERN": []})
        from dac.model.dac import Encoder as Original
    network = Original(CHANNELS, list(STRIDES), WIDTH)
    own = {name.removeprefix("encoder."): torch.from_numpy(np.asarray(array))
           for name, array in tensors.items()}  # fmt: skip
    network.load_state_dict(own, strict=True)
    return network.eval()


def original(tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    """Samples (1, n) to the steps (n // 512, 1024) that fadtk 1.1.0 computes for a window."""
    network = original_network(tensors)

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(network(torch.from_numpy(samples[None]))[0].T.numpy())

    return embed


GRAPHS = (
    Graph(
        name="dac_44k",
        module=Dac,
        example=lambda: (torch.rand(2, 1, 4 * HOP_SAMPLES + 7) * 2 - 1,),
        input_names=("samples",),
        output_names=("embedding",),
        dynamic=({0: "batch", 2: torch.export.Dim("samples", min=2 * HOP_SAMPLES)},),
    ),
)
ORIGINALS = {"dac-44k": original}
CLIP_SAMPLES = {"dac-44k": (512, 513, 1_023, 1_024, 10_001, 30_000)}
