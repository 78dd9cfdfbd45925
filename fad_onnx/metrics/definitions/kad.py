"""Kernel audio distance; see fad_onnx.metrics.kad."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import NoBandwidthError
from ..registry import (
    CI,
    SEED,
    Arrays,
    Blame,
    Compute,
    Measured,
    Metric,
    Needs,
    Option,
    Tell,
    Value,
)

if TYPE_CHECKING:
    from ..intervals import Doubt, Linear
    from ..kad import Kad


MEANING = (
    "A kernel distance of the same embeddings, times 100. It does not assume Gaussians. Small"
    " datasets make it noisier but not larger, so datasets that are alike are around 0, on either"
    " side."
)


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The distance to this reference, whose bandwidth is computed once."""
    from ..clips import joined
    from ..kad import KernelReference

    assert reference is not None
    embeddings = joined(reference.by_clip("kad"))
    seed, bandwidth_of = options["seed"], options["kad_bandwidth"]
    try:
        kernel = KernelReference(embeddings, seed, reference.where, bandwidth_of=bandwidth_of)
    except NoBandwidthError as error:
        none = _without(error)
        return lambda evaluation, tell: none

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        embeddings = joined(evaluation.by_clip("kad"))
        try:
            found = kernel.distance(embeddings, evaluation.where)
        except NoBandwidthError as error:
            return _without(error)
        doubt = partial(_linear, reference, evaluation, found.bandwidth, seed)
        value = _value(found, bandwidth_of)
        return replace(value, doubts=partial(_doubts, doubt), blame=partial(_blame, doubt))

    return compute


def _without(error: NoBandwidthError) -> Value:
    """The result without a bandwidth: there is no KAD, but other metrics are not affected."""
    return Value(None, {"kad_embeddings": [0, 0]}, (str(error),))


def _value(found: Kad, bandwidth_of: str) -> Value:
    used, given = found.embeddings, found.embeddings_given
    remark = (
        f"KAD is of {used[0]} of {given[0]} reference embeddings and {used[1]} of {given[1]}"
        " evaluation embeddings, drawn by the seed"
    )
    fields = {"kad_embeddings": list(used), "kad_bandwidth": bandwidth_of}
    return Value(found.value, fields, (remark,) if found.subsampled else ())


def _linear(reference: Arrays, evaluation: Arrays, bandwidth: float, seed: int) -> Linear:
    from ..kad_clips import Drawn, linear

    theirs = Drawn.of(reference.names, reference.by_clip("kad"), seed)
    origin = theirs.embeddings.origin
    ours = Drawn.of(evaluation.names, evaluation.by_clip("kad"), seed, origin)
    return linear(ours, theirs, bandwidth)


def _doubts(doubt: Callable[[], Linear], tell: Tell) -> dict[str, Doubt]:
    return {METRIC.column: doubt()}


def _blame(doubt: Callable[[], Linear]) -> Blame:
    found = doubt()
    return Blame.of("what the clip adds to KAD", found.names[0], found.parts[0])


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """The sentence about it in the report."""
    yield METRIC.title, MEANING


BANDWIDTH = Option(
    "kad_bandwidth", "reference",
    "whose median distance is the kernel's bandwidth in kad (default: reference)",
    choices=("reference", "evaluation"),
)  # fmt: skip
METRIC = Metric(
    "kad", "KAD", "lower", Needs(reference="clips", evaluation="clips"), against,
    "kernel audio distance", reading, (SEED, BANDWIDTH, CI),
    ("kad_ci_low", "kad_ci_high"), "kad",
)  # fmt: skip
