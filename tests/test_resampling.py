"""Channels and rate: chunks of any size give the bits of one call, which is soxr's."""

import math
from dataclasses import replace
from itertools import cycle

import numpy as np
import pytest
import soxr

import fad_onnx
from fad_onnx.audio.polyphase import Polyphase
from fad_onnx.audio.resampling import LIBROSA, VIA_44100, Resampler
from fad_onnx.networks import synthetic

from .kit import WEIGHTLESS, with_preparation

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


def steps(clip, *, before=(), after=(), chunk=7):
    resampler = Resampler(16000, 16000, 1, "mean", before=before, after=after)
    blocks = [clip[start : start + chunk] for start in range(0, len(clip), chunk)]
    parts = [resampler.push(block, block is blocks[-1]) for block in blocks]
    return np.concatenate(parts, axis=1)[0]


def test_the_mean_of_the_whole_clip_is_removed():
    clip = synthetic.clip(3, 1000, 1).T + np.float32(0.25)
    got = steps(clip, before=("remove_dc",))
    np.testing.assert_allclose(got, (clip - clip.mean(dtype=np.float64))[:, 0], atol=1e-7)
    assert abs(got.mean(dtype=np.float64)) < 1e-8 < abs(clip.mean())


@pytest.mark.parametrize("gain", [0.01, 3])
def test_the_peak_is_1_db_below_full_scale(gain):
    clip = synthetic.clip(3, 1000, 1).T * np.float32(gain)
    got = steps(clip, after=("peak_minus_1_db",))
    assert np.abs(got).max() == pytest.approx(10 ** (-1 / 20), rel=1e-6)
    np.testing.assert_allclose(got / got[5], clip[:, 0] / clip[5, 0], rtol=1e-5, atol=1e-6)
    assert not steps(np.zeros((20, 1), np.float32), after=("peak_minus_1_db",)).any()


@pytest.mark.parametrize("gain", [1.0, -1.0, 1e-6])
def test_the_largest_sample_becomes_full_scale_unless_all_are_tiny(gain):
    """As Google's code does with whole numbers of 16 bits; see audioset_model.py."""
    clip = synthetic.clip(3, 1000, 1).T * np.float32(gain)
    wanted = clip[:, 0] * 2.0**15 / max(0.1, clip.max() * 2.0**15)
    np.testing.assert_allclose(steps(clip, after=("positive_peak",)), wanted, rtol=1e-6)


def test_16_bits_are_rounded_or_cut():
    clip = np.array([[2.0], [1.0], [-1.0], [-2.0], [0.75], [2.6 / 32768], [-2.6 / 32768]], "f4")
    rounded = [32767, 32767, -32768, -32768, 24576, 3, -3]
    np.testing.assert_array_equal(steps(clip, after=("pcm16",)) * 32768, rounded)
    cut = [32767, 32767, -32767, -32767, 24575, 2, -2]
    np.testing.assert_allclose(steps(clip, after=("int16_cut",)) * 32767, cut, atol=1e-3)


def test_the_first_channel_is_taken():
    clip = np.ascontiguousarray(synthetic.clip(3, 500, 3).T)
    got = Resampler(16000, 16000, 3, "first").push(clip, last=True)
    np.testing.assert_array_equal(got, clip.T[:1])


def test_steps_are_taken_before_and_after_resampling():
    clip = synthetic.clip(3, 3000, 1).T + np.float32(0.25)
    both = Resampler(
        44100, 16000, 1, "mean", "torchaudio_hann", ("remove_dc",), ("peak_minus_1_db", "pcm16")
    )
    got = np.concatenate([both.push(clip[:1000]), both.push(clip[1000:], last=True)], axis=1)
    plain = (clip - clip.mean(dtype=np.float64)).astype(np.float32)
    plain = Polyphase("torchaudio_hann", 44100, 16000, 1).push(plain, last=True)[:, 0]
    wanted = plain * (10 ** (-1 / 20) / np.abs(plain).max())
    assert np.abs(got[0] - wanted).max() <= 0.51 / 32768
    np.testing.assert_array_equal(got * 32768, np.rint(got * 32768))


def test_embeddings_may_be_kept_in_half_precision():
    model = fad_onnx.load_model(WEIGHTLESS)
    half = with_preparation(model, embedding_type="float16")
    clip = synthetic.clip(3, 40_000, 1)[0]
    full = model.embed(clip, 16000)
    got = half.embed(clip, 16000)
    assert got.dtype == np.float32 and half.fingerprint != model.fingerprint
    np.testing.assert_array_equal(got, full.astype(np.float16).astype(np.float32))
    assert (got != full).any()


@pytest.mark.parametrize("source", [16000, 44100, 48000])
def test_two_steps_are_soxr_and_then_resampy(source):
    clip = np.ascontiguousarray(synthetic.clip(4, 3001, 2).T)
    middle = clip if source == 44100 else soxr.resample(clip, source, 44100, "HQ")
    expected = Polyphase("resampy_0_2_kaiser_best", 44100, 48000, 2).push(middle, last=True).T
    for sizes in (len(clip), 700, 1):
        resampler = Resampler(source, 48000, 2, "each", VIA_44100)
        starts = range(0, len(clip), sizes)
        parts = [resampler.push(clip[i : i + sizes], last=i + sizes >= len(clip)) for i in starts]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), expected)


@pytest.mark.parametrize("frames", [1, 2, 441, 442, 44_099, 44_100, 44_101, 70_003])
def test_librosas_length_is_rounded_up_and_filled_with_zeros(frames):
    clip = np.ascontiguousarray(synthetic.clip(5, frames, 1).T)
    whole = soxr.resample(clip, 44_100, 48_000, "HQ").T
    wanted = math.ceil(frames * (48_000.0 / 44_100))
    for size in (frames, 700):
        resampler = Resampler(44_100, 48_000, 1, "mean", LIBROSA)
        starts = range(0, frames, size)
        parts = [resampler.push(clip[i : i + size], last=i + size >= frames) for i in starts]
        got = np.concatenate(parts, axis=1)
        assert got.shape == (1, wanted)
        np.testing.assert_array_equal(got[:, : whole.shape[1]], whole[:, :wanted])
        assert not got[:, whole.shape[1] :].any()


def test_each_channel_goes_through_the_network_alone():
    mean = fad_onnx.load_model(WEIGHTLESS)
    each = with_preparation(mean, channels="each")
    wide = replace(mean.selection.output, width=2 * mean.width)
    each = replace(each, selection=replace(each.selection, output=wide))
    clip = synthetic.clip(6, 40_000, 3).T
    left, right = (mean.embed(clip[:, i], 16_000) for i in (0, 1))
    assert not np.array_equal(left, right)
    for given in (clip, clip[:, :2]):
        got = each.embed(given, 16_000)
        np.testing.assert_array_equal(got, np.concatenate([left, right], axis=1))
    np.testing.assert_array_equal(each.embed(clip[:, 0], 16_000), np.concatenate([left, left], 1))


@pytest.mark.parametrize("channels", [1, 2, 3])
def test_joined_channels_follow_each_other(channels):
    clip = np.ascontiguousarray(synthetic.clip(7, 1003, channels).T)
    kind = "torchaudio_hann"
    whole = [Resampler(16000, 44100, 1, "mean", kind).push(c[:, None], last=True) for c in clip.T]
    for size in (1003, 100, 7):
        resampler = Resampler(16000, 44100, channels, "joined", kind)
        starts = range(0, len(clip), size)
        parts = [resampler.push(clip[i : i + size], last=i + size >= len(clip)) for i in starts]
        np.testing.assert_array_equal(np.concatenate(parts, axis=1), np.concatenate(whole, axis=1))
