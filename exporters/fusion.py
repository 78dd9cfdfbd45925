"""HTS-AT for clips of any length: CLAP's feature fusion ("aff_2d").

Y. Wu et al., "Large-Scale Contrastive Language-Audio Pretraining with Feature Fusion and
Keyword-to-Caption Augmentation", ICASSP 2023, arXiv:2211.06687. From a clip over ten seconds, the
network gets the whole clip, shrunk to 1001 frames, and three stretches of 1001 frames that are not
shrunk, one from each third of the places where they may start (laion_clap 1.1.7,
training/data.py:363 and 419; clap_module/htsat.py: PatchEmbed 108; clap_module/feature_fusion.py:
AFF 133).

The run time passes STFT powers (batch, frames >= 1001, 513 bins) of clips of equal length. 1001
frames are a clip of ten seconds, or a shorter one that was filled up; it has no stretches. The
original draws each place from its third with NumPy's global generator; here it is the middle of the
third. The filterbank is not a tensor of the checkpoint but torchaudio's, and is part of the graph.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn

from .htsat import BINS, FRAMES, PATCH, SIDE, Htsat, Picture
from .panns import BANDS, POWER_FLOOR
from .swin import reordered, window_order

LOWEST_HZ, HIGHEST_HZ, NYQUIST_HZ = 50.0, 14_000.0, 24_000.0
STRETCHES = 3
SQUEEZE = 4  # The fusion's hidden layer is narrower than the tokens by this factor.


def filterbank() -> Tensor:
    """Triangles of height one, HTK spacing: (513 bins, 64 bands), as torchaudio has them.

    torchaudio/functional/functional.py melscale_fbanks, in float32 step by step: its points on
    the mel scale are off by up to 1e-6, which a narrow triangle shows.
    """
    hertz = torch.linspace(0, NYQUIST_HZ, BINS)
    low, high = (2595.0 * math.log10(1.0 + edge / 700.0) for edge in (LOWEST_HZ, HIGHEST_HZ))
    points = 700.0 * (10.0 ** (torch.linspace(low, high, BANDS + 2) / 2595.0) - 1.0)
    widths, distances = points[1:] - points[:-1], points - hertz[:, None]
    rising, falling = -distances[:, :-2] / widths[:-1], distances[:, 2:] / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0.0)


def middles(frames: Tensor) -> Tensor:
    """The starts of the three stretches in this many frames: int64 (3,).

    numpy.array_split cuts the possible starts into thirds; an empty third means 0
    (training/data.py:433).
    """
    starts = frames - (FRAMES - 1)
    number = torch.arange(STRETCHES)
    counts = (starts + (STRETCHES - 1) - number) // STRETCHES
    first = counts.cumsum(0) - counts
    return torch.where(counts > 0, first + (counts - 1).clamp(min=0) // 2, 0)


def shrinking(frames: int) -> tuple[Tensor, Tensor]:
    """The frames from which each of 1001 is computed, and their weights: two (1001, taps).

    Linear interpolation with antialiasing as torch.nn.functional.interpolate computes it, in
    float32 (ATen/native/cpu/UpSampleKernel.cpp, HelperInterpBase): a triangle around the centre of
    each stretch of frames. From 1001 frames each is its own.
    """
    scale = torch.scalar_tensor(frames, dtype=torch.float32) / FRAMES
    centre = scale * (torch.arange(FRAMES) + 0.5)
    first = (centre - scale + 0.5).clamp(min=0.0).long()
    beyond = (centre + scale + 0.5).long().clamp(max=frames)
    taps = torch.arange(2 * ((frames + FRAMES - 1) // FRAMES) + 1)
    points = first[:, None] + taps
    distance = (points.float() - centre[:, None] + 0.5) * (1.0 / scale)
    weights = torch.where(points < beyond[:, None], (1.0 - distance.abs()).clamp(min=0.0), 0.0)
    return points.clamp(max=frames - 1), weights / weights.sum(dim=1, keepdim=True)


class Views(nn.Module):
    """STFT powers (batch, frames, 513) to four log-mel pictures: (batch, 4, 1001, 64).

    The first is the whole clip shrunk, the others are the stretches.
    """

    filters: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("filters", filterbank(), persistent=False)

    def forward(self, power: Tensor) -> Tensor:
        bands = 10.0 * torch.log10(torch.clamp(power @ self.filters, min=POWER_FLOOR))
        frames = power.shape[1]
        points, weights = shrinking(frames)
        taps = bands.index_select(1, points.flatten()).unflatten(1, points.shape)
        whole = (weights[:, None] @ taps).transpose(1, 2)
        starts = middles(torch.scalar_tensor(frames, dtype=torch.int64))
        places = (starts[:, None] + torch.arange(FRAMES)).flatten()
        stretches = bands.index_select(1, places).unflatten(1, (STRETCHES, FRAMES))
        return torch.cat([whole, stretches], dim=1)


class FusionPicture(Picture):
    """The same picture as a map (batch, 1, 256, 256), because a convolution reads it here."""

    def forward(self, bands: Tensor) -> Tensor:
        stretched = self.stretched(bands).view(-1, SIDE // BANDS, SIDE, BANDS)
        return stretched.transpose(2, 3).contiguous().view(-1, 1, SIDE, SIDE)


def attention(channels: int, *pooling: nn.Module) -> nn.Sequential:
    """The layers of one branch of AFF; their places in the sequence are part of their names."""
    hidden = channels // SQUEEZE
    return nn.Sequential(
        *pooling,
        nn.Conv2d(channels, hidden, 1),
        nn.BatchNorm2d(hidden),
        nn.ReLU(),
        nn.Conv2d(hidden, channels, 1),
        nn.BatchNorm2d(channels),
    )


class AttentionalFusion(nn.Module):
    """Combine two maps (batch, channels, height, width), weighted point by point (AFF)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.local_att = attention(channels)
        self.global_att = attention(channels, nn.AdaptiveAvgPool2d(1))

    def forward(self, whole: Tensor, local: Tensor) -> Tensor:
        both = whole + local
        weight = torch.sigmoid(self.local_att(both) + self.global_att(both))
        return 2 * whole * weight + 2 * local * (1 - weight)


class FusionEmbed(nn.Module):
    """Pictures of the whole and of the stretches to tokens (batch, 4096, width) in window order."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, width, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(width)
        # The stretches are read three times as coarsely in time, and placed side by side.
        wide = (PATCH, PATCH * STRETCHES)
        self.mel_conv2d = nn.Conv2d(1, width, wide, stride=wide)
        self.fusion_model = AttentionalFusion(width)

    def forward(self, whole: Tensor, stretches: Tensor, longer: Tensor) -> Tensor:
        maps = self.proj(whole)
        local = self.mel_conv2d(stretches).unflatten(0, (-1, STRETCHES))
        local = local.permute(0, 2, 3, 1, 4).flatten(3)
        local = nn.functional.pad(local, (0, maps.shape[3] - local.shape[3]))
        maps = torch.where(longer, self.fusion_model(maps, local), maps)
        side = SIDE // PATCH
        tokens = maps.flatten(2).transpose(1, 2)
        return cast(Tensor, self.norm(reordered(tokens, np.arange(side**2), window_order(side))))


class FusionHtsat(Htsat):
    """STFT powers (batch, frames >= 1001, 513) to the tower's embedding (batch, 8 width)."""

    def __init__(self, width: int, depths: Sequence[int]) -> None:
        super().__init__(width, depths)
        del self.logmel_extractor  # In the checkpoint, but the original does not use it here.
        self.views = Views()
        self.picture = FusionPicture()
        self.patch_embed = FusionEmbed(width)

    def tokens(self, power: Tensor) -> Tensor:
        longer = torch.scalar_tensor(power.shape[1], dtype=torch.int64) > FRAMES
        pictures = self.picture(self.normalised(self.views(power).flatten(0, 1)))
        pictures = pictures.unflatten(0, (-1, 1 + STRETCHES))
        stretches = pictures[:, 1:].flatten(0, 1)
        return cast(Tensor, self.patch_embed(pictures[:, 0], stretches, longer))
