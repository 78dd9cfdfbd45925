"""Frechet audio distance, with a confidence interval where it is asked for.

Kilgour et al. 2019, "Frechet Audio Distance: A Reference-Free Metric for Evaluating Music
Enhancement Algorithms", arXiv:1812.08466.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..registry import Arrays, Cell, Compute, Measured, Metric, Needs, Option, Tell, Value

if TYPE_CHECKING:
    from ..confidence_interval import Interval

CI = Option(
    "ci", None,
    "confidence interval over clips (default level 0.95; before a path, write --ci=0.95)",
    level=True, clips=True,
)  # fmt: skip


MEANING = (
    "How far apart two clouds of embeddings are, each taken as a Gaussian: 0 is the same cloud, and"
    " there is no upper end. Numbers compare only within one model, one reference and one protocol."
    " Fewer embeddings give a larger FAD from the very same source, so compare sets of about equal"
    " size."
)


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The distance to this reference, whose covariance is factored once."""
    from ..frechet import frechet_distance

    assert reference is not None
    gaussian, level = reference.gaussian, options["ci"]

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        value = frechet_distance(gaussian, evaluation.gaussian)
        if level is None:
            return Value(value)
        return _with(value, _interval(reference, evaluation, level, tell))

    return compute


def _interval(reference: Arrays, evaluation: Arrays, level: float, tell: Tell) -> Interval:
    """Over files of both sides; a reference given as statistics stays fixed."""
    from ..confidence_interval import Side, interval, pairs_by_name
    from ..moments import Moments

    own, held, fixed = evaluation.by_clip("an interval"), reference.clips, reference.moments
    assert isinstance(evaluation.moments, Moments)
    other: Any = reference.gaussian
    pairs: tuple[tuple[int, int], ...] = ()
    if held is not None and isinstance(fixed, Moments):
        other = Side(held, fixed)
        pairs = pairs_by_name(evaluation.names, reference.names)
    steps = len(own) + (len(held) if held is not None else 0)
    return interval(
        Side(own, evaluation.moments), other, level,
        lambda count: tell("interval", count, steps), pairs,
    )  # fmt: skip


def _with(value: float, found: Interval) -> Value:
    bounds = None if found.low is None or found.high is None else (found.low, found.high)
    fields = {
        "fad_ci": bounds and list(bounds),
        "fad_ci_level": found.level,
        "fad_ci_files": list(found.files),
        "fad_ci_pairs": found.pairs,
    }
    cell = Cell("fad_ci", f"{100 * found.level:g} % interval", bounds, found.sampling)
    return Value(value, fields, (found.reason,) if found.reason else (), cells=(cell,))


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """What the report says of it."""
    yield METRIC.title, MEANING
    kinds = _sampling(found)
    if kinds:
        yield "Interval", " ".join(_about_intervals(kinds, len({one.model for one in found})))


def _sampling(found: Sequence[Measured]) -> dict[str, str]:
    """How the intervals of each model took the two sides; by dataset where that differs."""
    by_model: dict[str, dict[str, str]] = {}
    for one in found:
        for cell in one.value.cells:
            by_model.setdefault(one.model, {})[one.path] = cell.note
    return {
        model: next(iter(kinds.values()))
        if len(set(kinds.values())) == 1
        else "; ".join(f"{name}: {kind}" for name, kind in kinds.items())
        for model, kinds in by_model.items()
    }


def _about_intervals(kinds: Mapping[str, str], models: int) -> Iterable[str]:
    together = " ".join(kinds.values())
    said = [kind + (f" ({model})" if models > 1 else "") for model, kind in kinds.items()]
    yield (
        "The FAD to expect of sets of this size from the same sources if their clips were drawn"
        f" again. Sampling: {'; '.join(said)}."
    )
    if "fixed" in together:
        yield "The reference is statistics alone: only the evaluation set is drawn again."
    if "pairs" in together:
        yield "Pairs are clips of the same name on both sides, and they are drawn together."
    if "independent" in together:
        yield (
            "Independent: no clip shares its name with one of the other side. If one set was made"
            " from the other, give its clips the same names."
        )
    yield (
        "The interval covers neither the excess of FAD in small sets nor any doubt about the model."
        " If two intervals overlap widely, the order of the two sets is not settled."
    )


METRIC = Metric(
    "fad", "FAD", "lower", Needs(), against, "Frechet audio distance", reading, (CI,),
    ("fad_ci_low", "fad_ci_high", "fad_ci_pairs"),
)  # fmt: skip
