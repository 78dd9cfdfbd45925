"""LAION's CLAP as its users run it: the original that the CLAP families are compared with.

laion_clap 1.1.7, through the calls of frechet_audio_distance 0.3.4 (fad.py 149 and 240).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .mocks import stand_ins
from .parity import Embed

WINDOW_SAMPLES = 480_000


def module(architecture: str, tensors: Mapping[str, NDArray[Any]], fusion: bool = False) -> Any:
    """laion_clap's CLAP_Module with these tensors in its audio tower; the text tower is a mock.

    `architecture` is the name of one of laion_clap's model_configs, such as "HTSAT-tiny".
    """
    with stand_ins():
        import laion_clap
    clap = laion_clap.CLAP_Module(enable_fusion=fusion, device="cpu", amodel=architecture).eval()
    given = {name: torch.tensor(array) for name, array in tensors.items()}
    # The Fourier kernels, which the constructor computes, and the text tower's tensors are missing.
    unexpected = clap.model.load_state_dict(given, strict=False).unexpected_keys
    if unexpected:
        raise ValueError(f"{architecture} has no tensors named {unexpected}")
    return clap


def embed(clap: Any) -> Embed:
    """Samples (1, n) at 48 kHz to one embedding (1, 512) of length one.

    From a clip over ten seconds, the middle is passed; the original would draw a place from NumPy's
    global generator (training/data.py:465).
    """

    def embed(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        start = max(0, (samples.shape[1] - WINDOW_SAMPLES) // 2)
        window = torch.from_numpy(samples[:, start : start + WINDOW_SAMPLES])
        with torch.inference_mode():
            return np.asarray(clap.get_audio_embedding_from_data(window, use_tensor=True).numpy())

    return embed


def log_mel(clap: Any) -> Embed:
    """Samples (1, n) to the log-mel bands (1001, 64) that the original's network is fed."""
    with stand_ins():
        from laion_clap.training.data import get_audio_features

    def bands(samples: NDArray[np.float32]) -> NDArray[np.float32]:
        filled = get_audio_features(
            {}, torch.from_numpy(samples[0]), WINDOW_SAMPLES, "rand_trunc", "repeatpad", {}
        )
        tower = clap.model.audio_branch
        with torch.inference_mode():
            power = tower.spectrogram_extractor(filled["waveform"][None])
            return np.asarray(tower.logmel_extractor(power)[0, 0].numpy())

    return bands
