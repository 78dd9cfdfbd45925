"""Coverage of the intervals of every metric, and of differences of two datasets, simulated.

    python benchmarks/interval_simulation.py [--repeats 200] [--first-seed 1000] [--only METRIC]

Datasets are drawn repeatedly from known sources. A 95 % interval should contain the mean of the
value over all repeats in 95 % of the cases. Prints JSON; asserts nothing. See README-statistics.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from statistics_simulation import Source

from fad_onnx.metrics import registry
from fad_onnx.metrics.definitions.prdc import prdc
from fad_onnx.metrics.intervals import (
    PLAIN,
    Doubt,
    Halved,
    Interval,
    Scale,
    difference,
    interval,
    of_mean,
)
from fad_onnx.metrics.moments import Moments
from fad_onnx.metrics.registry import Arrays, Value

Array = NDArray[np.float64]
LEVEL = 0.95
first_seed = 1000
CLASSES = 527
Draw = Callable[[np.random.RandomState], Sequence[Arrays | None]]  # reference, evaluations


def seeds(repeats: int) -> range:
    """The seeds of the datasets. Methods were chosen with the first thousand; others test them."""
    return range(first_seed, first_seed + repeats)


def silent(what: str, done: int, steps: int) -> None:
    """Ignore progress."""


def dataset(clips: Sequence[Array], name: str = "") -> Arrays:
    """Named clips: clips of two datasets form pairs if `name` is the same."""
    names = [f"{name}{i}" for i in range(len(clips))]
    return Arrays("set", Moments.of(np.concatenate(clips)), clips, names)


def gaussians(dim: int, clips: int, rows: int, apart: bool) -> Draw:
    """A reference and an independent evaluation."""

    def draw(random: np.random.RandomState) -> Sequence[Arrays]:
        sides = (Source(dim).files(random, clips, rows),
                 Source(dim, apart).files(random, clips, rows))  # fmt: skip
        return [dataset(own, name) for own, name in zip(sides, "re", strict=True)]

    return draw


def two_systems(dim: int, clips: int, rows: int, shift: float, paired: bool) -> Draw:
    """A reference, and two systems whose clips of the same name share 80 % of their variance."""

    def draw(random: np.random.RandomState) -> Sequence[Arrays]:
        reference = Source(dim).files(random, clips, rows)
        common = Source(dim, True).files(random, clips, rows)
        systems = []
        for name, moved in (("s", 0.0), ("s" if paired else "t", shift)):
            own = Source(dim, True).files(random, clips, rows)
            mean = Source(dim, True).mean
            mixed = [
                mean + np.sqrt(0.8) * (a - mean) + np.sqrt(0.2) * (b - mean) + moved * dim**-0.5
                for a, b in zip(common, own, strict=True)
            ]
            systems.append(dataset(mixed, name))
        return [dataset(reference, "r"), *systems]

    return draw


def logits(random: np.random.RandomState, clips: int, sure: float) -> Array:
    """The logits of a classifier with 527 classes, whose frequencies fall like 1 / k."""
    frequency = np.arange(1.0, CLASSES + 1) ** -1.0
    drawn = random.choice(CLASSES, clips, p=frequency / frequency.sum())
    found: Array = 1.5 * random.randn(clips, CLASSES)
    found[np.arange(clips), drawn] += sure + 2.0 * random.randn(clips)
    return found


def answers(clips: int, sure: float) -> Draw:
    """An evaluation without a reference."""
    return lambda random: [None, dataset(list(logits(random, clips, sure)[:, None]))]


def pairs(clips: int, noise: float, wrong: float, systems: int = 1) -> Draw:
    """A reference, and evaluations of the same clips; the share `wrong` has another class."""

    def draw(random: np.random.RandomState) -> Sequence[Arrays]:
        reference, found = logits(random, clips, 6.0), []
        hard = random.rand(clips) < wrong  # hard for all systems
        for _ in range(systems):
            made = reference + noise * random.randn(clips, CLASSES)
            made[hard] = logits(random, int(hard.sum()), 6.0)
            found.append(dataset(list(made[:, None])))
        return [dataset(list(reference[:, None])), *found]

    return draw


def cosines(clips: int) -> Draw:
    """Scores of pairs between -1 and 1, of which one in five fails."""

    def draw(random: np.random.RandomState) -> Sequence[Arrays]:
        good = random.rand(clips, 1, 1) < 0.8
        found = np.tanh(np.where(good, 0.4, 0.05) + 0.1 * random.randn(clips, 1, 1))
        return [None, dataset(list(found))]  # type: ignore[list-item]

    return draw


def values(name: str, drawn: Sequence[Arrays | None], options: Mapping[str, Any]) -> list[Value]:
    """The metric of each evaluation."""
    reference, *evaluations = drawn
    if name == "mean":
        return [_mean(one) for one in evaluations if one is not None]
    metric = registry.metric(name)
    compute = metric.against(reference, metric.chosen(options))
    return [compute(one, silent) for one in evaluations if one is not None]


def _mean(one: Arrays) -> Value:
    assert one.clips is not None
    numbers = [float(clip[0, 0]) for clip in one.clips]
    doubts = {"mean": of_mean(one.names, numbers)}
    return Value(float(np.mean(numbers)), doubts=lambda tell: doubts)


def summary(
    found: Sequence[Interval], nominal: Mapping[str, Any], scale: Scale = PLAIN
) -> dict[str, Any]:
    """The share of intervals that contain the mean of all estimates; error over true deviation."""
    made = [one for one in found if one.low is not None and one.high is not None]
    if len(made) < len(found):
        return {**nominal, "refused": round(1 - len(made) / len(found), 3)}
    estimates = np.array([one.estimate for one in found])
    mean = float(estimates.mean())
    inside = [one.low <= mean <= one.high for one in made]  # type: ignore[operator]
    error = float(np.sqrt(np.mean([one.standard_error**2 for one in made])))  # type: ignore[operator]
    deviation = float(scale.to(estimates).std(ddof=1))
    return {
        **nominal, "value": round(mean, 4), "covered_95": round(float(np.mean(inside)), 3),
        "error_over_sd": round(error / deviation, 2),
    }  # fmt: skip


def coverage(
    name: str, draw: Draw, repeats: int, options: Mapping[str, Any], **nominal: Any
) -> list[dict[str, Any]]:
    """The coverage of each number of one metric."""
    found: dict[str, list[Interval]] = {}
    scales: dict[str, Scale] = {}
    for seed in seeds(repeats):
        (value,) = values(name, draw(np.random.RandomState(seed)), options)
        if value.value is None or value.doubts is None:
            continue
        for key, doubt in value.doubts(silent).items():
            number = value.fields.get(key, value.value)
            found.setdefault(key, []).append(interval(number, doubt, LEVEL))
            scales[key] = doubt.scale if isinstance(doubt, Halved) else PLAIN
    return [
        summary(own, {"metric": name, "number": key, **nominal}, scales[key])
        for key, own in found.items()
    ]


def differences(
    name: str, draw: Draw, repeats: int, options: Mapping[str, Any], **nominal: Any
) -> list[dict[str, Any]]:
    """The coverage for the difference of two systems in the value of one metric."""
    found, decided = [], 0
    for seed in seeds(repeats):
        both = values(name, draw(np.random.RandomState(seed)), options)
        doubts = [_first(one) for one in both]
        gap = (both[0].value or 0.0) - (both[1].value or 0.0)
        one = interval(gap, difference(*doubts), LEVEL)
        decided += one.low is not None and one.high is not None and (one.low > 0 or one.high < 0)
        found.append(one)
    return [summary(found, {"metric": name, **nominal, "decided": round(decided / repeats, 3)})]


def _first(value: Value) -> Doubt:
    assert value.doubts is not None
    return next(iter(value.doubts(silent).values()))


Case = tuple[str, Callable[[], list[dict[str, Any]]]]  # its metric, and what computes it


def coverages(repeats: int) -> Iterator[Case]:
    for name, dim, clips, rows, apart in product(
        ("kad", "prdc", "fad-inf"), (8, 64), (10, 30, 50, 100), (1, 5), (False, True)
    ):
        if clips >= {"kad": 10, "prdc": 50, "fad-inf": 10}[name] and clips * rows <= 250:
            case = {"dim": dim, "clips": clips, "rows": rows, "apart": apart}
            yield name, partial(coverage, name, gaussians(**case), repeats, {}, **case)
    for clips, (noise, wrong) in product((50, 100, 300), ((0.3, 0.0), (1.0, 0.2))):
        case = {"clips": clips, "noise": noise, "wrong": wrong}
        yield "kl", partial(coverage, "kl", pairs(**case), repeats, {}, **case)
    for (clips, splits), sure in product(((30, 1), (100, 1), (100, 10), (300, 10)), (4.0, 10.0)):
        case, options = {"clips": clips, "sure": sure}, {"isc_splits": splits}
        draw = answers(**case)
        yield "isc", partial(coverage, "isc", draw, repeats, options, **case, splits=splits)
    for clips in (10, 30, 100):
        yield "mean", partial(coverage, "mean", cosines(clips), repeats, {}, clips=clips)


def comparisons(repeats: int) -> Iterator[Case]:
    for name, shift, paired, clips in product(
        ("fad", "kad", "prdc"), (0.0, 0.5), (True, False), (50, 100)
    ):
        case = {"dim": 16, "clips": clips, "rows": 2, "shift": shift, "paired": paired}
        yield name, partial(differences, name, two_systems(**case), repeats, {}, **case)
    for clips, wrong in product((50, 100), (0.0, 0.2)):
        case = {"clips": clips, "noise": 0.6, "wrong": wrong, "systems": 2}
        yield "kl", partial(differences, "kl", pairs(**case), repeats, {}, **case)


def others(repeats: int) -> Iterator[Case]:
    """Methods that were rejected for prdc; 100 clips of one embedding in 8 dimensions."""
    for apart in (False, True):
        yield (
            "prdc",
            partial(alternatives, gaussians(8, 100, 1, apart), max(repeats // 4, 2), apart),
        )


def alternatives(draw: Draw, repeats: int, apart: bool) -> list[dict[str, Any]]:
    """The percentile bootstrap, and the jackknife that leaves out one clip."""
    estimates, bounds, errors = [], [], []
    for seed in seeds(repeats):
        random = np.random.RandomState(seed)
        x, y = (np.concatenate(one.clips or ()) for one in draw(random) if one is not None)
        estimates.append(_coverage(x, y))
        again = [_coverage(*(side[random.randint(100, size=100)] for side in (x, y)))
                 for _ in range(100)]  # fmt: skip
        bounds.append(np.percentile(again, [2.5, 97.5]))
        without = [[_coverage(np.delete(x, i, 0), y) for i in range(100)],
                   [_coverage(x, np.delete(y, i, 0)) for i in range(100)]]  # fmt: skip
        errors.append(np.sqrt(sum(99 * np.var(side) for side in without)))
    mean, deviation = float(np.mean(estimates)), float(np.std(estimates, ddof=1))
    low, high = np.transpose(bounds)
    gaps, reach = np.abs(np.array(estimates) - mean), 1.97 * np.array(errors)
    return [
        {
            "metric": "prdc", "number": "coverage", "apart": apart, "value": round(mean, 4),
            "bootstrap_covered_95": round(float(np.mean((low <= mean) & (mean <= high))), 3),
            "jackknife_covered_95": round(float(np.mean(gaps <= reach)), 3),
            "jackknife_error_over_sd": round(float(np.mean(errors)) / deviation, 2),
        }
    ]  # fmt: skip


def _coverage(real: Array, fake: Array) -> float:
    return prdc(real, fake)["coverage"]


def main() -> None:
    global first_seed
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--only", metavar="METRIC", help="the cases of one metric")
    parser.add_argument("--first-seed", type=int, default=first_seed)
    arguments = parser.parse_args()
    first_seed = arguments.first_seed
    command = " ".join(["python", "benchmarks/interval_simulation.py", *sys.argv[1:]])
    print(f'{{\n "command": {json.dumps(command)},\n "repeats": {arguments.repeats},')
    print(f' "first_seed": {first_seed},\n "level": {LEVEL},')
    parts = (
        ("coverage", coverages, ","), ("differences", comparisons, ","), ("others", others, "")
    )  # fmt: skip
    for name, cases, end in parts:
        chosen = [make for metric, make in cases(arguments.repeats)
                  if arguments.only in (None, metric)]  # fmt: skip
        lines = ",\n".join(f"  {json.dumps(one)}" for make in chosen for one in make())
        print(f' "{name}": [\n{lines}\n ]{end}')
    print("}")


if __name__ == "__main__":
    main()
