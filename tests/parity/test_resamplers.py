"""Every resampler against the package that it is named after, to 1e-6 of full scale."""

from math import gcd

import librosa
import numpy as np
import pytest
import resampy
import torch

from exporters.harnesses.stable_audio_metrics import resampy_0_2
from fad_onnx.audio.polyphase import Polyphase
from fad_onnx.audio.resampling import LIBROSA, Resampler
from fad_onnx.audio.sinc import FILTERS

RATES = [
    (44100, 16000), (48000, 16000), (44100, 48000), (48000, 44100), (8000, 48000), (16000, 8000),
    (22050, 16000), (44100, 24000), (11025, 32000), (96000, 16000), (192000, 8000), (192000, 48000),
    (32000, 44100), (44100, 32000),
]  # fmt: skip
LENGTHS = (1, 50, 4410, 70_001)


def clips(frames, rate):
    random = np.random.default_rng(frames)
    noise = random.uniform(-1, 1, frames)
    time = np.arange(frames) / rate
    sweep = np.sin(np.pi * (rate / 2) * time**2 / max(time[-1], 1 / rate))
    impulses = np.zeros(frames)
    impulses[:: max(1, frames // 7)] = 1
    impulses[-1] = -1
    return np.stack([noise, sweep, impulses], axis=1).astype(np.float32)


def of_resampy(kind, clip, source, target):
    """(channels, frames) in float64, whose sums have no rounding of their own; of 0.2.2 in float32,
    with this rounding.
    """
    wide = np.ascontiguousarray(clip.T.astype(np.float64))
    if int(len(clip) * target / source) < 1:
        return np.zeros((3, 0))
    if "0_2" in kind:  # its table, by the present release
        return resampy_0_2(np.ascontiguousarray(clip.T), source, target)
    return resampy.resample(wide, source, target, filter=kind.removeprefix("resampy_"))


def of_torchaudio(kind, clip, source, target):
    """torchaudio/functional/functional.py 2.11.0, _get_sinc_resample_kernel (lines 1305 to 1402)
    and _apply_sinc_resample_kernel (1405 to 1432), written out: no wheel fits this torch.
    """
    width_zeros, rolloff = (64, 0.9475937167399596) if "kaiser" in kind else (6, 0.99)
    common = gcd(source, target)
    down, up = source // common, target // common
    base = min(down, up) * rolloff
    width = int(np.ceil(width_zeros * down / base))
    dtype = torch.float32 if kind.endswith("float32") else None
    index = torch.arange(-width, width + down, dtype=dtype or torch.float64)[None, None] / down
    t = torch.arange(0, -up, -1, dtype=dtype)[:, None, None] / up + index
    t = (t * base).clamp_(-width_zeros, width_zeros)
    if "kaiser" in kind:
        beta = torch.tensor(14.769656459379492)
        window = torch.i0(beta * torch.sqrt(1 - (t / width_zeros) ** 2)) / torch.i0(beta)
    else:
        window = torch.cos(t * torch.pi / width_zeros / 2) ** 2
    t *= torch.pi
    kernel = torch.where(t == 0, torch.tensor(1.0).to(t), t.sin() / t)
    kernel *= window * (base / down)
    kernel = kernel.to(torch.float32)
    samples = torch.nn.functional.pad(torch.from_numpy(clip.T.copy()), (width, width + down))
    found = convolved(samples, kernel, down)
    return found[:, : int(torch.ceil(torch.as_tensor(up * len(clip) / down)))]


def of_julius(kind, clip, source, target):
    """julius/resample.py 0.2.8, ResampleFrac (lines 67 to 155), written out."""
    zeros = 24
    common = gcd(source, target)
    down, up = source // common, target // common
    rate = min(up, down) * 0.945
    width = int(np.ceil(zeros * down / rate))
    index = torch.arange(-width, width + down).float()
    kernels = []
    for phase in range(up):
        t = ((-phase / up + index / down) * rate).clamp_(-zeros, zeros)
        t *= torch.pi
        kernel = torch.where(t == 0, torch.tensor(1.0), torch.sin(t) / t)
        kernel = kernel * torch.cos(t / zeros / 2) ** 2
        kernels.append(kernel.div_(kernel.sum()))
    samples = torch.from_numpy(clip.T.copy())[:, None]
    samples = torch.nn.functional.pad(samples, (width, width + down), mode="replicate")[:, 0]
    found = convolved(samples, torch.stack(kernels)[:, None], down)
    return found[:, : int(torch.floor(torch.as_tensor(up * len(clip) / down)))]


def convolved(samples, kernel, stride):
    """In float64, so that the order of the sums makes no difference."""
    found = torch.nn.functional.conv1d(samples[:, None].double(), kernel.double(), stride=stride)
    return found.transpose(1, 2).reshape(len(samples), -1).numpy()


ORIGINALS = {"resampy": of_resampy, "torchaudio": of_torchaudio, "julius": of_julius}


@pytest.mark.parity
@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(("source", "target"), RATES)
def test_equals_its_original(kind, source, target):
    for frames in LENGTHS:
        clip = clips(frames, source)
        wanted = ORIGINALS[kind.partition("_")[0]](kind, clip, source, target)
        got = Polyphase(kind, source, target, 3).push(clip, last=True).T
        assert got.shape == wanted.shape, frames
        assert np.abs(got - wanted).max(initial=0) <= 1e-6, frames


@pytest.mark.parity
@pytest.mark.parametrize(("source", "target"), RATES)
@pytest.mark.parametrize("frames", [*LENGTHS, 44_100, 44_101])
def test_librosas_default_and_its_length(source, target, frames):
    clip = clips(frames, source)[:, :1]
    expected = librosa.resample(clip[:, 0], orig_sr=source, target_sr=target)
    found = Resampler(source, target, 1, "mean", LIBROSA).push(clip, last=True)[0]
    np.testing.assert_allclose(found, expected, atol=1e-6)
