"""Resampling filters: chunks of any size give the bits of one call; lengths and tones are right.

`tests/parity/test_resamplers.py` compares with the originals.
"""

from itertools import cycle

import numpy as np
import pytest

from fad_onnx.audio.polyphase import Across, Polyphase
from fad_onnx.audio.resampling import Resampler
from fad_onnx.audio.sinc import FILTERS
from fad_onnx.errors import AudioError
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select

PAIRS = [(44100, 16000), (16000, 48000), (22050, 8000), (44100, 16001)]
SLOW = [pytest.param(192000, 8000, marks=pytest.mark.large)]


def in_chunks(kind, clip, source, target, sizes):
    stream, parts, start = Polyphase(kind, source, target, clip.shape[1]), [], 0
    for size in cycle(sizes):
        last = start + size >= len(clip)
        parts.append(stream.push(clip[start : start + size], last))
        if last:
            return np.concatenate(parts)
        start += size
    raise AssertionError


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(("source", "target"), [*PAIRS, *SLOW])
def test_chunks_give_the_bits_of_one_call(kind, source, target):
    for frames in (1, 700, 40_001):
        clip = np.ascontiguousarray(synthetic.clip(3, frames, 2).T)
        whole = Polyphase(kind, source, target, 2).push(clip, last=True)
        for sizes in ((1, 999, 3, 20_000), (4096,), (513, 2, 64, 1, 9000)):
            got = in_chunks(kind, clip, source, target, sizes)
            np.testing.assert_array_equal(got, whole, f"{frames} {sizes}")


@pytest.mark.parametrize("kind", FILTERS)
def test_an_empty_last_block_gives_what_is_left(kind):
    clip = np.ascontiguousarray(synthetic.clip(3, 5000, 1).T)
    stream = Polyphase(kind, 44100, 16000, 1)
    parts = [stream.push(clip), stream.push(clip[:0], last=True)]
    whole = Polyphase(kind, 44100, 16000, 1).push(clip, last=True)
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(("source", "target"), PAIRS)
def test_a_tone_stays_where_it_is(kind, source, target):
    seconds = np.arange(source) / source
    tone = np.sin(2 * np.pi * 1000 * seconds).astype(np.float32)[:, None]
    got = Polyphase(kind, source, target, 1).push(tone, last=True)[:, 0]
    wanted = np.sin(2 * np.pi * 1000 * np.arange(target) / target)
    inner = slice(target // 4, -target // 4)
    # torchaudio's short filter is right to a part in a thousand.
    assert np.abs(got[inner] - wanted[inner]).max() < 5e-3


@pytest.mark.parametrize(
    ("kind", "frames"),
    [("resampy_kaiser_best", 362), ("torchaudio_hann", 363), ("julius", 362)],
)
def test_lengths_are_the_originals(kind, frames):
    clip = np.zeros((1000, 1), np.float32)
    assert len(Polyphase(kind, 44100, 16000, 1).push(clip, last=True)) == frames


def test_julius_goes_on_with_the_last_sample():
    clip = np.ones((4000, 1), np.float32)
    got = Polyphase("julius", 44100, 16000, 1).push(clip, last=True)
    np.testing.assert_allclose(got, 1, atol=1e-6)
    got = Polyphase("torchaudio_hann", 44100, 16000, 1).push(clip, last=True)
    assert got[0] < 0.7


@pytest.mark.large
@pytest.mark.parametrize("kind", [name for name, one in FILTERS.items() if one.edge == "zeros"])
@pytest.mark.parametrize(("source", "target"), [(44100, 48000), (32001, 48000), (24000, 22050)])
def test_across_the_channels_is_along_a_clip_of_two_samples(kind, source, target):
    clip = np.ascontiguousarray(synthetic.clip(3, 50, 2).T)
    got = Across(kind, source, target).push(clip)
    for frame, found in zip(clip, got, strict=True):
        alone = Polyphase(kind, source, target, 1).push(frame[:, None], last=True)[:2, 0]
        np.testing.assert_allclose(found[: len(alone)], alone, rtol=1e-6, atol=1e-7)


def test_the_protocol_resamples_stereo_across_and_mono_along():
    rules = select("encodec-48k:protocol=gudgud96").preparation
    assert rules.channel_count == 2
    stereo = rules.resample(44100, 2).push(np.ascontiguousarray(synthetic.clip(3, 441, 2).T), True)
    mono = rules.resample(44100, 1).push(np.ascontiguousarray(synthetic.clip(3, 441, 1).T), True)
    assert stereo.shape == (2, 441) and mono.shape == (2, 480)
    assert not np.array_equal(stereo[0], stereo[1])
    np.testing.assert_array_equal(mono[0], mono[1])
    clip = np.ascontiguousarray(synthetic.clip(3, 441, 2).T)
    np.testing.assert_array_equal(rules.resample(48000, 2).push(clip, True), clip.T)


@pytest.mark.parametrize(
    ("rate", "channels"), [(32000, 2), (96000, 2), (44100, 6), (48000, 4), (8000, 3)]
)
def test_what_across_the_channels_is_not_two_is_an_error(rate, channels):
    rules = select("encodec-48k:protocol=gudgud96").preparation
    with pytest.raises(AudioError, match=f"a.wav: {channels} channels at {rate} Hz"):
        rules.resample(rate, channels, "a.wav")


@pytest.mark.parametrize("channels", [1, 2, 6])
def test_doubled_is_the_mean_twice(channels):
    clip = np.ascontiguousarray(synthetic.clip(3, 1000, channels).T)
    mean = Resampler(44100, 48000, channels, "mean").push(clip, last=True)
    doubled = Resampler(44100, 48000, channels, "doubled").push(clip, last=True)
    np.testing.assert_array_equal(doubled, np.repeat(mean, 2, axis=0))
