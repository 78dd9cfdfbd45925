"""Synthetic datasets for `fad-onnx demo`: a reference, and copies with little and much noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from ..networks import synthetic, table

RATE_HZ, CLIPS, SECONDS = 16000, 24, 4


def write(folder: Path) -> tuple[Path, Path, Path, str]:
    """Write the three datasets; return their folders and the model that needs no weights."""
    model = next(one.name for one in table.models().values() if not one.network.checkpoints)
    noise = np.random.RandomState(0)
    levels = {"reference": 0.0, "light_noise": 0.003, "heavy_noise": 0.1}
    for name, level in levels.items():
        (folder / name).mkdir()
        for index in range(CLIPS):
            clip = synthetic.clip(index, RATE_HZ * SECONDS)[0]
            disturbed = clip + level * noise.standard_normal(len(clip))
            soundfile.write(folder / name / f"{index:02}.wav", disturbed, RATE_HZ)
    reference, near, far = (folder / name for name in levels)
    return reference, near, far, model
