"""HTS-AT: 512 numbers per window of 10 s, as the audio tower of LAION's CLAP computes them.

K. Chen et al., "HTS-AT: A Hierarchical Token-Semantic Audio Transformer for Sound Classification
and Detection", ICASSP 2022, arXiv:2202.00874: a Swin transformer on a log-mel picture. Layers and
tensor names are those of laion_clap 1.1.7 (clap_module/htsat.py: HTSAT_Swin_Transformer 599;
clap_module/model.py: CLAP.get_audio_embedding 720). The tower's output is the mean of the last
layer's tokens (`embedding`, htsat.py:799), not the classifier that follows.

The run time passes STFT powers (batch, 1001 frames, 513 bins) in float32. All tensors of the
checkpoint are bound by name, including the filterbank.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from .panns import BANDS, JOINT, SHORTEST, LogMel
from .swin import TOKENS, WINDOW, stages

BINS, FRAMES = 513, 1001
SIDE = 256  # The picture's height and width; four stretches of time are stacked.
STRETCHES = SIDE // BANDS
PATCH = 4  # A patch is 4 x 4 points of the picture.
CUBIC = -0.75  # torch's bicubic coefficient (ATen/native/UpSample.h).


def cubic_taps(length: int, stretched: int) -> tuple[Tensor, Tensor]:
    """Which four points make each point of a longer line, and their weights: two (4, stretched).

    Bicubic with both ends aligned, in float32 as torch computes it: at a position around 1000,
    exact arithmetic would give weights that differ in the fifth digit.
    """
    step = np.float32(length - 1) / np.float32(stretched - 1)
    position = np.arange(stretched, dtype=np.float32) * step
    left = np.floor(position)
    ahead = position - left
    distances = np.stack([ahead + 1, ahead, 1 - ahead, 2 - ahead]).astype(np.float32)
    a = np.float32(CUBIC)
    near = ((a + 2) * distances - (a + 3)) * distances * distances + 1
    far = ((a * distances - 5 * a) * distances + 8 * a) * distances - 4 * a
    weights = np.where(distances <= 1, near, far).astype(np.float32)
    points = np.clip(left + np.arange(-1, 3)[:, None], 0, length - 1).astype(np.int64)
    return torch.from_numpy(points), torch.from_numpy(weights)


class Picture(nn.Module):
    """Log-mel bands (batch, frames, 64) to patches in window order: (batch, 4096, 16).

    Time is stretched to 1024 frames and cut into four stretches, which are stacked in a picture of
    256 x 256 with the bands upwards (htsat.py reshape_wav2img 833).
    """

    points: Tensor
    weights: Tensor

    def __init__(self, frames: int = FRAMES) -> None:
        super().__init__()
        points, weights = cubic_taps(frames, SIDE * STRETCHES)
        self.register_buffer("points", points, persistent=False)
        self.register_buffer("weights", weights[:, :, None], persistent=False)

    def stretched(self, bands: Tensor) -> Tensor:
        """The four taps of every frame, weighted and added: (batch, 1024, 64)."""
        taps = [bands.index_select(1, self.points[i]) * self.weights[i] for i in range(4)]
        return ((taps[0] + taps[1]) + taps[2]) + taps[3]

    def forward(self, bands: Tensor) -> Tensor:
        # Axes: stretch, window across, patch across, point across, window up, patch up, point up.
        across, up = SIDE // (WINDOW * PATCH), BANDS // (WINDOW * PATCH)
        points = self.stretched(bands).view(-1, STRETCHES, across, WINDOW, PATCH, up, WINDOW, PATCH)
        patches = points.permute(0, 1, 5, 2, 6, 3, 7, 4).contiguous()
        return patches.view(-1, (SIDE // PATCH) ** 2, PATCH**2)


class PatchEmbed(nn.Module):
    """Patches (batch, 4096, 16) to tokens (batch, 4096, width).

    The original convolves the picture with a kernel and stride of 4 x 4, which is this product.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(width)

    def forward(self, patches: Tensor) -> Tensor:
        kernel = self.proj.weight.flatten(1)
        return cast(Tensor, self.norm(functional.linear(patches, kernel, self.proj.bias)))


class Htsat(nn.Module):
    """STFT powers (batch, frames, 513) to the tower's embedding (batch, 8 width)."""

    average: Tensor

    def __init__(self, width: int, depths: Sequence[int], frames: int = FRAMES) -> None:
        super().__init__()
        self.logmel_extractor = LogMel(BINS)
        self.bn0 = nn.BatchNorm1d(BANDS)
        self.picture = Picture(frames)
        self.patch_embed = PatchEmbed(width)
        self.layers = stages(width, depths, SIDE // PATCH)
        self.norm = nn.LayerNorm(width << len(depths) - 1)
        # As a product: ONNX Runtime's ReduceMean sums in an order that depends on the batch.
        self.register_buffer("average", torch.full((1, TOKENS), 1 / TOKENS), persistent=False)

    def normalised(self, bands: Tensor) -> Tensor:
        """bn0 has one scale and shift for each band, so it needs the bands on the channel axis."""
        return cast(Tensor, self.bn0(bands.transpose(1, 2))).transpose(1, 2)

    def tokens(self, power: Tensor) -> Tensor:
        """The input of the first stage: (batch, 4096, width) in window order."""
        bands = self.normalised(self.logmel_extractor(power))
        return cast(Tensor, self.patch_embed(self.picture(bands)))

    def forward(self, power: Tensor) -> Tensor:
        return (self.average @ self.norm(self.layers(self.tokens(power)))).squeeze(1)


class Clap(nn.Module):
    """A tower and CLAP's projection: the tower's input to embeddings (batch, 512) of length one."""

    def __init__(self, tower: nn.Module, features: int) -> None:
        super().__init__()
        self.audio_branch = tower
        self.audio_projection = nn.Sequential(
            nn.Linear(features, JOINT), nn.ReLU(), nn.Linear(JOINT, JOINT)
        )

    def forward(self, power: Tensor) -> Tensor:
        embeddings = self.audio_projection(self.audio_branch(power))
        length = torch.linalg.vector_norm(embeddings, dim=-1, keepdim=True)
        return embeddings / torch.clamp(length, min=SHORTEST)
