"""Kernel audio distance; see fad_onnx.metrics.kad."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import NoBandwidthError
from ..registry import SEED, Arrays, Compute, Measured, Metric, Needs, Tell, Value

if TYPE_CHECKING:
    from ..kad import Kad


MEANING = (
    "A kernel distance of the same embeddings, times 100. It does not assume Gaussians. Small sets"
    " make it noisier but not larger, so sets that are alike are around 0, on either side."
)


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The distance to this reference, whose bandwidth is computed once."""
    import numpy as np

    from ..kad import KernelReference

    assert reference is not None
    embeddings = np.concatenate(reference.by_clip("kad"))
    try:
        kernel = KernelReference(embeddings, options["seed"], reference.where)
    except NoBandwidthError as error:
        # Without a bandwidth there is no KAD, and other metrics are as good as ever.
        none = Value(None, {"kad_embeddings": [0, 0]}, (str(error),))
        return lambda evaluation, tell: none

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        embeddings = np.concatenate(evaluation.by_clip("kad"))
        return _value(kernel.distance(embeddings, evaluation.where))

    return compute


def _value(found: Kad) -> Value:
    used, given = found.embeddings, found.embeddings_given
    remark = (
        f"KAD is of {used[0]} of {given[0]} reference embeddings and {used[1]} of {given[1]}"
        " evaluation embeddings, drawn by the seed"
    )
    return Value(found.value, {"kad_embeddings": list(used)}, (remark,) if found.subsampled else ())


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """What the report says of it."""
    yield METRIC.title, MEANING


METRIC = Metric(
    "kad", "KAD", "lower", Needs(reference="clips", evaluation="clips"), against,
    "also compute the kernel audio distance", reading, (SEED,), (), "kad",
)  # fmt: skip
