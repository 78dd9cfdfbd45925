"""Frechet audio distance.

Kilgour et al. 2019, "Frechet Audio Distance: A Reference-Free Metric for Evaluating Music
Enhancement Algorithms", arXiv:1812.08466.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..registry import CI, Arrays, Compute, Measured, Metric, Needs, Option, Tell, Value

if TYPE_CHECKING:
    from ..frechet import Gaussian
    from ..intervals import Doubt, Linear
    from ..moments import Moments

ROOT = Option(
    "fad_root", "exact",
    "float32: the trace of a matrix square root in single precision, as in kadtk; intervals and"
    " single clips stay exact (default: exact)",
    choices=("exact", "float32"),
)  # fmt: skip


MEANING = (
    "How far apart two clouds of embeddings are, each taken as a Gaussian. 0 means the same cloud;"
    " there is no upper limit. Compare numbers only if model, reference and protocol are the same."
    " Fewer embeddings from the same source give a larger FAD, so compare datasets of about equal"
    " size."
)


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The distance to this reference, whose covariance is factored once."""
    from ..frechet import float32_distance, frechet_distance

    assert reference is not None
    gaussian = reference.gaussian
    distance = float32_distance if options["fad_root"] == "float32" else frechet_distance

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        value = distance(gaussian, evaluation.gaussian)
        both = (reference, evaluation)
        remarks = tuple(text for one in both for text in few(one.where, one.moments))
        return Value(value, remarks=remarks, doubts=partial(doubts, reference, evaluation))

    return compute


def few(where: str, moments: Moments | Gaussian | None) -> tuple[str, ...]:
    """The warning about a dataset with no more embeddings than dimensions."""
    from ..moments import Moments

    if not isinstance(moments, Moments) or not 0 < moments.count <= moments.dim:
        return ()
    numbers = f"{moments.count} embeddings for {moments.dim} dimensions"
    return (f"{where}: {numbers}: FAD is biased upward, add audio",)


def doubts(reference: Arrays, evaluation: Arrays, tell: Tell) -> dict[str, Doubt]:
    """How FAD depends on the clips of both sides; a reference given as statistics stays fixed."""
    return {METRIC.column: linear(reference, evaluation, tell)}


def linear(reference: Arrays, evaluation: Arrays, tell: Tell) -> Linear:
    """The contribution of each clip to the distance."""
    from ..confidence_interval import Side
    from ..confidence_interval import doubts as of_sides
    from ..moments import Moments

    own, held = evaluation.by_clip("an interval"), reference.clips
    assert isinstance(evaluation.moments, Moments)
    other: Any = reference.gaussian
    names = [evaluation.names]
    if held is not None and isinstance(reference.moments, Moments):
        other = Side(held, reference.moments, reference.gaussian)
        names.append(reference.names)
    steps = len(own) + (len(held) if held is not None else 0)
    side = Side(own, evaluation.moments, evaluation.gaussian)
    return of_sides(side, other, names, lambda count: tell("interval", count, steps))[1]


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """The sentence about it in the report."""
    yield METRIC.title, MEANING


METRIC = Metric(
    "fad", "FAD", "lower", Needs(), against, "Frechet audio distance", reading, (CI, ROOT),
    ("fad_ci_low", "fad_ci_high", "fad_ci_pairs"),
)  # fmt: skip
