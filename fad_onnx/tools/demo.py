"""Synthetic datasets for `fad-onnx demo`: a reference, and three systems that disturb its clips."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from ..networks import synthetic, table

Samples = NDArray[Any]
RATE_HZ, CLIPS, SECONDS = 16000, 24, 4


def write(folder: Path) -> tuple[Path, tuple[Path, ...], str]:
    """Write the datasets.

    Returns
    -------
    tuple
        The folder of the reference; the folders of clips with little noise, with much noise, and
        without high frequencies; and the model that needs no weights.
    """
    model = next(one.name for one in table.models().values() if not one.network.checkpoints)
    random = np.random.RandomState(0)
    kinds: dict[str, Callable[[Samples], Samples]] = {
        "reference": lambda clip: clip,
        "light_noise": lambda clip: clip + 0.003 * random.standard_normal(len(clip)),
        "heavy_noise": lambda clip: clip + 0.1 * random.standard_normal(len(clip)),
        "muffled": lambda clip: np.convolve(clip, np.ones(8) / 8, "same"),
    }
    for name, disturb in kinds.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(CLIPS):
            clip = synthetic.clip(index, RATE_HZ * SECONDS)[0]
            soundfile.write(folder / name / f"{index:02}.wav", disturb(clip), RATE_HZ)
    reference, *systems = (folder / name for name in kinds)
    return reference, tuple(systems), model
