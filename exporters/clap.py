"""The HTS-AT checkpoints of LAION's CLAP: the graph that each needs, and the original's answers.

Wu et al., ICASSP 2023, arXiv:2211.06687. Each architecture has one graph: its checkpoints differ
only in their numbers. CLAP with CNN14 is in panns.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest import mock

import librosa
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from . import laion
from .fusion import HIGHEST_HZ, LOWEST_HZ, FusionHtsat
from .htsat import BINS, FRAMES, Clap, Htsat
from .mocks import stand_ins
from .panns import BANDS, POWER_FLOOR
from .parity import Embed
from .skeleton import Graph

RATE_HZ, FFT_SAMPLES, HOP_SAMPLES = 48_000, 1024, 480
# laion_clap's clap_module/htsat.py:981, create_htsat_model: width of tokens, blocks of each stage.
TINY = (96, (2, 2, 6, 2))
BASE = (128, (2, 2, 12, 2))


def clap(tower: type[Htsat], width: int, depths: Sequence[int]) -> nn.Module:
    """A tower of this size with CLAP's projection."""
    return Clap(tower(width, depths), width << len(depths) - 1)


def _graph(name: str, size: tuple[int, Sequence[int]]) -> Graph:
    return Graph(
        name=name,
        module=partial(clap, Htsat, *size),
        example=lambda: (torch.rand(3, FRAMES, BINS),),
        input_names=("power",),
        output_names=("embedding",),
        dynamic=({0: "batch"},),
    )


FUSION = Graph(
    name="htsat_tiny_fusion",
    module=partial(clap, FusionHtsat, *TINY),
    example=lambda: (torch.rand(3, 2345, BINS),),
    input_names=("power",),
    output_names=("embedding",),
    dynamic=({0: "batch", 1: torch.export.Dim("frames", min=FRAMES)},),
)


def original(architecture: str, tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    """laion_clap's network of this configuration, called as frechet_audio_distance calls it."""
    return laion.embed(laion.module(architecture, tensors))


def original_features(architecture: str, tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """Samples (1, n) to the log-mel bands (1001, 64) of the original, in bel as the graph's."""
    bands = laion.log_mel(laion.module(architecture, tensors))

    def features(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        start = max(0, (samples.shape[1] - laion.WINDOW_SAMPLES) // 2)
        return bands(samples[:, start : start + laion.WINDOW_SAMPLES]) / 10

    return features


def original_fusion(tensors: Mapping[str, NDArray[Any]], **_: str) -> Embed:
    """The same network with enable_fusion, which uses the whole clip.

    numpy.random.choice, which draws the starts of its stretches, is replaced by the middle.
    """
    module = laion.module("HTSAT-tiny", tensors, fusion=True)

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.inference_mode(), fusion_preprocessing():
            clip = torch.from_numpy(samples)
            return np.asarray(module.get_audio_embedding_from_data(clip, use_tensor=True).numpy())

    return embed


def original_fusion_features(tensors: Mapping[str, NDArray[Any]]) -> Embed:
    """Samples (1, n) to the log-mel bands (frames, 64) of the whole clip, in bel."""

    def bands(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        copies = max(1, laion.WINDOW_SAMPLES // samples.shape[1])
        filled = np.tile(samples[0], copies)
        filled = np.pad(filled, (0, max(0, laion.WINDOW_SAMPLES - len(filled))))
        with fusion_preprocessing() as data:
            config = {"sample_rate": RATE_HZ, "window_size": FFT_SAMPLES, "mel_bins": BANDS}
            config |= {"hop_size": HOP_SAMPLES, "fmin": LOWEST_HZ, "fmax": HIGHEST_HZ}
            mel: Tensor = data.get_mel(torch.from_numpy(filled), config)
            return np.asarray(mel.numpy()) / 10

    return bands


@contextlib.contextmanager
def fusion_preprocessing() -> Iterator[ModuleType]:
    """laion_clap's training/data.py, which takes middles here, with parts of missing packages."""
    with stand_ins():
        from laion_clap.training import data
    missing: dict[str, Any] = {}
    if importlib.util.find_spec("torchaudio") is None:
        missing["torchaudio"] = SimpleNamespace(
            transforms=SimpleNamespace(MelSpectrogram=_MelSpectrogram, AmplitudeToDB=_decibels)
        )
    if importlib.util.find_spec("torchvision") is None:
        missing["torchvision"] = SimpleNamespace(transforms=SimpleNamespace(Resize=_resize))
    with contextlib.ExitStack() as stack:
        stack.enter_context(mock.patch("numpy.random.choice", lambda a: a[(len(a) - 1) // 2]))
        for name, value in missing.items():
            stack.enter_context(mock.patch.object(data, name, value))
        yield data


class _MelSpectrogram(nn.Module):
    """torchaudio.transforms.MelSpectrogram, with librosa's filters.

    Its own differ by up to 6e-6, because they are made in float32.
    """

    def __init__(self, sample_rate: int, n_fft: int, hop_length: int, n_mels: int, f_min: float,
                 f_max: float, **_: Any) -> None:  # fmt: skip
        super().__init__()
        self.n_fft, self.hop = n_fft, hop_length
        self.filters = torch.from_numpy(librosa.filters.mel(
            sr=sample_rate, n_fft=n_fft, n_mels=n_mels, fmin=f_min, fmax=f_max, htk=True, norm=None,
        ))  # fmt: skip

    def forward(self, samples: Tensor) -> Tensor:
        window = torch.hann_window(self.n_fft)
        spectrum = torch.stft(samples, self.n_fft, self.hop, window=window, return_complex=True)
        return self.filters @ spectrum.abs() ** 2


def _decibels(top_db: float | None = None) -> Any:
    """torchaudio.transforms.AmplitudeToDB of powers, with the original's arguments."""
    return lambda power: 10.0 * torch.log10(power.clamp(min=POWER_FLOOR))


def _resize(size: Sequence[int]) -> Any:
    """torchvision.transforms.Resize from 0.17 on, which antialiases (functional.py, resize)."""
    return lambda image: nn.functional.interpolate(
        image[None], list(size), mode="bilinear", align_corners=False, antialias=True
    )[0]


ARCHITECTURES = {
    "clap": "HTSAT-tiny",
    "clap-630k": "HTSAT-tiny",
    "clap-music-audioset": "HTSAT-base",
    "clap-music-speech": "HTSAT-base",
    "clap-music-speech-audioset": "HTSAT-base",
}
FUSED = ("clap-630k-audioset-fusion", "clap-630k-fusion")
# The shortest clip, lengths on either side of whole repetitions and of ten seconds, and lengths
# that are no multiple of a hop.
LENGTHS = (1, 2, 65_773, 139_213, 239_999, 240_001, 479_999, 480_000, 480_001, 605_371)
# 480480 samples are the first length with 1002 frames: three stretches have two places to start.
FUSED_LENGTHS = (*LENGTHS, 480_479, 480_480, 480_960, 960_017)

GRAPHS = (_graph("htsat_tiny", TINY), _graph("htsat_base", BASE), FUSION)
ORIGINALS = {
    **{model: partial(original, name) for model, name in ARCHITECTURES.items()},
    **dict.fromkeys(FUSED, original_fusion),
}
FEATURES = {
    **{model: ("log10", partial(original_features, name)) for model, name in ARCHITECTURES.items()},
    **dict.fromkeys(FUSED, ("log10", original_fusion_features)),
}
CLIP_SAMPLES = {
    **dict.fromkeys(ARCHITECTURES, LENGTHS),
    **dict.fromkeys(FUSED, FUSED_LENGTHS),
}
