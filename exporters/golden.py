"""Golden answers: what the original networks say, so that tests need no torch to hear it.

``fad_onnx/golden/MODEL.npz`` holds

* ``seed``: the seed of `fad_onnx.synthetic.tensors` for every variant's graph;
* ``clips``: int64 (k, 2), seed and samples of `fad_onnx.synthetic.clip` with the row's channels,
  at the row's rate;
* ``OPTIONS/i``: float32 (n, dim), rows of clip i under the variant with these options, written
  as ``use_activation=false,use_pca=true`` or ``default``. Of more than LARGEST_ROWS rows every
  s-th is kept, s = ceil(rows / LARGEST_ROWS), from the first on.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fad_onnx import synthetic
from fad_onnx.manifest import Model

from . import parity
from .skeleton import GRAPHS_FOLDER

FOLDER = GRAPHS_FOLDER.parent / "golden"
SEED = 0
LARGEST_ROWS = 32
LONGEST_SECONDS, MOST_CLIPS = 3, 4


def write(model: Model) -> Path:
    """Compute and write the golden file of a model; the same bytes at every call."""
    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{model.name}.npz"
    clips = np.array(_clips(model), np.int64)
    arrays: dict[str, Any] = dict(_rows(model, clips))
    np.savez(path, seed=np.int64(SEED), clips=clips, **arrays)
    return path


def options_key(when: dict[str, str]) -> str:
    """The name of a variant: its options in alphabetical order."""
    return ",".join(f"{name}={value}" for name, value in sorted(when.items())) or "default"


def _clips(model: Model) -> list[tuple[int, int]]:
    """Seed and samples of MOST_CLIPS clips, short ones where there are any."""
    lengths = parity.clip_samples(model)
    short = [n for n in lengths if n <= LONGEST_SECONDS * model.sample_rate_hz] or lengths[:1]
    spread = np.linspace(0, len(short) - 1, MOST_CLIPS).round().astype(int)
    return [(seed, short[index]) for seed, index in enumerate(spread)]


def _rows(model: Model, clips: NDArray[np.int64]) -> Iterator[tuple[str, NDArray[Any]]]:
    for variant in model.variants:
        tensors = synthetic.tensors(parity.bound(parity.graph_path(variant)), SEED)
        embed = parity.original(model, model.choose(variant.when), tensors)
        for index, (seed, samples) in enumerate(clips):
            rows = embed(synthetic.clip(int(seed), int(samples), model.channels))
            step = -(-len(rows) // LARGEST_ROWS)
            yield f"{options_key(dict(variant.when))}/{index}", rows[::step].astype(np.float32)
