"""Channels and rate: chunks of any size give the bits of one call, which is soxr's."""

from itertools import cycle

import numpy as np
import pytest
import soxr

from fad_onnx.audio.resampling import Resampler
from fad_onnx.networks import synthetic

RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000, 88200, 96000, 176400, 192000)
TARGETS = (8000, 16000, 24000, 32000, 44100, 48000)
# Chunks in turn, until the clip is used up.
CHUNKS = ((1,), (7,), (1000,), (1, 999, 3), (513, 2, 64, 1, 300))


def conformed(clip, source, target, rule, chunks):
    resampler, parts, start = Resampler(source, target, clip.shape[1], rule), [], 0
    for size in cycle(chunks):
        last = start + size >= len(clip)
        parts.append(resampler.push(clip[start : start + size], last))
        if last:
            return np.concatenate(parts, axis=1)
        start += size
    raise AssertionError


def in_one_call(clip, source, target, rule):
    """(channels, frames) by soxr's own function for whole clips."""
    if clip.shape[1] != 2 or rule == "mean":
        clip = clip.mean(axis=1, keepdims=True)
    frames = len(clip) * target // source
    whole = soxr.resample(clip, source, target, "HQ")[:frames] if source != target else clip
    return np.repeat(whole.T, 2, axis=0) if rule == "stereo" and clip.shape[1] == 1 else whole.T


def check(source, target, channels, frames, chunks):
    clip = np.ascontiguousarray(synthetic.clip(3, frames, channels).T)
    for rule in ("mean", "stereo"):
        wanted = in_one_call(clip, source, target, rule)
        assert wanted.shape[1] == frames * target // source
        for sizes in ((frames,), *chunks):
            got = conformed(clip, source, target, rule, sizes)
            np.testing.assert_array_equal(got, wanted, f"{source} {target} {frames} {sizes}")


@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", [16000, 44100])
def test_chunks_give_the_bits_of_one_call(source, target):
    for channels, frames in ((1, 999), (2, 1000), (2, 1001), (6, 2007), (1, 1), (2, 5)):
        check(source, target, channels, frames, CHUNKS)


@pytest.mark.slow
@pytest.mark.parametrize("source", RATES)
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [1, 2, 3, 6, 8, 64])
def test_chunks_of_any_size_give_the_bits_of_one_call(source, target, channels):
    for block in (1, 1000, 4096):
        for frames in {max(1, n * block + step) for n in (1, 2, 5) for step in (-1, 0, 1)}:
            check(source, target, channels, frames, ((block,), (block + 1,), *CHUNKS[1:]))


@pytest.mark.slow
@pytest.mark.parametrize("source", RATES)
def test_minutes_in_blocks_are_minutes_in_one_call(source):
    check(source, 16000, 1, 100 * source + 1, ((1 << 19,), (99_991,)))
