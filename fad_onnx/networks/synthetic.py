"""Synthetic weights and clips from a seed, for verify, tests and benchmarks.

All numbers come from NumPy's RandomState, whose stream never changes (NEP 19), so that golden
answers are valid for every version of NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

NEAR_ONE = ("weight_g", "running_var", "gamma", "moving_variance")
# The last map of a residual branch. With He's variance, a dozen random layers would make all
# embeddings of a clip similar, and rounding in the first layers as large as their differences.
BRANCH_ENDS = ("attention.out_proj.weight", "feed_forward.output_dense.weight")


class TensorLike(Protocol):
    """The type and the shape of a tensor."""

    @property
    def dtype(self) -> np.dtype[Any]: ...
    @property
    def shape(self) -> tuple[int, ...]: ...


def tensors(infos: Mapping[str, TensorLike], seed: int) -> dict[str, NDArray[Any]]:
    """A random array for each tensor, scaled so that signals neither vanish nor explode.

    Matrices and kernels are uniform with He's variance 2 / fan-in (arXiv:1502.01852). Vectors
    named weight or as in NEAR_ONE are near one, others near zero. Filterbanks are not negative, and
    indices are within their table. The last map of a residual branch is scaled to a quarter.
    """
    random = np.random.RandomState(seed)
    return {name: _tensor(random, name, info, infos) for name, info in infos.items()}


def _tensor(
    random: np.random.RandomState, name: str, info: TensorLike, infos: Mapping[str, TensorLike]
) -> NDArray[Any]:
    shape, last = info.shape, name.rpartition(".")[2]
    if info.dtype.kind in "iu":
        table = infos.get(name.replace("_index", "_bias_table"))
        top = table.shape[0] if table else 2
        return random.randint(0, top, size=shape).astype(info.dtype)
    uniform = random.random_sample(shape).astype(np.float32)
    if last == "melW":
        # About ten bins per band, as in a real filterbank.
        values = np.where(uniform > 1 - 10 / shape[0], uniform, 0) * np.float32(0.1)
    elif last in NEAR_ONE or (last == "weight" and len(shape) < 2):
        values = np.float32(0.75) + uniform * np.float32(0.5)
    elif len(shape) < 2 or last.startswith(("bias", "attn_mask")) or last.endswith("bias_table"):
        values = (uniform - np.float32(0.5)) * np.float32(0.4)
    else:
        # A Keras kernel has its outputs last, a torch weight first.
        fan_in = math.prod(shape[:-1] if last == "kernel" else shape[1:])
        values = (uniform - np.float32(0.5)) * np.float32(math.sqrt(24 / fan_in))
        if name.endswith(BRANCH_ENDS):
            values *= np.float32(0.25)
    return values.astype(info.dtype)


def clip(seed: int, frames: int, channels: int = 1) -> NDArray[np.float32]:
    """A float32 clip (channels, frames) in [-1, 1]: two tones and noise of varying level.

    Unlike stationary noise it varies over time and with the seed, and so do its embeddings.
    """
    random = np.random.RandomState(seed)
    time = np.arange(frames) / max(frames, 1)
    low, high, swells = random.uniform(0.002, 0.05), random.uniform(0.05, 0.4), random.randint(1, 9)
    phase = np.arange(frames) * low + 3 * np.sin(2 * np.pi * swells * time)
    tones = 0.3 * np.sin(2 * np.pi * phase) + 0.15 * np.sin(2 * np.pi * high * np.arange(frames))
    noise = random.standard_normal((channels, frames)) * 0.1
    level = 0.3 + 0.7 * np.abs(np.sin(np.pi * (swells + 0.5) * time))
    samples: NDArray[np.float32] = np.clip((tones + noise) * level, -1, 1).astype(np.float32)
    return samples
