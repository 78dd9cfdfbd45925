"""Clips on which protocols differ: 44.1 kHz, stereo, unequal lengths, offsets, near full scale."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from fad_onnx.networks import synthetic

CLIPS, RATE_HZ = 24, 44_100
# For networks that take as long as the clips last, or longer.
FEW, HEAVY = (
    12,
    ("passt", "passt-20s", "mert-95m", "wav2vec2-base-960h", "hubert-base", "whisper-tiny"),
)
SECONDS = (1.0, 4.5)
LONG = {7: 8.6, 19: 9.3}  # beyond the 8 s of av-benchmark, below the 10 s of CLAP
LEVELS = {"reference": 1.0, "evaluation": 0.7}


def count(model: str) -> int:
    """The number of clips on each side with which a model is compared."""
    return FEW if model in HEAVY else CLIPS


def write(folder: Path, clips: int | None = None) -> tuple[Path, Path]:
    """Write a reference and an evaluation of clips with equal names.

    Parameters
    ----------
    folder : Path
        An existing folder.
    clips : int, optional
        The number of clips on each side: the first ones of all.

    Returns
    -------
    tuple of Path
        The two folders below it.
    """
    for side in LEVELS:
        (folder / side).mkdir()
        random = np.random.default_rng(len(side))
        for i in range(clips or CLIPS):
            seconds = LONG.get(i, random.uniform(*SECONDS))
            samples = _clip(100 * len(side) + i, seconds, LEVELS[side], random)
            soundfile.write(folder / side / f"{i:02}.wav", samples.T, RATE_HZ, "PCM_16")
    return folder / "reference", folder / "evaluation"


def _clip(
    seed: int, seconds: float, level: float, random: np.random.Generator
) -> NDArray[np.float64]:
    """Samples (2, n); the two channels differ in level and offset."""
    clip = synthetic.clip(seed, int(seconds * RATE_HZ), 2).astype(np.float64)
    clip += 0.02 * random.standard_normal(clip.shape)
    clip *= level * random.uniform(0.6, 0.99) / np.abs(clip).max(axis=1, keepdims=True)
    clip += random.uniform(-0.02, 0.02, (2, 1))
    return np.asarray(np.clip(clip, -1, 1 - 2**-15))
