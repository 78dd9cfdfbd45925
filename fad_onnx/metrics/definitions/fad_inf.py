"""FAD-infinity: FAD extrapolated to infinitely many clips; see fad_onnx.metrics.fad_infinity."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ..registry import (
    CI,
    SEED,
    Arrays,
    Compute,
    Curve,
    Measured,
    Metric,
    Needs,
    Option,
    Tell,
    Value,
)
from .fad import linear

if TYPE_CHECKING:
    from ..fad_infinity import Infinity
    from ..intervals import Doubt

DRAW = Option(
    "inf_draw", "clips",
    "what FAD-infinity samples: whole clips (default), or single embeddings as published",
    choices=("clips", "embeddings"),
)  # fmt: skip


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The limit of the distance to this reference."""
    from ..clips import joined
    from ..fad_infinity import fad_infinity

    assert reference is not None
    gaussian, draw = reference.gaussian, options["inf_draw"]

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        clips = evaluation.by_clip("fad-inf")
        lengths = [len(own) for own in clips] if draw == "clips" else None
        found = fad_infinity(
            gaussian, joined(clips), options["seed"], lengths,
            lambda _, steps: tell("limit", 1, steps), evaluation.where,
        )  # fmt: skip
        value = _value(found)
        if found.value is None:
            return value
        return replace(value, doubts=partial(_doubts, reference, evaluation, found.noise))

    return compute


def _doubts(reference: Arrays, evaluation: Arrays, noise: float, tell: Tell) -> dict[str, Doubt]:
    """How the limit depends on the clips: as FAD does, to first order, and on the draws."""
    from ..intervals import UNBOUNDED

    found = linear(reference, evaluation, tell)
    return {METRIC.column: replace(found, noise=noise, bounds=UNBOUNDED)}


def _value(found: Infinity) -> Value:
    fit = {"r2": found.r2, "sizes": list(found.sizes), "values": list(found.values)}
    fields = {"fad_inf_fit": fit if found.sizes else None, "fad_inf_draw": found.draw}
    remarks = (found.reason,) if found.reason else ()
    return Value(found.value, fields, remarks, found.draw, curve=_curve(found))


def _curve(found: Infinity) -> Curve | None:
    if found.value is None:
        return None
    trust = "" if found.r2 is None else f"; here r² is {found.r2:.2g}, of 1 at most"
    return Curve(
        "FAD against the number of embeddings.",
        "Each ring is the FAD of a subset of the evaluation dataset. Fewer embeddings are further"
        " to the right and have a larger FAD from the same source. The line extends to the left"
        " edge, where there would be infinitely many: FAD-infinity. If the rings are close to the"
        f" line, FAD-infinity can be trusted{trust}. If they scatter, chance outweighs the number"
        " of embeddings, and FAD-infinity is no better than FAD.",
        found.sizes, found.values, found.value, found.r2,
    )  # fmt: skip


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """The sentence about it in the report."""
    drawn = (
        " of whole clips"
        if found[0].value.variant == "clips"
        else " of single embeddings, as published; where the embeddings of a clip are alike, most"
        " of the excess stays"
    )
    text = (
        "The FAD that this source would have with infinitely many clips, extrapolated by a straight"
        f" line through the FAD of smaller subsets{drawn}. It removes the excess of a small"
        " evaluation dataset, not that of a small reference. It can be a little below 0 for"
        " datasets that are alike."
    )
    yield METRIC.title, text


METRIC = Metric(
    "fad-inf", "FAD∞", "lower", Needs(evaluation="clips"), against,
    "FAD-infinity: FAD extrapolated to an infinite sample", reading, (DRAW, SEED, CI),
    ("fad_inf_draw", "fad_inf_ci_low", "fad_inf_ci_high"), "inf",
)  # fmt: skip
