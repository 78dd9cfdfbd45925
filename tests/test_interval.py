"""The interval over files: its derivative against finite differences, and its coverage."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.stats

from fad_onnx.errors import OptionError, StatisticsError, TooFewEmbeddingsError
from fad_onnx.metrics import confidence_interval as module
from fad_onnx.metrics.confidence_interval import (
    Interval,
    Side,
    distance_and_maps,
    file_influences,
    interval,
)
from fad_onnx.metrics.frechet import Gaussian, frechet_distance
from fad_onnx.metrics.intervals import pairs_by_name
from fad_onnx.metrics.moments import Moments

Files = list[np.ndarray]


def clips(
    random: np.random.RandomState, files: int, per_file: int, dim: int, gap: float = 0.0
) -> Files:
    """Files whose embeddings share half their variance, with a falling spectrum."""
    scale = np.arange(1, dim + 1) ** -0.5
    return [
        (np.sqrt(0.5) * random.randn(dim) + np.sqrt(0.5) * random.randn(per_file, dim)) * scale
        + gap
        for _ in range(files)
    ]


def left_out(files: Files, i: int) -> Moments:
    return Moments.of(np.concatenate(files[:i] + files[i + 1 :]))


def jackknife(evaluation: Files, reference: Files) -> tuple[float, float]:
    """Variances by leaving out one file at a time: (evaluation's, reference's)."""
    whole = [Moments.of(np.concatenate(files)) for files in (evaluation, reference)]
    found = []
    for side, other in ((evaluation, whole[1]), (reference, whole[0])):
        against = Gaussian.of(other)
        values = [frechet_distance(left_out(side, i), against) for i in range(len(side))]
        found.append((len(side) - 1) * np.var(values))
    return found[0], found[1]


@pytest.mark.parametrize(("files", "per_file", "dim"), [(40, 3, 5), (40, 1, 20), (30, 1, 40)])
def test_is_near_the_jackknife_that_leaves_out_files(files: int, per_file: int, dim: int) -> None:
    random = np.random.RandomState(1)
    x, y = clips(random, files, per_file, dim, 0.7), clips(random, files + 5, per_file, dim)
    found = interval(Side.of(x), Side.of(y))
    assert found.standard_error is not None
    assert found.standard_error**2 == pytest.approx(sum(jackknife(x, y)), rel=0.25)
    fixed = interval(Side.of(x), Side.of(y).moments)
    assert fixed.standard_error is not None
    assert fixed.standard_error**2 == pytest.approx(jackknife(x, y)[0], rel=0.25)


def test_is_near_the_jackknife_for_skewed_sets() -> None:
    # Skewed, so that errors of the mean and of the covariance do not cancel.
    random = np.random.RandomState(10)
    x = [2.0 - random.exponential(1.0, (2, 3)) for _ in range(60)]
    y = [random.exponential(1.5, (2, 3)) for _ in range(60)]
    found = interval(Side.of(x), Side.of(y))
    assert found.standard_error is not None
    assert found.standard_error**2 == pytest.approx(sum(jackknife(x, y)), rel=0.25)


def test_influences_are_the_derivative() -> None:
    """The oracle moves weights by a little: weighted moments, and a distance by eigenvalues."""
    random = np.random.RandomState(2)
    x, y = clips(random, 12, 4, 3, 0.5), clips(random, 20, 4, 3)
    a, b = Side.of(x), Gaussian.of(Side.of(y).moments)
    _, (transport, _) = distance_and_maps(Gaussian.of(a.moments), b)
    influences = file_influences(a, a.moments.mean - b.mean, transport)
    all_rows, sigma = np.concatenate(x), b.factor.T @ b.factor
    n = len(all_rows)

    def distance(file: int, step: float) -> float:
        weights = np.full(n, 1.0 / n)
        weights[4 * file : 4 * file + 4] += step / n
        weights /= weights.sum()
        mean = weights @ all_rows
        centred = all_rows - mean
        covariance = centred.T @ (centred * weights[:, None]) * (n / (n - 1))
        roots = np.sqrt(np.linalg.eigvals(covariance @ sigma).real)
        gap = mean - b.mean
        return float(gap @ gap + np.trace(covariance + sigma) - 2 * roots.sum())

    for file in range(12):
        slope = (distance(file, 1e-4) - distance(file, -1e-4)) / 2e-4
        assert influences[file] / n == pytest.approx(slope, rel=0.05, abs=2e-3)
    assert influences.sum() == pytest.approx(0.0, abs=1e-9)


@pytest.mark.parametrize(("n", "m"), [(30, 40), (4, 40), (40, 4), (4, 5)])
def test_the_estimate_is_the_distance(n: int, m: int) -> None:
    random = np.random.RandomState(3)
    a, b = Moments.of(random.randn(n, 8)), Moments.of(random.randn(m, 8))
    estimate, maps = distance_and_maps(Gaussian.of(a), Gaussian.of(b))
    assert estimate == pytest.approx(frechet_distance(a, b), rel=1e-10)
    # What P maps embeddings to has the nuclear norm as its variance, on either side.
    nuclear = (np.trace(a.covariance() + b.covariance()) - estimate) / 2
    nuclear += np.square(a.mean - b.mean).sum() / 2
    for moments, transport in zip((a, b), maps, strict=True):
        mapped = np.trace(transport @ moments.covariance() @ transport.T)
        assert mapped == pytest.approx(nuclear, rel=1e-9)


def test_blocks_and_empty_files_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.RandomState(4)
    x = [random.randn(n, 3) for n in (1, 4, 2, 9, 1, 1, 3, 2, 2, 5, 1)]
    whole = interval(Side.of(x), Moments.of(random.randn(50, 3)))
    random = np.random.RandomState(4)
    x = [random.randn(n, 3) for n in (1, 4, 2, 9, 1, 1, 3, 2, 2, 5, 1)]
    monkeypatch.setattr(module, "BLOCK", 4)
    reference = Moments.of(random.randn(50, 3))
    cut = interval(Side.of([np.zeros((0, 3)), *x, np.zeros((0, 3))]), reference)
    assert cut.files == whole.files == (11, None)
    assert cut.low == pytest.approx(whole.low, rel=1e-12)
    assert cut.high == pytest.approx(whole.high, rel=1e-12)


def test_a_higher_level_is_wider() -> None:
    random = np.random.RandomState(5)
    x, y = Side.of(clips(random, 30, 2, 4, 2.0)), Side.of(clips(random, 30, 2, 4))
    widths = []
    for level in (0.5, 0.9, 0.99):
        found = interval(x, y, level)
        assert found.low is not None
        assert found.high is not None
        assert 0 < found.low < found.estimate < found.high
        widths.append(found.high - found.low)
    assert widths == sorted(widths)


def test_many_files_come_near_the_normal_quantile() -> None:
    random = np.random.RandomState(6)
    found = interval(Side.of(clips(random, 2000, 1, 2, 3.0)), Gaussian.point(np.zeros(2)))
    assert found.high is not None
    assert found.standard_error is not None
    reach = (found.high - found.estimate) / found.standard_error
    assert reach == pytest.approx(1.95996, rel=1e-3)


@pytest.mark.parametrize("per_file", [1, 4])
def test_the_distance_to_a_point_has_the_error_of_a_mean(per_file: int) -> None:
    # It is the mean of |x|^2, up to ddof.
    x = clips(np.random.RandomState(6), 12, per_file, 2, 3.0)
    found = interval(Side.of(x), Gaussian.point(np.zeros(2)))
    means = [float(np.square(file).sum(axis=1).mean()) for file in x]
    assert found.standard_error == pytest.approx(np.std(means, ddof=1) / np.sqrt(12), rel=1e-9)


def test_cut_off_at_zero() -> None:
    random = np.random.RandomState(7)
    x, y = Side.of(clips(random, 12, 2, 3)), Side.of(clips(random, 12, 2, 3))
    found = interval(x, y, 0.99999)
    assert found.low == 0.0
    assert found.estimate > 0.0


def test_too_few_files_are_a_reason_with_the_numbers() -> None:
    random = np.random.RandomState(8)
    x, y = Side.of(clips(random, 9, 5, 3)), Side.of(clips(random, 12, 5, 3))
    found = interval(x, y)
    assert (found.low, found.high, found.files) == (None, None, (9, 12))
    assert found.estimate == pytest.approx(frechet_distance(x.moments, y.moments))
    assert found.reason is not None
    assert "10 clips" in found.reason
    assert "9 of the evaluation and 12 of the reference" in found.reason


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0, float("nan")])
def test_levels_that_are_none(level: float) -> None:
    side = Side.of([np.eye(3)] * 10)
    with pytest.raises(OptionError, match="between 0 and 1"):
        interval(side, side, level)


def test_what_has_no_distance_has_no_interval() -> None:
    side = Side.of([np.random.RandomState(9).randn(2, 3)] * 10)
    with pytest.raises(TooFewEmbeddingsError):
        interval(side, Moments.of(np.ones((1, 3))))
    with pytest.raises(StatisticsError, match="3 and 4"):
        interval(side, Moments.of(np.eye(4)))


def test_the_reach_is_that_of_students_distribution() -> None:
    """With Welch's degrees of freedom: near the sum for sides alike, the smaller side's if it
    alone varies.
    """
    random = np.random.RandomState(12)
    x, y = Side.of(clips(random, 12, 4, 3)), Side.of(clips(random, 12, 4, 3))
    alike, alone = interval(x, y, 0.9), interval(x, y.moments, 0.9)
    assert alone.degrees_of_freedom == pytest.approx(11)
    assert 11 < alike.degrees_of_freedom <= 22
    for found in (alike, alone):
        quantile = scipy.stats.t(found.degrees_of_freedom).ppf(0.95)
        assert found.high - found.estimate == pytest.approx(quantile * found.standard_error)


def test_progress_counts_the_files_of_both_sides() -> None:
    told: list[int] = []
    side = Side.of([np.random.RandomState(i).randn(3, 2) for i in range(10)])
    interval(side, side, progress=told.append)
    assert sum(told) == 20


def coverage(
    repeats: int, files: int, per_file: int, dim: int, gap: float, level: float
) -> tuple[float, list[Interval]]:
    found = []
    for seed in range(repeats):
        random = np.random.RandomState(1000 + seed)
        x, y = clips(random, files, per_file, dim, gap), clips(random, files, per_file, dim)
        found.append(interval(Side.of(x), Side.of(y), level))
    expected = np.mean([one.estimate for one in found])
    inside = [one.low <= expected <= one.high for one in found]  # type: ignore[operator]
    return float(np.mean(inside)), found


@pytest.mark.large
def test_covers_the_expected_distance() -> None:
    for files, per_file, dim, gap in ((40, 3, 8, 0.5), (60, 1, 64, 0.3)):
        inside, _ = coverage(100, files, per_file, dim, gap, 0.9)
        assert 0.83 <= inside <= 0.99


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.9, 0.95])
@pytest.mark.parametrize(
    ("files", "per_file", "dim"), [(30, 5, 8), (300, 1, 8), (60, 1, 64), (66, 1, 64), (100, 3, 64),
                               (30, 4, 128), (130, 1, 128)]
)  # fmt: skip
@pytest.mark.parametrize("gap", [0.0, 0.3])
def test_coverage(files: int, per_file: int, dim: int, gap: float, level: float) -> None:
    inside, _ = coverage(200, files, per_file, dim, gap, level)
    # Three standard errors of 200 repeats below the level; without a gap it is conservative.
    assert inside >= level - 3 * np.sqrt(level * (1 - level) / 200)


def paired(random: np.random.RandomState, files: int, noise: float) -> tuple[Files, Files]:
    """Clips, and what a codec makes of them."""
    clean = clips(random, files, 4, 6)
    return [one + noise * random.randn(*one.shape) + 0.1 for one in clean], clean


def test_pairs_are_resampled_together() -> None:
    """Against the jackknife that leaves out a clip on both sides at once."""
    made, clean = paired(np.random.RandomState(3), 60, 0.5)
    values = [frechet_distance(left_out(made, i), left_out(clean, i)) for i in range(60)]
    expected = 59 * np.var(values)
    pairs = [(i, i) for i in range(60)]
    together = interval(Side.of(made), Side.of(clean), pairs=pairs)
    apart = interval(Side.of(made), Side.of(clean))
    assert together.standard_error is not None
    assert apart.standard_error is not None
    assert together.standard_error**2 == pytest.approx(expected, rel=0.25)
    assert apart.standard_error**2 > 4 * expected
    assert (together.pairs, together.sampling, together.degrees_of_freedom) == (
        60, "60 pairs", pytest.approx(59),
    )  # fmt: skip
    assert (apart.pairs, apart.sampling) == (0, "independent")
    assert interval(Side.of(made), Side.of(clean).moments).sampling == "fixed reference"


def test_the_order_of_the_files_does_not_matter_to_pairs() -> None:
    made, clean = paired(np.random.RandomState(4), 20, 0.2)
    same = interval(Side.of(made), Side.of(clean), pairs=[(i, i) for i in range(20)])
    turned = [(i, (i + 3) % 20) for i in range(20)]
    moved = interval(Side.of(made), Side.of(clean[-3:] + clean[:-3]), pairs=turned)
    assert moved.standard_error == pytest.approx(same.standard_error, rel=1e-9)


def test_some_pairs_lie_between_all_and_none() -> None:
    made, clean = paired(np.random.RandomState(5), 40, 0.2)
    errors = []
    for count in (0, 1, 20, 39, 40):
        found = interval(Side.of(made), Side.of(clean), pairs=[(i, i) for i in range(count)])
        assert found.pairs == count
        assert found.standard_error is not None
        errors.append(found.standard_error)
    assert errors[0] > errors[2] > errors[4]
    assert errors[1] == pytest.approx(errors[0], rel=0.1)
    assert errors[3] < errors[2]


def test_a_set_against_itself_has_no_doubt() -> None:
    _, clean = paired(np.random.RandomState(6), 20, 0.2)
    found = interval(Side.of(clean), Side.of(clean), pairs=[(i, i) for i in range(20)])
    assert found.high == pytest.approx(0.0, abs=1e-9)


def test_a_pair_with_an_empty_clip_is_none() -> None:
    made, clean = paired(np.random.RandomState(7), 20, 0.2)
    empty = np.zeros((0, 6))
    pairs = [(i, i) for i in range(21)]
    found = interval(Side.of([*made, empty]), Side.of([*clean, clean[0]]), pairs=pairs)
    without = interval(Side.of(made), Side.of([*clean, clean[0]]), pairs=pairs[:20])
    assert (found.pairs, found.files) == (20, (20, 21))
    assert found.standard_error == pytest.approx(without.standard_error, rel=1e-9)


def test_pairs_have_the_same_path_suffix_aside() -> None:
    ours = ["a/1.mp3", "a/2.mp3", "b.c.mp3", "twice.wav", "twice.mp3", "only.wav"]
    theirs = ["a/2.wav", "1.wav", "b.c.flac", "a/1.wav", "twice.wav", "A/1.wav"]
    assert pairs_by_name(ours, theirs) == ((0, 3), (1, 0), (2, 2))
    assert pairs_by_name(ours, []) == pairs_by_name([], theirs) == ()


def test_pairs_cover_the_expected_distance() -> None:
    found = []
    for seed in range(100):
        made, clean = paired(np.random.RandomState(100 + seed), 40, 0.5)
        pairs = [(i, i) for i in range(40)]
        found.append(interval(Side.of(made), Side.of(clean), 0.9, pairs=pairs))
    expected = np.mean([one.estimate for one in found])
    inside = [one.low <= expected <= one.high for one in found]  # type: ignore[operator]
    assert 0.83 <= np.mean(inside) <= 0.97
