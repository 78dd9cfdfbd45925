"""Metrics on arrays against slow definitions written here."""

import math

import numpy as np
import pytest

from fad_onnx.errors import OptionError, StatisticsError, UnpairedError
from fad_onnx.metrics import kad, registry
from fad_onnx.metrics.definitions import isc, kl, prdc
from fad_onnx.metrics.registry import Arrays


def quiet(what, done, steps):
    pass


def compute(name, reference, evaluation, **options):
    metric = registry.metric(name)
    return metric.against(reference, metric.chosen(options))(evaluation, quiet)


def arrays(where, clips, names=None):
    return Arrays(where, None, clips, names or [f"{i}.wav" for i in range(len(clips))])


def slow_prdc(real, fake, k):
    def distance(a, b):
        return math.sqrt(sum((float(x) - float(y)) ** 2 for x, y in zip(a, b, strict=True)))

    def radius(rows, i):
        return sorted(distance(rows[i], row) for j, row in enumerate(rows) if j != i)[k - 1]

    real_radii = [radius(real, i) for i in range(len(real))]
    fake_radii = [radius(fake, i) for i in range(len(fake))]
    inside = [[distance(r, f) < real_radii[i] for i, r in enumerate(real)] for f in fake]
    recalled = [any(distance(r, f) < fake_radii[j] for j, f in enumerate(fake)) for r in real]
    nearest = [min(distance(r, f) for f in fake) for r in real]
    return {
        "precision": sum(map(any, inside)) / len(fake),
        "recall": sum(recalled) / len(real),
        "density": sum(map(sum, inside)) / k / len(fake),
        "coverage": sum(d < r for d, r in zip(nearest, real_radii, strict=True)) / len(real),
    }


@pytest.mark.parametrize("k", [1, 3, 7])
@pytest.mark.parametrize("block", [5, 1024])
def test_prdc_is_its_definition_in_blocks_of_any_size(k, block, monkeypatch):
    monkeypatch.setattr(kad, "BLOCK", block)
    random = np.random.RandomState(k)
    real = random.standard_normal((23, 4)).astype(np.float32)
    fake = (0.8 * random.standard_normal((17, 4)) + 0.3).astype(np.float32)
    expected = slow_prdc(real, fake, k)
    assert prdc.prdc(real, fake, k) == pytest.approx(expected, abs=1e-12)
    assert expected["precision"] > 0 and expected["recall"] < 1
    found = compute("prdc", arrays("r", np.split(real, [9])), arrays("e", [fake]), prdc_k=k)
    assert found.value == found.fields["coverage"] == pytest.approx(expected["coverage"])
    assert found.fields == {**prdc.prdc(real, fake, k), "k": k}


def test_prdc_counts_equal_embeddings_as_outside_a_ball_without_size():
    real, fake = np.zeros((9, 3)), np.zeros((9, 3))
    assert prdc.prdc(real, fake, 3) == slow_prdc(real, fake, 3) == dict.fromkeys(prdc.NAMES, 0.0)
    # Far from the origin, where products of embeddings would cancel.
    random = np.random.RandomState(0)
    far = random.randint(0, 3, (20, 2)) + 1e7
    other = random.randint(0, 3, (20, 2)) + 1e7
    assert prdc.prdc(far, other, 2) == pytest.approx(slow_prdc(far, other, 2), abs=1e-12)


def test_too_few_embeddings_for_prdc_are_no_value_with_the_numbers():
    real, fake = arrays("r", [np.zeros((9, 2))]), arrays("e", [np.zeros((5, 2))])
    found = compute("prdc", real, fake)
    assert found.value is None and found.fields["precision"] is None
    assert "more than k = 5 embeddings on each side, there are 5 and 9" in found.remarks[0]
    with pytest.raises(OptionError, match="prdc_k: 0 is not a whole number"):
        compute("prdc", real, fake, prdc_k=0)
    with pytest.raises(StatisticsError, match="statistics without embeddings, and prdc needs"):
        compute("prdc", Arrays("s.npz"), fake)


def softmax(row):
    weights = [math.exp(float(x) - max(map(float, row))) for x in row]
    return [w / sum(weights) for w in weights]


def slow_inception_score(logits, splits, seed):
    order = np.random.RandomState(seed).permutation(len(logits))
    every = [softmax(logits[i]) for i in order]
    scores = []
    for i in range(splits):
        part = every[i * len(every) // splits : (i + 1) * len(every) // splits]
        mean = [sum(p[c] for p in part) / len(part) for c in range(len(part[0]))]
        gaps = [sum(x * math.log(x / m) for x, m in zip(p, mean, strict=True) if x) for p in part]
        scores.append(math.exp(sum(gaps) / len(gaps)))
    mean = sum(scores) / splits
    return mean, math.sqrt(sum((s - mean) ** 2 for s in scores) / splits)


@pytest.mark.parametrize(("clips", "splits", "seed"), [(40, 10, 2020), (23, 4, 1), (7, 7, 0)])
def test_the_inception_score_is_its_definition(clips, splits, seed):
    logits = 3 * np.random.RandomState(clips).standard_normal((clips, 6)).astype(np.float32)
    expected = slow_inception_score(logits, splits, seed)
    assert isc.inception_score(logits, splits, seed) == pytest.approx(
        expected, rel=1e-12, abs=1e-12
    )
    own = arrays("e", [row[None] for row in logits])
    found = compute("isc", None, own, isc_splits=splits, seed=seed)
    assert (found.value, found.fields["std"]) == isc.inception_score(logits, splits, seed)
    assert found.fields["splits"] == splits


def test_the_inception_score_of_sure_and_varied_answers_is_the_number_of_classes():
    assert isc.inception_score(1e4 * np.eye(5), splits=1) == pytest.approx((5.0, 0.0))
    few = compute("isc", None, arrays("e", [np.zeros((1, 3))] * 9))
    assert few.value is None and "each of 10 splits, there are 9" in few.remarks[0]
    assert registry.metric("isc").chosen({})["seed"] == 2020


def slow_divergence(first, second, epsilon):
    p, q = softmax(first), softmax(second)
    return sum(x * (math.log(x) - math.log(y + epsilon)) for x, y in zip(p, q, strict=True))


@pytest.mark.parametrize("epsilon", [0.0, 1e-6, 0.1])
@pytest.mark.parametrize("direction", ["reference", "evaluation"])
def test_kl_pairs_clips_by_name_and_is_its_definition(direction, epsilon):
    random = np.random.RandomState(3)
    names = [f"{i:02}" for i in range(12)]
    ours, theirs = ({name: 2 * random.standard_normal((2, 5)) for name in names} for _ in "ab")
    evaluation = arrays("e", list(ours.values()), [f"{name}.wav" for name in names])
    back = names[::-1]
    reference = arrays("r", [theirs[name] for name in back], [f"{name}.flac" for name in back])
    found = compute("kl", reference, evaluation, kl_direction=direction, kl_epsilon=epsilon)
    expected = []
    for name in names:
        sides = [theirs[name].mean(axis=0), ours[name].mean(axis=0)]
        expected.append(slow_divergence(*(sides if direction == "reference" else sides[::-1]),
                                        epsilon))  # fmt: skip
    assert found.value == pytest.approx(sum(expected) / 12, rel=1e-12)
    said = "reference||evaluation" if direction == "reference" else "evaluation||reference"
    assert found.fields == {"direction": said, "pairs": 12, "epsilon": epsilon}


def test_kl_over_windows_is_the_mean_over_all_of_them():
    """AudioCraft, metrics/kld.py: every segment of every clip is one pair."""
    random = np.random.RandomState(5)
    counts = (1, 3, 2)
    ours, theirs = ([random.standard_normal((n, 5)) for n in counts] for _ in "ab")
    found = compute("kl", arrays("r", theirs), arrays("e", ours), kl_over="windows")
    pairs = zip(np.concatenate(theirs), np.concatenate(ours), strict=True)
    expected = [slow_divergence(first, second, 0.0) for first, second in pairs]
    assert found.value == pytest.approx(sum(expected) / 6, rel=1e-12)
    assert found.fields["over"] == "windows" and found.fields["pairs"] == 3
    clips = compute("kl", arrays("r", theirs), arrays("e", ours))
    assert clips.value != pytest.approx(found.value, rel=1e-3) and "over" not in clips.fields
    theirs[1] = theirs[1][:2]
    with pytest.raises(StatisticsError, match=r"1.wav.*3 windows, its reference 2"):
        compute("kl", arrays("r", theirs), arrays("e", ours), kl_over="windows")


def test_clips_without_a_partner_are_an_error_with_the_first_ten_and_the_count():
    one = np.zeros((1, 4))
    evaluation = arrays("e", [one] * 14, [f"{i:02}.wav" for i in range(14)])
    reference = arrays("r", [one] * 3, ["00.wav", "01.wav", "other.wav"])
    with pytest.raises(UnpairedError) as caught:
        compute("kl", reference, evaluation)
    assert len(caught.value.alone) == 12 and caught.value.gone == ("other.wav",)
    text = str(caught.value)
    assert "12 of e (02.wav, 03.wav" in text and "11.wav, ...)" in text and "12.wav" not in text
    assert "1 of r (other.wav)" in text
    # A name that occurs twice on a side has no pair either.
    twice = arrays("e", [one] * 2, ["00.wav", "00.flac"])
    with pytest.raises(UnpairedError, match="2 of e"):
        compute("kl", arrays("r", [one], ["00.wav"]), twice)


def test_logits_of_other_shapes_are_refused():
    with pytest.raises(StatisticsError, match="not of the same pairs"):
        kl.divergences(np.zeros((2, 3)), np.zeros((2, 4)))
    with pytest.raises(StatisticsError, match="1 of 2 embeddings hold NaN"):
        isc.inception_score([[0.0, 1.0], [np.nan, 0.0]], 1)
