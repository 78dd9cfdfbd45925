"""AudioCraft 1.3.0, rebuilt from the code it calls: it writes files, and Google's code reads them.

audiocraft/metrics/fad.py 152 to 196 (update): data/audio_utils.py 49 to 54 (convert_audio:
`julius.resample_frac`, then the mean of the channels) and 124 to 129 (the peak at -1 dB),
data/audio.py 159 to 226 (audio_write: 16 bits, as FFmpeg rounds). Then
google-research/frechet_audio_distance: create_embeddings_beam.py (ReadWavFiles: whole numbers, not
divided by full scale), audioset_model.py (extract_features: the peak rule, windows of 1 s every
0.5 s), and fad_utils.py (frechet_distance, of statistics that a TFRecord keeps in float32). Its
VGGish in TensorFlow is torchvggish's here, whose front end is a copy of the other's.

Its KL and its CLAP score read the clips themselves. It cuts a generated clip and its target to one
length, which is left out: the clips here have one segment each.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import julius
import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import kl_div

from .. import laion, passt, vggish
from ..parity import Tensors
from . import Numbers, captions, torchaudio_parts

RATE_HZ, STEP, KLD_HZ = vggish.SAMPLE_RATE_HZ, 8_000, 32_000


def _file(path: Path) -> NDArray[np.int16]:
    """The file that AudioCraft writes for a clip."""
    audio, source = torchaudio_parts.load(path)
    audio = julius.resample_frac(audio, source, RATE_HZ).mean(dim=0)
    audio = audio * (10 ** (-1 / 20) / audio.abs().max())
    return np.clip(np.rint(audio.numpy() * 2**15), -(2**15), 2**15 - 1).astype(np.int16)


def _windows(path: Path) -> Iterator[NDArray[np.float64]]:
    samples = _file(path).astype(np.float64)
    samples /= np.maximum(0.1, np.amax(samples))
    for start in range(0, len(samples) - RATE_HZ + 1, STEP):
        yield samples[start : start + RATE_HZ]


def _statistics(tensors: Tensors, folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
    """Mean and covariance (ddof 1) of the embeddings of all windows, rounded to float32."""
    embed = vggish.original(tensors)
    embeddings = np.concatenate(
        [embed(window[None]) for path in sorted(folder.glob("*.wav")) for window in _windows(path)]
    ).astype(np.float64)
    return (
        np.asarray(embeddings.mean(axis=0), np.float32).astype(np.float64),
        np.asarray(np.cov(embeddings, rowvar=False), np.float32).astype(np.float64),
    )


def _vggish(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    with torch.inference_mode():
        (mu, sigma), (mu2, sigma2) = (
            _statistics(tensors, side) for side in (evaluation, reference)
        )
    root = scipy.linalg.sqrtm(sigma.dot(sigma2))
    if not np.isfinite(root).all():
        noise = 1e-7 * np.eye(len(sigma))
        root = scipy.linalg.sqrtm((sigma + noise).dot(sigma2 + noise))
    if not np.allclose(np.diagonal(root).imag, 0, atol=1e-3):
        raise ValueError("large complex numbers")
    gap = mu - mu2
    return {"fad": float(gap @ gap + np.trace(sigma + sigma2) - 2 * np.trace(root.real))}


def segments(audio: Tensor, source: int, longest: int) -> list[Tensor]:
    """metrics/kld.py 135 to 150, _process_audio: the parts of a clip (1, n) at 32 kHz."""
    audio = julius.resample_frac(audio, source, KLD_HZ).mean(dim=0)
    parts = torch.split(audio, longest, dim=-1)
    return [part[None] for part in parts if part.shape[-1] > int(0.15 * KLD_HZ)]


def divergences(predictions: Tensor, targets: Tensor) -> Tensor:
    """metrics/kld.py 34 to 48, kl_divergence of probabilities (n, classes)."""
    return kl_div((predictions + 1e-6).log(), targets, reduction="none").sum(-1)


def _kld(
    columns: int, seconds: int, tensors: Tensors, reference: Path, evaluation: Path
) -> Numbers:
    """metrics/kld.py 81 to 112: generated clips against targets, the mean over their segments."""
    model = passt.original_model(columns, tensors)

    def probabilities(folder: Path) -> Tensor:
        parts = [
            part
            for path in sorted(folder.glob("*.wav"))
            for part in segments(*torchaudio_parts.load(path), seconds * KLD_HZ)
        ]
        return torch.cat([model(part)[:, : passt.CLASSES].softmax(-1) for part in parts])

    with torch.inference_mode():
        found = divergences(probabilities(evaluation), probabilities(reference))
    return {"kl": float(found.sum()) / len(found)}


def at_48_khz(path: Path) -> Tensor:
    """A clip (1, n) as the CLAP score receives it."""
    audio, source = torchaudio_parts.load(path)
    return julius.resample_frac(audio, source, 48_000).mean(dim=0, keepdim=True)


def _clap(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """metrics/clap_consistency.py 67 to 89, a batch for each clip."""
    embed = laion.embed(laion.module("HTSAT-base", captions.audio_tensors(tensors)))
    found = [embed(at_48_khz(path).numpy()) for path in sorted(evaluation.glob("*.wav"))]
    text = captions.embeddings("clap-music-audioset", tensors, evaluation)
    return {"clap-score": captions.score(np.concatenate(found), text)}


CASES: Mapping[str, Mapping[str, Any]] = {
    "audiocraft": {
        "vggish": _vggish, "passt": partial(_kld, 99, 10), "passt-20s": partial(_kld, 200, 20),
        "clap-music-audioset": _clap,
    }
}  # fmt: skip
