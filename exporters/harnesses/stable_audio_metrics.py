"""stable-audio-metrics (commit fd55536), rebuilt from the code it calls.

src/openl3_fd.py: extract_embeddings, 100 to 144 (both channels, pyloudnorm's peak at -1 dB, soxr to
44.1 kHz, each channel through openl3 alone); openl3 0.4.2, core.py, resamples to 48 kHz by resampy,
which the harness pins to 0.2.2; openl3_fd.py 14 to 73 (statistics and distance, audioldm.py's
`frechet`). OpenL3 consists of Keras' own layers, as in exporters/openl3.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import librosa
import numpy as np
import resampy
import scipy.signal
import soundfile
import soxr
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import kl_div

import fad_onnx

from .. import laion, openl3, passt
from ..clap import fusion_preprocessing
from ..parity import Embed, Tensors
from . import Numbers, captions

BETWEEN_HZ, RATE_HZ = 44_100, 32_000


def resampy_0_2(samples: NDArray[Any], source: int, target: int) -> NDArray[Any]:
    """`kaiser_best` of resampy 0.2.2 by a later release: the parameters are those of its table."""
    window = partial(scipy.signal.windows.kaiser, beta=14.769656459379492)
    made = {"num_zeros": 64, "precision": 9, "rolloff": 0.9475937167399596, "window": window}
    with patch.object(resampy.core, "resample_f_s", _by_type):
        found: NDArray[Any] = resampy.resample(
            samples, source, target, filter="sinc_window", **made
        )
    return found


def _by_type(samples: NDArray[Any], *given: Any) -> None:
    """resampy's loop for the type of the samples. Its own ufunc computes float32 in float64 once it
    has been called with float64.
    """
    *settings, out = given
    for one, into in zip(np.atleast_2d(samples), np.atleast_2d(out), strict=True):
        resampy.interpn._resample_loop_s(one, *settings, into)


def _channels(path: Path) -> NDArray[np.float32]:
    """The clip (2, n) as openl3 takes it."""
    audio, rate = soundfile.read(path, dtype="float32", always_2d=True)
    audio = audio * np.float32(10 ** (-1 / 20) / np.abs(audio).max())
    audio = soxr.resample(audio, rate, BETWEEN_HZ)
    found = np.stack([resampy_0_2(channel, BETWEEN_HZ, 48_000) for channel in audio.T])
    return np.repeat(found, 2, axis=0) if len(found) == 1 else found


def _embeddings(embed: Embed, folder: Path) -> NDArray[np.float32]:
    clips = [_channels(path) for path in sorted(folder.glob("*.wav"))]
    return np.concatenate(
        [np.concatenate([embed(one[None]) for one in clip], axis=1) for clip in clips]
    )


def _openl3(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """The distance by the exact root: with fewer than 1024 embeddings, the harness' root fails."""
    embed = openl3.original(tensors)
    sides = (_embeddings(embed, side) for side in (evaluation, reference))
    return {"fad": fad_onnx.frechet_distance(*map(fad_onnx.Moments.of, sides))}


def _mono(path: Path, rate: int) -> NDArray[np.float32]:
    """librosa.load, and pyloudnorm's peak at -1 dB."""
    audio, _ = librosa.load(path, sr=rate, mono=True)
    return audio * np.float32(10 ** (-1 / 20) / np.abs(audio).max())


def probabilities(model: Any, path: Path) -> Tensor:
    """passt_kld.py 45 to 120, return_probabilities, with its default "mean"."""
    audio = _mono(path, RATE_HZ)
    step, size, found = 5 * RATE_HZ, 10 * RATE_HZ, []
    for start in range(0, max(step, len(audio) - step), step):
        window = audio[start : start + size]
        if int(size * 0.15) < len(window) < size:
            window = np.pad(window, (0, size - len(window)))
        found.append(model(torch.from_numpy(window)[None])[0, : passt.CLASSES])
    return torch.stack(found).mean(0).softmax(0)


def _passt(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """passt_kld.py 197: the evaluation first, pairs of clips with the same name, and their mean."""
    model, found = passt.original_model(99, tensors), []
    with torch.inference_mode():
        for path in sorted(evaluation.glob("*.wav")):
            own, other = (
                probabilities(model, side / path.name) for side in (evaluation, reference)
            )
            found.append(float(kl_div((other + 1e-6).log(), own, reduction="sum")))
    return {"kl": float(np.mean(found))}


def sixteen_bits(path: Path) -> Tensor:
    """A clip (1, n) at 48 kHz as clap_score.py 105 to 108 makes it."""
    whole = (np.clip(_mono(path, 48_000), -1, 1) * 32767).astype(np.int16)
    return torch.from_numpy((whole / 32767.0).astype(np.float32))[None]


def _clap(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """clap_score.py 104 to 116: 16 bits at 48 kHz, through the checkpoint with fusion."""
    model = laion.module("HTSAT-tiny", captions.audio_tensors(tensors), fusion=True)
    found = []
    with torch.inference_mode(), fusion_preprocessing():
        for path in sorted(evaluation.glob("*.wav")):
            clip = sixteen_bits(path)
            found.append(model.get_audio_embedding_from_data(clip, use_tensor=True).numpy())
    text = captions.embeddings("clap-630k-audioset-fusion", tensors, evaluation)
    return {"clap-score": captions.score(np.concatenate(found), text)}


CASES = {
    "stable-audio-metrics": {
        "openl3-music": _openl3, "openl3-env": _openl3, "passt": _passt,
        "clap-630k-audioset-fusion": _clap,
    }
}  # fmt: skip
