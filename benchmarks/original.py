"""The original's whole score() on given weights, which side_by_side.py compares with fad-onnx.

    python benchmarks/original.py MODEL WEIGHTS.npz REFERENCE EVALUATION

The loader, the network's torch code, the statistics and the matrix square root are those of
frechet-audio-distance 0.3.4; only the download of the weights is replaced by WEIGHTS.npz.
"""

from __future__ import annotations

import os
import sys
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from exporters import parity
from exporters.mocks import stand_ins
from fad_onnx.networks import table

LOADERS = 8  # audio_load_worker's default


def main(name: str, weights: str, reference: str, evaluation: str) -> float:
    model = table.model(name)
    with stand_ins():
        from frechet_audio_distance import fad, utils
    with np.load(weights) as archive:
        tensors = dict(archive)
    embed = parity.original(model, model.choose(), tensors)
    metric = fad.FrechetAudioDistance.__new__(fad.FrechetAudioDistance)

    def statistics(folder: str) -> tuple[np.ndarray, np.ndarray]:
        paths = [os.path.join(folder, file) for file in os.listdir(folder)]
        with ThreadPool(LOADERS) as pool:
            clips = pool.starmap(
                utils.load_audio_task, [(path, model.sample_rate_hz, 1) for path in paths]
            )
        rows = [
            embed(np.atleast_2d(np.float32(clip)).repeat(model.channels, axis=0)) for clip in clips
        ]
        return metric.calculate_embd_statistics(np.concatenate(rows))

    return float(metric.calculate_frechet_distance(*statistics(reference), *statistics(evaluation)))


if __name__ == "__main__":
    print(main(*sys.argv[1:]))
