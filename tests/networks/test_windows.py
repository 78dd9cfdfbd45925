from dataclasses import replace

import numpy as np
import pytest

from fad_onnx.api import dry_run
from fad_onnx.errors import TooShortError
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.preparation import Preparation, Windows
from fad_onnx.networks.selection import select
from fad_onnx.networks.windows import Windower

DEFAULT = table.model().preparation
LENGTH, HOP = DEFAULT.windows.length_samples, DEFAULT.windows.hop_samples
CROP = Windows("crop", 1000, fill="repeat", long="center")
MINIMUM, ANY = DEFAULT.minimum_samples, 1


def cut(samples, blocks, rules=DEFAULT.windows, minimum=MINIMUM, short="error"):
    channels = "stereo" if len(samples) == 2 else "mean"
    preparation = Preparation(16000, channels, windows=rules, minimum_samples=minimum)
    cutter = Windower(preparation, None, short)
    edges = np.linspace(0, samples.shape[1], blocks + 1).astype(int)
    windows = []
    for i in range(blocks):
        windows += cutter.push(samples[:, edges[i] : edges[i + 1]], last=i == blocks - 1)
    return windows


@pytest.mark.parametrize("samples", [LENGTH, LENGTH + HOP - 1, LENGTH + HOP, LENGTH + 7 * HOP + 1])
@pytest.mark.parametrize("blocks", [1, 2, 7, 40])
def test_windows_do_not_depend_on_the_blocks(samples, blocks):
    clip = synthetic.clip(1, samples)
    windows = cut(clip, blocks)
    assert len(windows) == 1 + (samples - LENGTH) // HOP
    for index, window in enumerate(windows):
        np.testing.assert_array_equal(window.samples, clip[:, index * HOP : index * HOP + LENGTH])


@pytest.mark.parametrize("samples", [1, 5, 999, 1000, 1001, 2000, 2345])
def test_a_padded_tail_covers_the_clip_and_says_what_is_its_own(samples):
    rules = Windows("windows", 1000, 1000, tail="pad")
    clip = synthetic.clip(2, samples)
    for blocks in (1, 3):
        windows = cut(clip, blocks, rules, ANY)
        assert sum(window.valid_samples for window in windows) == samples
        joined = np.concatenate([window.samples for window in windows], axis=1)
        np.testing.assert_array_equal(joined[:, :samples], clip)
        assert not joined[:, samples:].any()


def test_a_short_clip_is_an_error_or_padded():
    clip = synthetic.clip(3, LENGTH - 1)
    for short in ("error", "skip"):
        with pytest.raises(TooShortError, match=r"0\.9749 s is shorter than the 0\.975 s that"):
            cut(clip, 1, short=short)
    (window,) = cut(clip, 1, short="pad")
    np.testing.assert_array_equal(window.samples[:, :-1], clip)
    assert window.samples[0, -1] == 0


@pytest.mark.parametrize("samples", [1, 3, 333, 500, 501, 999, 1000])
def test_a_crop_repeats_whole_copies_then_zeros(samples):
    clip = synthetic.clip(4, samples)
    (window,) = cut(clip, 1, CROP, ANY)
    copies = 1000 // samples
    expected = np.concatenate([np.tile(clip[0], copies), np.zeros(1000 - copies * samples)])
    np.testing.assert_array_equal(window.samples[0], expected)
    (whole,) = cut(clip, 1, replace(CROP, cover="whole"), ANY)
    np.testing.assert_array_equal(whole.samples[0], expected)


def test_a_whole_clip_above_the_length_stays_whole():
    clip = synthetic.clip(4, 1500)
    (window,) = cut(clip, 3, replace(CROP, cover="whole"), ANY)
    np.testing.assert_array_equal(window.samples, clip)


@pytest.mark.parametrize("samples", [1, 333, 999, 1000, 1001, 2345])
def test_a_whole_clip_with_a_length_is_filled_up_but_never_cut(samples):
    clip = synthetic.clip(4, samples)
    (window,) = cut(clip, 1, replace(CROP, cover="whole", long="all"), ANY)
    expected = cut(clip, 1, CROP, ANY)[0].samples if samples < 1000 else clip
    np.testing.assert_array_equal(window.samples, expected)


def test_a_long_clip_is_cropped_in_the_middle_or_where_the_seed_says():
    clip = synthetic.clip(5, 5001)
    (window,) = cut(clip, 4, CROP, ANY)
    np.testing.assert_array_equal(window.samples, clip[:, 2000:3000])
    assert window.samples.base is None  # nothing of the clip is kept beside the crop
    random = replace(CROP, long="random")
    starts = set()
    for seed in range(8):
        rules = replace(random, seed=seed)
        (first,) = cut(clip, 4, rules, ANY)
        (again,) = cut(clip, 1, rules, ANY)
        np.testing.assert_array_equal(first.samples, again.samples)
        starts.add(float(first.samples[0, 0]))
    assert len(starts) > 4
    # Every start can be drawn, the last one too.
    barely = clip[:, :1001]
    drawn = [cut(barely, 1, replace(random, seed=seed), ANY)[0].samples[0, 0] for seed in range(20)]
    assert set(drawn) == {barely[0, 0], barely[0, 1]}


def test_a_whole_clip_is_one_window():
    clip = synthetic.clip(6, 4321, 2)
    (window,) = cut(clip, 3, Windows(), ANY)
    np.testing.assert_array_equal(window.samples, clip)


@pytest.mark.parametrize("samples", [1, 3, 333, 500, 501, 999, 1000])
@pytest.mark.parametrize("fill", ["zeros", "repeat_cut", "reflect"])
def test_a_short_clip_is_filled_as_its_rule_says(samples, fill):
    clip = synthetic.clip(4, samples)
    (window,) = cut(clip, 2, replace(CROP, fill=fill), ANY)
    expected = {
        "zeros": lambda: np.pad(clip[0], (0, 1000 - samples)),
        "repeat_cut": lambda: np.resize(clip[0], 1000),
        "reflect": lambda: np.array([clip[0, mirrored(i, samples)] for i in range(1000)]),
    }[fill]()
    np.testing.assert_array_equal(window.samples[0], expected)
    assert window.valid_samples == (samples if fill == "zeros" else 1000)


def mirrored(index, count):
    """Where a walk to and fro over `count` places is after `index` steps."""
    period = max(1, 2 * (count - 1))
    return min(index % period, period - index % period)


def test_the_head_of_a_long_clip():
    clip = synthetic.clip(5, 5001)
    (window,) = cut(clip, 3, replace(CROP, long="head"), ANY)
    np.testing.assert_array_equal(window.samples, clip[:, :1000])


@pytest.mark.parametrize("samples", [1, 999, 1000, 1001, 1999, 2000, 2001])
def test_a_tail_that_is_kept_is_as_short_as_it_is(samples):
    clip = synthetic.clip(6, samples)
    windows = cut(clip, 3, Windows("windows", 1000, 1000, tail="keep"), ANY)
    np.testing.assert_array_equal(np.concatenate([w.samples for w in windows], axis=1), clip)
    assert [w.valid_samples for w in windows] == [w.samples.shape[1] for w in windows]


@pytest.mark.parametrize("samples", [1, 4, 5, 6, 9])
@pytest.mark.parametrize("tail", ["pad", "keep"])
def test_a_clip_shorter_than_the_overlap_is_a_window(samples, tail):
    clip = synthetic.clip(6, samples)
    (window,) = cut(clip, 1, Windows("windows", 10, 5, tail=tail), ANY)
    assert window.valid_samples == samples
    np.testing.assert_array_equal(window.samples[:, :samples], clip)
    assert window.samples.shape[1] == (10 if tail == "pad" else samples)


@pytest.mark.parametrize("samples", [1, 49, 99, 100, 101, 200, 201, 1003])
@pytest.mark.parametrize("blocks", [1, 2, 7, 40])
def test_margins_of_zeros_and_a_multiple_of_a_window(samples, blocks):
    clip = synthetic.clip(9, samples)
    rules = Windows("windows", 100, 50, margins="zeros")
    windows = cut(clip, blocks, rules, ANY)
    whole = -(-samples // 100)
    wide = np.pad(clip, ((0, 0), (50, 100 * whole - samples + 50)))
    assert len(windows) == 2 * whole + 1
    for index, window in enumerate(windows):
        np.testing.assert_array_equal(window.samples, wide[:, 50 * index : 50 * index + 100])
        assert window.valid_samples == 100
    planned = replace(select("dac-44k:protocol=fadtk"), preparation=Preparation(1, windows=rules))
    assert dry_run.count_windows(planned, samples) == len(windows)


def mirrored_at_the_ends(clip, length, hop):
    """numpy.pad for the margins, then every full window."""
    wide = np.pad(clip, ((0, 0), (length // 2, length // 2)), mode="reflect")
    return [wide[:, i : i + length] for i in range(0, wide.shape[1] - length + 1, hop)]


@pytest.mark.parametrize("hop", [25, 49, 50, 51, 70, 100])
@pytest.mark.parametrize("samples", [101, 102, 124, 125, 126, 149, 150, 151, 200, 271, 1003])
@pytest.mark.parametrize("blocks", [1, 2, 3, 40, 101])
def test_a_clip_longer_than_a_window_is_reflected_at_both_ends(samples, blocks, hop):
    clip = synthetic.clip(8, samples)
    windows = cut(clip, blocks, Windows("windows", 100, hop, margins="reflect"), ANY)
    expected = mirrored_at_the_ends(clip, 100, hop)
    assert len(windows) == len(expected) == 1 + samples // hop
    for window, wanted in zip(windows, expected, strict=True):
        np.testing.assert_array_equal(window.samples, wanted)
        assert window.valid_samples == 100


@pytest.mark.parametrize("samples", [1, 49, 50, 51, 99, 100])
@pytest.mark.parametrize("blocks", [1, 3])
def test_a_clip_up_to_a_window_is_not_reflected(samples, blocks):
    clip = synthetic.clip(8, samples)
    (window,) = cut(clip, blocks, Windows("windows", 100, 25, margins="reflect"), ANY)
    np.testing.assert_array_equal(window.samples, clip)
    assert window.valid_samples == samples


@pytest.mark.parametrize("hop", [10, 49, 50, 51, 100])
@pytest.mark.parametrize("samples", [1, 9, 10, 11, 49, 50, 51, 60, 100, 101, 150, 1003])
@pytest.mark.parametrize("blocks", [1, 3, 101])
def test_centred_windows_cover_every_sample(samples, blocks, hop):
    """As many as openl3 says: core.py, _get_num_windows."""
    clip = synthetic.clip(8, samples)
    rules = Windows("windows", 100, hop, tail="pad", margins="zeros_before")
    windows = cut(clip, blocks, rules, ANY)
    count = 1 + max(0, -(-(samples + 50 - 100) // hop))
    wide = np.pad(clip, ((0, 0), (50, count * hop + 100)))
    assert len(windows) == count
    for i, window in enumerate(windows):
        np.testing.assert_array_equal(window.samples, wide[:, i * hop : i * hop + 100])


def test_a_long_reflected_clip_is_not_held():
    rules = Windows("windows", 100, 25, margins="reflect")
    windower = Windower(Preparation(16000, windows=rules), None, "error")
    for _ in range(200):
        windower.push(synthetic.clip(9, 60))
        assert windower._buffer.count < 100 + 51 + 60


@pytest.mark.parametrize("samples", [1, LENGTH - 1, LENGTH, LENGTH + HOP, 10 * HOP + LENGTH - 1])
def test_the_plan_counts_what_the_windower_cuts(samples):
    clip = synthetic.clip(7, samples)
    one = select()
    reflected = replace(DEFAULT.windows, margins="reflect", hop_samples=LENGTH // 4)
    padded = replace(DEFAULT.windows, tail="pad", hop_samples=LENGTH)
    overlapping = replace(padded, hop_samples=LENGTH // 3)
    centred = replace(overlapping, margins="zeros_before")
    rules_of_any = (padded, overlapping, reflected, centred)
    for rules, minimum in ((DEFAULT.windows, MINIMUM), *((one, ANY) for one in rules_of_any)):
        expected = 0 if samples < minimum else len(cut(clip, 1, rules, minimum))
        prepared = replace(DEFAULT, windows=rules, minimum_samples=minimum)
        chosen = replace(one, preparation=prepared)
        assert dry_run.count_windows(chosen, samples) == expected


@pytest.mark.parametrize(
    ("samples", "valid"), [(10, [10]), (11, [10, 6]), (15, [10, 10]), (16, [10, 10, 6])]
)
def test_a_tail_that_a_window_holds_already_is_no_window(samples, valid):
    rules = Windows("windows", length_samples=10, hop_samples=5, tail="pad")
    windower = Windower(Preparation(16_000, windows=rules), None, "error")
    windows = windower.push(np.ones((1, samples), np.float32), last=True)
    assert [window.valid_samples for window in windows] == valid
