"""The parts of torchaudio that harnesses call, rewritten, because no wheel of it fits this torch.

Resampling is that of torchaudio 2.11.0, functional/functional.py, _get_sinc_resample_kernel
(lines 1305 to 1402) and _apply_sinc_resample_kernel (1405 to 1432). Files are read and written by
soundfile, as its backend of that name does; 16-bit files are rounded as FFmpeg and SoX round, its
other backends.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.machinery import ModuleSpec
from math import gcd
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import soundfile
import torch
from torch import Tensor


@lru_cache(maxsize=16)
def _kernel(
    source: int, target: int, zeros: int, rolloff: float, beta: float | None, dtype: Any
) -> tuple[Tensor, int]:
    """The filter of every phase (target, 1, taps), and its margin."""
    base = min(source, target) * rolloff
    width = int(np.ceil(zeros * source / base))
    index = torch.arange(-width, width + source, dtype=dtype or torch.float64)[None, None] / source
    t = torch.arange(0, -target, -1, dtype=dtype)[:, None, None] / target + index
    t = (t * base).clamp_(-zeros, zeros)
    if beta is None:
        window = torch.cos(t * torch.pi / zeros / 2) ** 2
    else:
        form = torch.tensor(float(beta))
        window = torch.i0(form * torch.sqrt(1 - (t / zeros) ** 2)) / torch.i0(form)
    t *= torch.pi
    kernel = torch.where(t == 0, torch.tensor(1.0).to(t), t.sin() / t)
    kernel *= window * (base / source)
    return kernel.to(torch.float32), width


def resample(
    waveform: Tensor, orig_freq: int, new_freq: int, lowpass_filter_width: int = 6,
    rolloff: float = 0.99, resampling_method: str = "sinc_interp_hann",
    beta: float | None = None, dtype: Any = torch.float32,
) -> Tensor:  # fmt: skip
    """torchaudio.functional.resample, whose weights have the precision of the waveform."""
    if orig_freq == new_freq:
        return waveform
    common = gcd(int(orig_freq), int(new_freq))
    source, target = int(orig_freq) // common, int(new_freq) // common
    assert (beta is not None) == (resampling_method == "sinc_interp_kaiser")
    kernel, width = _kernel(source, target, lowpass_filter_width, rolloff, beta, dtype)
    shape, length = waveform.shape, waveform.shape[-1]
    padded = torch.nn.functional.pad(waveform.reshape(-1, length), (width, width + source))
    found = torch.nn.functional.conv1d(padded[:, None], kernel, stride=source)
    found = found.transpose(1, 2).reshape(padded.shape[0], -1)
    wanted = int(torch.ceil(torch.as_tensor(target * length / source)))
    return found[..., :wanted].reshape(*shape[:-1], wanted)


class Resample:
    """torchaudio.transforms.Resample, whose weights are computed in float64."""

    def __init__(self, orig_freq: int, new_freq: int, **settings: Any) -> None:
        self._call = {"orig_freq": orig_freq, "new_freq": new_freq, "dtype": None, **settings}

    def __call__(self, waveform: Tensor) -> Tensor:
        """Samples (..., n) at the new rate."""
        return resample(waveform, **self._call)


def load(path: str | Path, **_: Any) -> tuple[Tensor, int]:
    """Samples float32 (channels, n), and the rate."""
    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    return torch.from_numpy(samples.T.copy()), rate


def save(path: str | Path, samples: Tensor, rate: int, **_: Any) -> None:
    """A 16-bit file."""
    steps = np.clip(np.rint(samples.numpy() * 2**15), -(2**15), 2**15 - 1).astype(np.int16)
    soundfile.write(path, steps.T, rate, "PCM_16")


def modules(contents: Mapping[str, Mapping[str, Any]]) -> dict[str, ModuleType]:
    """Modules with these contents; each is an attribute of the package in its name."""
    made = {name: ModuleType(name) for name in contents}
    for name, values in contents.items():
        made[name].__spec__ = ModuleSpec(name, None, is_package=True)
        made[name].__path__ = []
        vars(made[name]).update(values)
        package, _, own = name.rpartition(".")
        if package in made:
            setattr(made[package], own, made[name])
    return made


TORCHAUDIO = {
    "torchaudio": {"load": load, "save": save},
    "torchaudio.transforms": {"Resample": Resample},
    "torchaudio.functional": {"resample": resample},
}


@contextlib.contextmanager
def installed(contents: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Within a ``with`` statement, torchaudio and modules with these contents can be imported."""
    names = modules({**TORCHAUDIO, **contents})
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update(names)
    try:
        yield
    finally:
        for name, old in before.items():
            if old is None:
                del sys.modules[name]
            else:
                sys.modules[name] = old
