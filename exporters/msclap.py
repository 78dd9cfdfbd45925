"""Microsoft's CLAP of 2023: 1024 numbers per window of 7 s.

B. Elizalde, S. Deshmukh, H. Wang, "Natural Language Supervision for General-Purpose Audio
Representations", ICASSP 2024, arXiv:2309.05767. Layers and tensor names are those of msclap 1.3.4
(models/clap.py: AudioEncoder 23, Projection 8; models/htsat.py).

This network ignores the yaml of the package (models/htsat.py 937): its filterbank is the one for 32
kHz, applied to audio at 44.1 kHz, and is a tensor of the checkpoint like all others.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from .htsat import BINS, Htsat
from .mocks import stand_ins
from .parity import Embed
from .skeleton import Graph

RATE_HZ, WINDOW_SAMPLES, HOP_SAMPLES = 44_100, 308_700, 320
FRAMES = 1 + WINDOW_SAMPLES // HOP_SAMPLES
WIDTH, DEPTHS = 96, (2, 2, 6, 2)
FEATURES_WIDTH, JOINT = 768, 1024


class Projection(nn.Module):
    """A linear layer, then a residual layer, normalised (models/clap.py:8)."""

    def __init__(self, inner: int = FEATURES_WIDTH, outer: int = JOINT) -> None:
        super().__init__()
        self.linear1 = nn.Linear(inner, outer, bias=False)
        self.linear2 = nn.Linear(outer, outer, bias=False)
        self.layer_norm = nn.LayerNorm(outer)

    def forward(self, features: Tensor) -> Tensor:
        first = self.linear1(features)
        second = self.linear2(functional.gelu(first))
        return torch.as_tensor(self.layer_norm(first + second))


class Base(nn.Module):
    """The tower under the name that msclap has for it (models/htsat.py, HTSATWrapper)."""

    def __init__(self) -> None:
        super().__init__()
        self.htsat = Htsat(WIDTH, DEPTHS, FRAMES)


class AudioEncoder(nn.Module):
    """STFT powers (batch, 965, 513) to embeddings (batch, 1024)."""

    def __init__(self) -> None:
        super().__init__()
        self.base = Base()
        self.projection = Projection()

    def forward(self, power: Tensor) -> Tensor:
        return torch.as_tensor(self.projection(self.base.htsat(power)))


class MsClap(nn.Module):
    """The audio side, with the names of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.audio_encoder = AudioEncoder()

    def forward(self, power: Tensor) -> Tensor:
        return torch.as_tensor(self.audio_encoder(power))


@cache
def package() -> Any:
    """msclap, without the packages that it imports for downloads and other encoders."""
    with stand_ins("torchaudio", "transformers", "huggingface_hub", "torchvision"):
        import msclap.CLAPWrapper
    return msclap.CLAPWrapper


def original_encoder(tensors: Mapping[str, NDArray[Any]]) -> Any:
    """msclap's AudioEncoder of its configuration of 2023 with these tensors."""
    package()
    from msclap.models.clap import AudioEncoder as Original

    made = Original("HTSAT", FEATURES_WIDTH, JOINT, RATE_HZ, 1024, HOP_SAMPLES, 64, 50, 8000, 527)
    own = {
        name.removeprefix("audio_encoder."): torch.tensor(array)
        for name, array in tensors.items()
        if name.startswith("audio_encoder.")
    }
    # The Fourier kernels, which the constructor computes, and the classifier are missing.
    unexpected = made.load_state_dict(own, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"msclap has no tensors named {unexpected}")
    return made.eval()


def window(samples: NDArray[np.float32]) -> NDArray[np.float32]:
    """Samples (1, n) to 7 s by the original's loading, which takes the middle of a clip here."""
    wrapper = package().CLAPWrapper.__new__(package().CLAPWrapper)
    start = max(0, (samples.shape[1] - WINDOW_SAMPLES) // 2)
    middle = samples[:, start : start + WINDOW_SAMPLES]
    wrapper.read_audio = lambda path, resample: (torch.from_numpy(middle), RATE_HZ)
    return np.asarray(wrapper.load_audio_into_tensor("", 7).numpy())


def original(tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    """msclap's own audio encoder on the window that its own loading makes."""
    encoder = original_encoder(tensors)

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            return np.asarray(encoder(torch.from_numpy(window(samples))[None])[0].numpy())

    return embed


def original_features(tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """The log-mel bands (965, 64) that the original network is fed, in bel as the graph's."""
    tower = original_encoder(tensors).base.htsat

    def bands(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode():
            power = tower.spectrogram_extractor(torch.from_numpy(window(samples))[None])
            return np.asarray(tower.logmel_extractor(power)[0, 0].numpy()) / 10

    return bands


GRAPHS = (
    Graph(
        name="msclap_2023",
        module=MsClap,
        example=lambda: (torch.rand(3, FRAMES, BINS),),
        input_names=("power",),
        output_names=("embedding",),
        dynamic=({0: "batch"},),
    ),
)
ORIGINALS = {"msclap-2023": original}
FEATURES = {"msclap-2023": ("log10", original_features)}
# The shortest clip, lengths on either side of whole repetitions and of seven seconds, and lengths
# that are no multiple of a hop.
CLIP_SAMPLES = {
    "msclap-2023": (1, 2, 65_773, 154_349, 154_350, 154_351, 308_699, 308_700, 308_701, 405_371)
}
