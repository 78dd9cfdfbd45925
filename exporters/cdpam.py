"""CDPAM: 512 numbers for the sound of a second (acoustic), and 512 for what is said in it
(content).

P. Manocha, Z. Jin, R. Zhang, A. Finkelstein, "CDPAM: Contrastive Learning for Perceptual Audio
Similarity", ICASSP 2021, arXiv:2102.05109. Network, tensor names and constants are those of the
package cdpam 0.0.6 (models.py, base_encoder with 16 layers and 64 filters; cdpam.py).

The run time passes samples (batch, 1, n) at 22,050 Hz in [-1, 1]. The network expects 16-bit
numbers: the scale and the rounding are in the graph.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .parity import Embed
from .skeleton import Graph

LAYERS, FILTERS, KERNEL = 16, 64, 15
FULL_SCALE = 32768.0
WINDOW_SAMPLES = 22_050


class Encoder(nn.Module):
    """The convolutions, with the checkpoint's names (models.py:8, base_encoder)."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.ebatch = nn.ModuleList(), nn.ModuleList()
        channels, width = 1, FILTERS
        for layer in range(LAYERS):
            # Every fourth layer doubles the channels and keeps every second step. The steps
            # between are dropped after an elementwise function, so they need not be computed.
            last = layer % 4 == 3
            width = 2 * width if last else width
            step = 2 if last else 1
            self.encoder.append(nn.Conv1d(channels, width, KERNEL, step, KERNEL // 2))
            self.ebatch.append(nn.BatchNorm1d(width))
            channels = width

    def forward(self, samples: Tensor) -> Tensor:
        """Samples (batch, 1, n) to the mean over time, (batch, 1024)."""
        for convolve, normalise in zip(self.encoder, self.ebatch, strict=True):
            samples = nn.functional.leaky_relu(normalise(convolve(samples)), 0.1)
        return nn.functional.adaptive_avg_pool1d(samples, 1)[:, :, 0]


class Cdpam(nn.Module):
    """Samples (batch, 1, n) to both embeddings (batch, 512), each of length one."""

    def __init__(self) -> None:
        super().__init__()
        self.base_encoder = Encoder()

    def forward(self, samples: Tensor) -> tuple[Tensor, Tensor]:
        mean = self.base_encoder(torch.round(samples * FULL_SCALE))
        acoustic, content = mean.split(512, dim=1)
        return _unit(acoustic), _unit(content)


def _unit(vectors: Tensor) -> Tensor:
    """torch.nn.functional.normalize, eps 1e-12 (cdpam.py:61)."""
    return vectors / vectors.norm(dim=1, keepdim=True).clamp_min(1e-12)


def original_models() -> Any:
    """cdpam.models alone; the package itself imports librosa, resampy and numpy.matlib."""
    if "cdpam_models" not in sys.modules:
        package = find_spec("cdpam")
        if package is None or package.origin is None:
            raise ImportError("pip install --no-deps cdpam==0.0.6")
        spec = spec_from_file_location("cdpam_models", Path(package.origin).with_name("models.py"))
        assert spec is not None and spec.loader is not None
        module = module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules["cdpam_models"] = module
    return sys.modules["cdpam_models"]


def original(part: int, tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """The package's own encoder, window by window as fadtk 1.1.0 runs it (model_loader.py).

    `part` is 0 for acoustic, 1 for content.
    """
    network = original_models().base_encoder(n_layers=LAYERS, nefilters=FILTERS)
    prefix = "base_encoder."
    own = {name.removeprefix(prefix): torch.from_numpy(np.array(value))
           for name, value in tensors.items() if name.startswith(prefix)}  # fmt: skip
    network.load_state_dict(own, strict=False)
    network.eval()

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        levels = torch.from_numpy(np.round(samples * np.float32(FULL_SCALE)))
        with torch.inference_mode():
            windows = [
                network(window[None])[1 + part] for window in levels.split(WINDOW_SAMPLES, 1)
            ]
            return np.asarray(nn.functional.normalize(torch.cat(windows), dim=1).numpy())

    return embed


GRAPHS = (
    Graph(
        name="cdpam",
        module=Cdpam,
        example=lambda: (torch.rand(2, 1, 4_000) * 2 - 1,),
        input_names=("samples",),
        output_names=("acoustic", "content"),
        # Shorter windows run too; the bound keeps an example size of one step out of the export.
        dynamic=({0: "batch", 2: torch.export.Dim("samples", min=17)},),
    ),
)


def _acoustic(tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    return original(0, tensors)


def _content(tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    return original(1, tensors)


ORIGINALS = {"cdpam-acoustic": _acoustic, "cdpam-content": _content}
CLIP_SAMPLES = dict.fromkeys(ORIGINALS, (1, 15, 16, 481, 6_000, 22_049, 22_050, 22_051, 25_013))
