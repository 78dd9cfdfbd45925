"""Wavegram-Logmel-CNN14 of PANNs: 2048 numbers and 527 logits per clip.

Q. Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern
Recognition", IEEE/ACM TASLP 28, 2020, arXiv:1912.10211. Layers and tensor names are those of
frechet_audio_distance 0.3.4 (models/pann.py: Wavegram_Logmel_Cnn14 2304), which has the class of
the authors' repository audioset_tagging_cnn (pytorch/models.py: 2314).

The run time passes the samples (batch, 1, n) and their STFT powers (batch, frames, 513). From n
samples, the branch of the waveform makes ((n - 1) // 5 + 1) // 128 steps, and the branch of the
spectrum (1 + n // 320) // 2, which is the same number or one more. The authors' class fails if they
differ; here, as in kadtk 1.1.0 and the toolkit of DCASE 2024, the branch of the spectrum is cut.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from . import panns
from .panns import BANDS, EMBEDDING, WIDTHS, ClassifyingHead, ConvBlock, LogMel
from .parity import Embed
from .skeleton import Graph

BINS = 513
WAVE_WIDTHS = (64, 64, 128, 128)
STEPS_BINS = 32  # The 128 channels of the waveform are 4 maps of 32 bins.


class WaveBlock(nn.Module):
    """Two convolutions of width 3, the second one dilated, then the maximum of 4 steps.

    Samples (batch, channels, steps) in and out.
    """

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(inner, outer, 3, padding=1, bias=False)
        self.conv2 = nn.Conv1d(outer, outer, 3, padding=2, dilation=2, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm1d(outer), nn.BatchNorm1d(outer)

    def forward(self, samples: Tensor) -> Tensor:
        samples = torch.relu(self.bn1(self.conv1(samples)))
        samples = torch.relu(self.bn2(self.conv2(samples)))
        # In two dimensions: torch.export takes a length that max_pool1d sees for a constant.
        return functional.max_pool2d(samples.unsqueeze(2), (1, 4)).squeeze(2)


def _cut(spectrum: Tensor, wave: Tensor) -> Tensor:
    """The first steps of the spectrum, as many as the waveform has.

    This uses ONNX's own operators, because torch.export would ask for a proof of their number.
    """
    steps = torch.onnx.ops.symbolic(
        "Shape", (wave,), {"start": 2, "end": 3}, dtype=torch.int64, shape=(1,)
    )
    start, axis = torch.tensor([0]), torch.tensor([2])
    shape = (*spectrum.shape[:2], wave.shape[2], spectrum.shape[3])
    return torch.onnx.ops.symbolic(
        "Slice", (spectrum, start, steps, axis), dtype=spectrum.dtype, shape=shape
    )


class WavegramCnn14(ClassifyingHead):
    """Samples (batch, 1, n), STFT powers (batch, frames, 513) to embeddings and logits."""

    def __init__(self) -> None:
        super().__init__()
        self.pre_conv0 = nn.Conv1d(1, WAVE_WIDTHS[0], 11, stride=5, padding=5, bias=False)
        self.pre_bn0 = nn.BatchNorm1d(WAVE_WIDTHS[0])
        for number, (inner, outer) in enumerate(pairwise(WAVE_WIDTHS), start=1):
            self.add_module(f"pre_block{number}", WaveBlock(inner, outer))
        self.pre_block4 = ConvBlock(WAVE_WIDTHS[-1] // STEPS_BINS, WIDTHS[1], halve=False)
        self.logmel_extractor = LogMel(BINS)
        self.bn0 = nn.BatchNorm2d(BANDS)
        self.conv_block1 = ConvBlock(1, WIDTHS[1], halve=True)
        # The second block takes both branches.
        for number, (inner, outer) in enumerate(pairwise((128, *WIDTHS[2:])), start=2):
            self.add_module(f"conv_block{number}", ConvBlock(inner, outer, outer < EMBEDDING))

    def wave(self, samples: Tensor) -> Tensor:
        """The branch of the waveform: (batch, 64, steps, 32)."""
        maps = torch.relu(self.pre_bn0(self.pre_conv0(samples)))
        for number in range(1, len(WAVE_WIDTHS)):
            maps = self.get_submodule(f"pre_block{number}")(maps)
        maps = maps.unflatten(1, (-1, STEPS_BINS)).transpose(2, 3)
        return functional.avg_pool2d(self.pre_block4(maps), (2, 1))

    def spectrum(self, power: Tensor) -> Tensor:
        """The branch of the spectrum: (batch, 64, steps, 32)."""
        maps = self.logmel_extractor(power).unsqueeze(1)
        maps = self.bn0(maps.transpose(1, 3)).transpose(1, 3)
        return self.conv_block1(maps)

    def forward(self, samples: Tensor, power: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        wave, spectrum = self.wave(samples), self.spectrum(power)
        maps = torch.cat([_cut(spectrum, wave), wave], dim=1)
        for number in range(2, len(WIDTHS)):
            maps = self.get_submodule(f"conv_block{number}")(maps)
        embedding = self.pooled(maps.mean(dim=3))
        return embedding, self.fc_audioset(embedding)


SETTINGS = ("Wavegram_Logmel_Cnn14", (32_000, 1024, 320, BANDS, 50, 14_000, 527))


def original_network(tensors: Mapping[str, NDArray[Any]]) -> Any:
    """The authors' class, whose spectrum is cut to the steps of the waveform.

    kadtk 1.1.0, models/panns/models.py 2919, cuts both to the shorter.
    """
    network, steps = panns.original_network(*SETTINGS, tensors), []
    network.pre_block4.register_forward_hook(lambda *made: steps.append(made[2].shape[2]))
    network.conv_block1.register_forward_hook(lambda *made: made[2][:, :, : steps[-1]])
    return network


def original(tensors: Mapping[str, NDArray[Any]], output: str = "embedding") -> Embed:
    """Samples (1, n) to one embedding (1, 2048) or logits (1, 527)."""
    network = original_network(tensors)
    return panns.embed(network) if output == "embedding" else panns.logits(network)


ORIGINALS = {"pann-wavegram": original}
FEATURES = {"pann-wavegram": ("log10", partial(panns.original_features, *SETTINGS))}
GRAPHS = (
    Graph(
        name="wavegram_cnn14",
        module=WavegramCnn14,
        example=lambda: (torch.rand(3, 1, 40_000) * 2 - 1, torch.rand(3, 126, BINS)),
        input_names=("samples", "power"),
        output_names=("embedding", "logits"),
        # Below these the last layer has one step; see TRACED_FRAMES in panns.
        dynamic=(
            {0: "batch", 2: torch.export.Dim("samples", min=20_476)},
            {0: "batch", 1: torch.export.Dim("frames", min=panns.TRACED_FRAMES)},
        ),
    ),
)
