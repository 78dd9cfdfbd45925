"""Log-mel statistics: 128 numbers per patch of 0.96 s from VGGish's front end, without weights.

Mean and standard deviation over the 96 frames of each of the 64 log mel bands. They serve
demonstrations and smoke tests; distances between them cannot be compared with published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .parity import Embed
from .skeleton import Graph
from .vggish import BINS, FRAMES, LogMel, original_examples


class LogMelStatistics(nn.Module):
    """STFT magnitudes (batch, 96, 257) to embeddings (batch, 128): 64 means, 64 deviations."""

    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.log_mel = LogMel()
        # As a product: ONNX Runtime's ReduceMean sums in an order that depends on the batch.
        self.register_buffer("average", torch.full((1, FRAMES), 1 / FRAMES), persistent=False)

    def forward(self, magnitude: Tensor) -> Tensor:
        bands = self.log_mel(magnitude)
        mean = self.average @ bands
        # The population's deviation: these 96 frames are the whole patch, not a sample of it.
        deviation = torch.sqrt(self.average @ (bands - mean) ** 2)
        return torch.cat([mean, deviation], dim=2).squeeze(1)


def original(tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """The same numbers from torchvggish's log mel patches; there are no tensors."""

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        patches = original_examples(samples)[:, 0]
        embeddings = np.concatenate([patches.mean(axis=1), patches.std(axis=1)], axis=1)
        return embeddings.astype(np.float32)

    return embed


ORIGINALS = {"logmel": original}
GRAPHS = (
    Graph(
        name="logmel",
        module=LogMelStatistics,
        example=lambda: (torch.rand(3, FRAMES, BINS),),
        input_names=("magnitude",),
        output_names=("embedding",),
        dynamic=({0: "batch"},),
    ),
)
