"""Samples in memory: checks, and the conversion to float32 frames."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import AudioError, OptionError
from . import decoding


def checked_rate(given: Any, name: str = "") -> int:
    """A sample rate in Hz as an int, also from a whole float; OptionError for anything else."""
    given = given.item() if isinstance(given, np.ndarray) and given.ndim == 0 else given
    number = isinstance(given, int | float | np.number)
    if not number or not decoding.LOWEST_RATE_HZ <= given <= decoding.HIGHEST_RATE_HZ or given % 1:
        where = f"{name}: " if name else ""
        raise OptionError("sample_rate", f"{where}{given!r} is not a sample rate in Hz")
    return int(given)


def as_frames(samples: ArrayLike, name: str = "samples") -> NDArray[np.float32]:
    """Samples of any type as finite float32 (frames, channels), with a full scale of 1."""
    try:
        array: NDArray[Any] = np.asarray(samples)
    except ValueError as error:
        raise AudioError(name, f"not an array of numbers: {error}") from error
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2 or not array.size:
        raise AudioError(name, f"shape {array.shape}, not (frames,) or (frames, channels)")
    if array.shape[1] > array.shape[0] and array.shape[1] > 1024:
        raise AudioError(name, f"shape {array.shape} has more channels than frames; transpose")
    if array.dtype.kind in "iu":
        if array.dtype.name not in decoding.FULL_SCALE:
            raise AudioError(name, f"{array.dtype} samples; use float32, int16 or int32")
        array = array / decoding.FULL_SCALE[array.dtype.name]
    elif array.dtype.kind != "f":
        raise AudioError(name, f"{array.dtype} samples; use float32, int16 or int32")
    if decoding.check_usable(name, array) > decoding.LOUD:
        warnings.warn(
            f"{name} beyond {decoding.LOUD:g}: floats are not scaled, and full scale is 1;"
            " divide what was int16 by 32768",
            stacklevel=3,
        )
    return array.astype(np.float32)
