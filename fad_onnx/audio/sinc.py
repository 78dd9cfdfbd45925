"""Resampling filters of published harnesses: windowed sincs, each with its own numbers.

A filter weighs the input samples around the instant of an output sample. The ratio of rates is up /
down in lowest terms, so output p is at input position p * down / up, and only `up` different sets
of weights exist. Rounding that seems needless below is what the originals do.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import i0

Array = NDArray[Any]


@dataclass(frozen=True)
class Tabled:
    """resampy 0.4.3 and 0.2.2: a table of one wing, read by linear interpolation (interpn.py).

    Attributes
    ----------
    zeros, steps : int
        Zero crossings of the wing, and entries of the table between two of them.
    rolloff, beta : float
        Cutoff of the sinc as a part of Nyquist, and form of its Kaiser window.
    sums : {"float64", "float32"}
        "float32": as the original does for float32 samples: it adds from the middle to the left,
        then to the right, and rounds after every tap. OpenL3's embeddings depend on this rounding.
    """

    zeros: int
    steps: int
    rolloff: float
    beta: float
    edge: Literal["zeros", "repeat"] = "zeros"
    sums: Literal["float64", "float32"] = "float64"

    def reach(self, up: int, down: int) -> int:
        """Input samples on either side that may have a weight."""
        return (self.zeros * self.steps + 1) // self._stride(up, down) + 1

    def length(self, frames: int, up: int, down: int) -> int:
        """The number of output samples for a number of input samples."""
        return frames * up // down

    def weights(self, phases: Array, steps: Array, up: int, down: int) -> Array:
        """Weights of the input samples at `steps` from floor(phase * down / up)."""
        scale, stride = min(1.0, up / down), self._stride(up, down)
        part = scale * ((phases * down) % up / up)
        left = self._wing(part, -steps, stride)
        right = self._wing(scale - part, steps - 1, stride)
        return scale * np.where(steps <= 0, left, right)

    def _stride(self, up: int, down: int) -> int:
        return int(min(1.0, up / down) * self.steps)

    def _wing(self, part: Array, count: Array, stride: int) -> Array:
        table = _table(self)
        place = part * self.steps
        offset = place.astype(int)
        valid = (count >= 0) & (count < (len(table) - offset) // stride)
        entry = np.where(valid, offset + count * stride, 0)
        following = table[np.minimum(entry + 1, len(table) - 1)]
        here = table[entry]
        return np.where(valid, here + (place - offset) * (following - here), 0.0)


@lru_cache(maxsize=4)
def _table(filter_: Tabled) -> Array:
    count = filter_.zeros * filter_.steps
    sinc = np.sinc(filter_.rolloff * np.linspace(0, filter_.zeros, count + 1))
    taper: Array = np.kaiser(2 * count + 1, filter_.beta)[count:]
    return filter_.rolloff * sinc * taper


@dataclass(frozen=True)
class Sinc:
    """torchaudio (functional.py, _get_sinc_resample_kernel) and julius (resample.py).

    Attributes
    ----------
    zeros : int
        Zero crossings on either side.
    rolloff : float
        Cutoff as a part of the lower Nyquist frequency.
    beta : float or None
        Form of a Kaiser window; None for a Hann window.
    precision : {"float64", "float32"}
        The precision of the instants; the weights are rounded to float32 in any case.
    unit_sum : bool
        Weights of a phase are divided by their sum.
    edge : {"zeros", "repeat"}
        What lies before and after the clip: silence, or its first and last sample.
    rounding : {"up", "down"}
        How the number of output samples is rounded.
    """

    zeros: int
    rolloff: float
    beta: float | None = None
    precision: Literal["float64", "float32"] = "float64"
    unit_sum: bool = False
    edge: Literal["zeros", "repeat"] = "zeros"
    rounding: Literal["up", "down"] = "up"
    sums: ClassVar = "float64"

    def reach(self, up: int, down: int) -> int:
        """Input samples on either side that may have a weight."""
        return int(np.ceil(self.zeros * down / (min(up, down) * self.rolloff))) + 1

    def length(self, frames: int, up: int, down: int) -> int:
        """The number of output samples, from a quotient of single precision."""
        wanted = np.float32(up * frames / down)
        return int(np.ceil(wanted) if self.rounding == "up" else np.floor(wanted))

    def weights(self, phases: Array, steps: Array, up: int, down: int) -> Array:
        """Weights of the input samples at `steps` from floor(phase * down / up)."""
        kind = np.dtype(self.precision).type
        cutoff = min(up, down) * self.rolloff
        instants = (-phases / up).astype(np.float32).astype(kind)
        samples = (steps + phases * down // up).astype(kind) / kind(down)
        t = np.clip((instants + samples) * kind(cutoff), -self.zeros, self.zeros)
        window, radians = self._window(t, kind), t * kind(np.pi)
        with np.errstate(invalid="ignore", divide="ignore"):
            sinc = np.where(radians == 0, kind(1), np.sin(radians) / radians)
        found = sinc * window
        found *= 1 / found.sum(axis=1, keepdims=True) if self.unit_sum else kind(cutoff / down)
        return found.astype(np.float32).astype(np.float64)

    def _window(self, t: Array, kind: type[Any]) -> Array:
        if self.beta is None:
            return np.asarray(np.cos(t * kind(np.pi) / self.zeros / 2) ** 2)
        beta = float(np.float32(self.beta))
        return np.asarray(i0(beta * np.sqrt(1 - (t / self.zeros) ** 2)) / i0(beta))


Filter = Tabled | Sinc

FILTERS: dict[str, Filter] = {
    "resampy_kaiser_best": Tabled(50, 8192, 0.9173473712608761, 12.984585247040012),
    "resampy_0_2_kaiser_best": Tabled(
        64, 512, 0.9475937167399596, 14.769656459379492, sums="float32"
    ),
    "resampy_kaiser_fast": Tabled(24, 512, 0.8682120388377784, 9.903224416455277),
    "torchaudio_hann": Sinc(6, 0.99),
    "torchaudio_hann_float32": Sinc(6, 0.99, precision="float32"),
    "torchaudio_kaiser_best": Sinc(64, 0.9475937167399596, 14.769656459379492),
    "julius": Sinc(
        24, 0.945, precision="float32", unit_sum=True, edge="repeat", rounding="down"
    ),
}  # fmt: skip
