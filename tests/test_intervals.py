"""Intervals of any metric over clips, and of differences: against brute force, and their limits."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from scipy.special import stdtrit

from fad_onnx.errors import OptionError, StatisticsError
from fad_onnx.metrics import registry
from fad_onnx.metrics.definitions.isc import inception_score
from fad_onnx.metrics.definitions.prdc import NAMES, prdc
from fad_onnx.metrics.intervals import (
    HALVES,
    Draws,
    Halved,
    Linear,
    difference,
    interval,
    of_mean,
)
from fad_onnx.metrics.kad import KernelReference
from fad_onnx.metrics.moments import Moments
from fad_onnx.metrics.registry import Arrays
from fad_onnx.metrics.units import strata
from fad_onnx.metrics.with_intervals import with_interval


def silent(what, done, steps):
    pass


def arrays(random, clips, width=4, gap=0.0, start=0):
    embeddings = [
        random.randn(1 + i % 3, width) + 0.5 * random.randn(width) + gap for i in range(clips)
    ]
    names = [f"{start + i}.wav" for i in range(clips)]
    return Arrays("set", Moments.of(np.concatenate(embeddings)), embeddings, names)


def without(one, i):
    rest = [clip for j, clip in enumerate(one.clips) if j != i]
    names = [name for j, name in enumerate(one.names) if j != i]
    return Arrays(one.where, Moments.of(np.concatenate(rest)), rest, names)


def doubts(name, evaluation, reference=None, **options):
    metric = registry.metric(name)
    value = metric.against(reference, metric.chosen(options))(evaluation, silent)
    return value, value.doubts(silent)


def test_of_a_mean_it_is_students():
    numbers = np.random.RandomState(0).randn(30)
    found = interval(numbers.mean(), of_mean(list(map(str, range(30))), numbers))
    error = numbers.std(ddof=1) / np.sqrt(30)
    assert found.standard_error == pytest.approx(error)
    assert found.high - found.estimate == pytest.approx(2.04523 * error, rel=1e-5)
    assert found.files == (30, None) and found.sampling == "fixed reference"


@pytest.mark.parametrize("side", [0, 1])
def test_the_parts_of_kad_are_the_jackknife_without_each_clip(side):
    random = np.random.RandomState(1)
    evaluation, reference = arrays(random, 12, gap=0.5), arrays(random, 15, start=100)
    value, found = doubts("kad", evaluation, reference)
    kernel = KernelReference(np.concatenate(reference.clips))
    assert value.value == float(kernel.distance(np.concatenate(evaluation.clips)))
    values = []
    for i in range(len((evaluation, reference)[side].clips)):
        sides = [evaluation, reference]
        sides[side] = without(sides[side], i)
        left = KernelReference.__new__(KernelReference)
        left.__dict__ |= KernelReference(np.concatenate(sides[1].clips)).__dict__
        left.bandwidth = kernel.bandwidth  # that of all clips
        from fad_onnx.metrics import kad

        left._within = kad._mean_within(left._embeddings, left.bandwidth)
        values.append(float(left.distance(np.concatenate(sides[0].clips))))
    without_each = np.array(values)
    share = (len(values) - 1) / len(values)
    assert found["kad"].parts[side] == pytest.approx(
        (without_each.mean() - without_each) * share, abs=1e-9
    )


def test_the_parts_of_the_inception_score_are_the_jackknife_within_each_split():
    random = np.random.RandomState(2)
    logits = random.randn(23, 7) * 3
    one = Arrays("set", None, [one[None] for one in logits], [f"{i}" for i in range(23)])
    value, found = doubts("isc", one, isc_splits=2, seed=3)
    assert value.value == inception_score(logits, 2, 3)[0]
    order = np.random.RandomState(3).permutation(23)
    variance = 0.0
    for split in (order[:11], order[11:]):
        scores = np.array([inception_score(logits[split[split != i]], 1)[0] for i in split])
        variance += (len(split) - 1) * scores.var() / 4
        parts = found["isc"].parts[0][split]
        assert parts / parts[0] == pytest.approx(
            (scores.mean() - scores) / (scores.mean() - scores[0]), rel=1e-6
        )
    assert sum(one.variance for one in found["isc"].variance()) == pytest.approx(variance)
    assert found["isc"].least == 20 and found["isc"].bounds[0] == 1.0


def test_halves_of_prdc_hold_half_of_the_clips_and_pairs_stay_together():
    random = np.random.RandomState(4)
    evaluation, reference = arrays(random, 60, gap=0.3), arrays(random, 80, start=30)
    value, found = doubts("prdc", evaluation, reference, prdc_k=3)
    assert list(found) == ["coverage", "precision", "recall", "density"]
    draws, seen = found["coverage"].draws, []
    spy = Draws(draws.names, lambda chosen: seen.append(chosen) or draws.again(chosen))
    expected = spy.values
    for (ours, theirs), values in zip(seen, expected, strict=True):
        assert 29 <= len(ours) <= 31 and 39 <= len(theirs) <= 41
        paired = [{int(side.names[i].split(".")[0]) for i in own} & set(range(30, 60))
                  for side, own in ((evaluation, ours), (reference, theirs))]  # fmt: skip
        assert paired[0] == paired[1] and len(paired[0]) == 15
        embeddings = [np.concatenate([side.clips[i] for i in own])
                for side, own in ((reference, theirs), (evaluation, ours))]  # fmt: skip
        assert prdc(*embeddings, 3) == dict(zip(NAMES, values, strict=True))
    one = interval(value.value, found["coverage"])
    assert one.standard_error == pytest.approx(expected[:, 3].std(ddof=1))
    assert 0.0 <= one.low < value.value < one.high <= 1.0 and one.pairs == 30


def test_a_unit_is_a_name_wherever_it_occurs_once():
    found = strata([["a.wav", "b.wav", "b.flac", "c/d.wav"], ["b.wav", "c/d.mp3", "e.wav"]])
    sides = {key: [own.tolist() for own in units] for key, units in found.items()}
    assert sides == {(0,): [[0, 1, 2]], (1,): [[0, 2]], (0, 1): [[3], [1]]}


def test_units_of_many_clips_take_some_bytes_each():
    names = [f"{index:07}.wav" for index in range(20_000)]
    strata([names, names])
    tracemalloc.start()
    assert list(strata([names, names])) == [(0, 1)]
    assert tracemalloc.get_traced_memory()[1] < 110 * 2 * len(names)
    tracemalloc.stop()


def test_a_name_that_occurs_twice_in_a_dataset_has_no_partner_but_in_the_others():
    found = strata([["a.wav", "a.flac", "b.wav"], ["b.mp3", "a.mp3"], ["a.wav"]])
    sides = {key: [own.tolist() for own in units] for key, units in found.items()}
    assert sides == {(0,): [[0, 1]], (0, 1): [[2], [0]], (1, 2): [[1], [0]]}


def test_the_difference_of_two_datasets_counts_pairs_and_the_reference_once():
    random = np.random.RandomState(5)
    common = random.randn(40)
    a, b = (common + 0.1 * random.randn(40) for _ in range(2))
    names = [f"{i}.wav" for i in range(40)]
    ours, theirs = of_mean(names, a), of_mean([f"{i}.flac" for i in range(40)], b)
    paired = interval(a.mean() - b.mean(), difference(ours, theirs))
    assert paired.standard_error == pytest.approx((a - b).std(ddof=1) / np.sqrt(40))
    apart = interval(0.0, difference(ours, of_mean([f"x{i}" for i in range(40)], b)))
    assert apart.standard_error > 5 * paired.standard_error
    # The reference adds the same to both, and nothing to their difference.
    reference = random.randn(30)
    with_reference = [
        Linear((*one.names, [f"r{i}" for i in range(30)]), (*one.parts, reference))
        for one in (ours, theirs)
    ]  # fmt: skip
    again = interval(0.0, difference(*with_reference))
    assert again.standard_error == pytest.approx(paired.standard_error)


def test_the_difference_of_halves_draws_both_and_the_reference_together():
    seen = []

    def again(which):
        return lambda chosen: seen.append((which, chosen)) or np.array([float(len(chosen[0]))])

    names = [f"{i}" for i in range(20)]
    a, b = (Halved(Draws((names, ["r", "s"]), again(which))) for which in "ab")
    found = difference(a, b)
    assert found.variance()[0].variance == 0.0
    for (_, ours), (_, theirs) in zip(seen[::2], seen[1::2], strict=True):
        assert all(map(np.array_equal, ours, theirs))
    with pytest.raises(StatisticsError, match="no difference"):
        difference(a, of_mean(names, np.arange(20.0)))


def test_too_few_clips_are_refused_with_their_number():
    metric = registry.metric("prdc")
    random = np.random.RandomState(6)
    evaluation, reference = arrays(random, 49), arrays(random, 60)
    value = metric.against(reference, metric.chosen({}))(evaluation, silent)
    found = with_interval(metric, value, 0.9, silent)
    assert found.fields["coverage_ci"] is None and found.value == value.value
    (reason,) = found.remarks
    assert "at least 50 clips on each side, there are 49 of the evaluation and 60" in reason
    with pytest.raises(OptionError, match="between 0 and 1"):
        interval(0.0, of_mean(["a"], [1.0]), 1.0)


def test_shares_and_counts_have_intervals_on_their_own_scale():
    """Recall of halves near 1 varies less than that of all: on the plain scale too few held it."""
    random = np.random.RandomState(8)
    evaluation, reference = arrays(random, 60, gap=0.4), arrays(random, 60, start=100)
    value, found = doubts("prdc", evaluation, reference)
    for name, there, back in (
        ("recall", lambda p: np.arcsin(np.sqrt(p)), lambda t: np.sin(t) ** 2),
        ("precision", lambda p: np.arcsin(np.sqrt(p)), lambda t: np.sin(t) ** 2),
        ("density", np.sqrt, np.square), ("coverage", float, float),
    ):  # fmt: skip
        one, column = interval(value.fields[name], found[name]), found[name].column
        error = np.std([there(p) for p in found[name].draws.values[:, column]], ddof=1)
        reach = stdtrit(HALVES - 1, 0.975) * error
        low, high = there(value.fields[name]) - reach, there(value.fields[name]) + reach
        most = {"recall": np.pi / 2, "precision": np.pi / 2, "density": np.inf, "coverage": 1.0}
        assert one.standard_error == pytest.approx(error)
        assert one.low == pytest.approx(float(back(max(low, 0))))
        assert one.high == pytest.approx(float(back(min(high, most[name]))))
    # At the very end the interval holds the value, and ends there.
    certain = interval(1.0, found["recall"])
    assert 0.0 < certain.low < 1.0 and certain.high == pytest.approx(1.0)


def test_every_metric_with_clips_has_an_interval():
    random = np.random.RandomState(7)
    evaluation, reference = arrays(random, 60, gap=0.4), arrays(random, 60)
    evaluation = replace(evaluation, captions=random.randn(60, 4))
    for name, metric in registry.metrics().items():
        options = metric.chosen({"isc_splits": 2} if name == "isc" else {})
        value = metric.against(reference, options)(evaluation, silent)
        found = with_interval(metric, value, 0.9, silent)
        (key,) = [key for key in found.fields if key.endswith("_ci_level")]
        low, high = found.fields[key.removesuffix("_level")]
        assert low <= found.value <= high and low < high


def share_covered(name, draw, repeats=80, **options):
    """How often the 95 % interval holds the mean of all values; of two systems, of differences."""
    found = []
    for seed in range(repeats):
        reference, *evaluations = draw(np.random.RandomState(seed))
        both = [doubts(name, one, reference, **options) for one in evaluations]
        sign = (1.0, -1.0)
        value = sum(s * one.value for s, (one, _) in zip(sign, both, strict=False))
        own = [next(iter(own.values())) for _, own in both]
        found.append(interval(value, difference(*own) if len(own) > 1 else own[0]))
    mean = np.mean([one.estimate for one in found])
    return np.mean([one.low <= mean <= one.high for one in found])


@pytest.mark.large
def test_intervals_hold_the_value_to_expect_as_often_as_they_say():
    """benchmarks/interval_simulation.py has the full grid: 0.90 to 1.00 there."""

    def clouds(random):
        return [arrays(random, 20, start=100), arrays(random, 20, gap=0.5)]

    def answers(random):
        logits = random.randn(60, 1, 9) * 2
        return [None, Arrays("set", None, list(logits), [f"{i}" for i in range(60)])]

    def pairs(random):
        names = [f"{i}" for i in range(60)]
        real = random.randn(60, 1, 9)
        made = [real + random.randn(60, 1, 9) for _ in range(2)]
        return [Arrays("set", None, list(one), names) for one in (real, *made)]

    assert 0.88 <= share_covered("kad", clouds) <= 1.0
    assert 0.88 <= share_covered("isc", answers, isc_splits=3) <= 0.99
    assert 0.88 <= share_covered("kl", lambda random: pairs(random)[:2]) <= 0.99
    # Two systems, pair by pair.
    assert 0.88 <= share_covered("kl", pairs) <= 0.99
