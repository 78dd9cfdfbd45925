"""stable-audio-metrics (commit fd55536): the distance of OpenL3, rebuilt from what it calls.

src/openl3_fd.py: extract_embeddings, 100 to 144 (both channels, pyloudnorm's peak at -1 dB, soxr to
44.1 kHz, each channel through openl3 alone); openl3 0.4.2, core.py, resamples to 48 kHz by resampy,
which the harness pins to 0.2.2; openl3_fd.py 14 to 73 (statistics and distance). OpenL3 is Keras'
own layers, as in exporters/openl3.py.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import resampy
import scipy.signal
import soundfile
import soxr
from numpy.typing import NDArray

from .. import openl3
from ..parity import Embed, Tensors
from . import Numbers
from .audioldm import frechet

BETWEEN_HZ = 44_100


def resampy_0_2(samples: NDArray[Any], source: int, target: int) -> NDArray[Any]:
    """`kaiser_best` of resampy 0.2.2 by a later release: the parameters are those of its table."""
    window = partial(scipy.signal.windows.kaiser, beta=14.769656459379492)
    made = {"num_zeros": 64, "precision": 9, "rolloff": 0.9475937167399596, "window": window}
    found: NDArray[Any] = resampy.resample(samples, source, target, filter="sinc_window", **made)
    return found


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
    embed = openl3.original(tensors)
    return {"fad": frechet(*(_embeddings(embed, side) for side in (evaluation, reference)))}


CASES = {"stable-audio-metrics": {"openl3-music": _openl3}}
