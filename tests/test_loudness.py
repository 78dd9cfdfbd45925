"""Loudness against the figures of ITU-R BS.1770 and EBU Tech 3341, and in pieces."""

import numpy as np
import pytest

from fad_onnx.audio import loudness as module
from fad_onnx.audio.level import Level
from fad_onnx.audio.loudness import FLOOR, loudness, normalised
from fad_onnx.networks import synthetic


def sine(decibels, seconds, rate=44_100, hertz=997.0):
    turns = np.arange(round(seconds * rate)) * (hertz / rate)
    return (10 ** (decibels / 20) * np.sin(2 * np.pi * turns)).astype(np.float32)[:, None]


@pytest.mark.parametrize("rate", [22_050, 44_100, 48_000, 96_000])
def test_a_full_scale_sine_is_minus_3_lufs(rate):
    """BS.1770-4, annex 1: 0 dBFS at 997 Hz in one channel reads -3.01 LKFS."""
    assert loudness(sine(0, 4, rate), rate) == pytest.approx(-3.01, abs=0.06)


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23.0),  # EBU Tech 3341, case 1
        ([(-33, 20)], -33.0),  # case 2
        ([(-36, 10), (-23, 60), (-36, 10)], -23.0),  # case 3: the relative gate
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),  # case 4: both gates
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),  # case 5
    ],
)
def test_the_gates(parts, expected):
    clip = np.concatenate([sine(level, seconds, hertz=1000.0) for level, seconds in parts])
    assert loudness(np.repeat(clip, 2, axis=1), 44_100) == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("frames", [1, 300, 17_640, 22_049, 22_051, 100_003])
def test_the_pieces_in_which_a_clip_is_filtered_do_not_matter(frames, monkeypatch):
    clip = synthetic.clip(1, frames, 2).T
    whole = loudness(clip, 44_100)
    for size in (4_410, 9_999, 17_640):
        monkeypatch.setattr(module, "PIECE_FRAMES", size)
        assert loudness(clip, 44_100) == pytest.approx(whole, abs=1e-9)


def test_silence_is_the_floor_and_stays_silent():
    silence = np.zeros((50_000, 1), np.float32)
    assert loudness(silence, 44_100) == FLOOR == loudness(sine(-90, 2), 44_100)
    assert not normalised(silence, 44_100, -16).any()


@pytest.mark.parametrize("level", [-50, -20, -3])
def test_the_level_reaches_its_loudness(level):
    made = normalised(sine(level, 3), 44_100, -16.0)
    assert loudness(made, 44_100) == pytest.approx(-16, abs=1e-3)


def test_the_peak_limits_the_level():
    clip = sine(-30, 3)
    clip[1000] = 0.9
    made = normalised(clip, 44_100, -16.0)
    assert np.abs(made).max() == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(made * clip[1000], clip * made[1000], atol=1e-6)
    assert loudness(made, 44_100) < -20


@pytest.mark.parametrize("blocks", [1, 3, 50])
def test_the_step_holds_a_clip_until_its_end(blocks):
    clip, level = synthetic.clip(2, 60_000).T, Level(["loudness_minus_16"], 44_100)
    *most, end = np.array_split(clip, blocks)
    assert all(not len(level.push(block)) for block in most)
    np.testing.assert_array_equal(level.push(end, last=True), normalised(clip, 44_100, -16.0))
