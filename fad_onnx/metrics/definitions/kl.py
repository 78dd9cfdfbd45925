"""Kullback-Leibler divergence of a classifier's answers, over pairs of clips of one name.

As audioldm_eval, AudioCraft and av-benchmark (reference first) or stable-audio-metrics (evaluation
first) define it: softmax of logits, sum p (log p - log(q + epsilon)) for each pair, and the mean
over pairs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...errors import UnpairedError
from ..registry import Arrays, Compute, Measured, Metric, Needs, Option, Tell, Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def divergences(first: ArrayLike, second: ArrayLike, epsilon: float = 0.0) -> NDArray[Any]:
    """KL(first || second) of each pair.

    Parameters
    ----------
    first, second : array_like, shape (pairs, classes)
        Logits.
    epsilon : float
        Added to the second's probabilities inside the logarithm; 1e-6 in audioldm_eval, AudioCraft
        and stable-audio-metrics, none in av-benchmark.

    Returns
    -------
    ndarray, shape (pairs,)
        In nats.

    Raises
    ------
    StatisticsError
        For arrays that are no logits of the same pairs.

    Examples
    --------
    >>> divergences([[0.0, 0.0]], [[0.0, 0.0]]).tolist()
    [0.0]
    """
    import numpy as np
    from scipy.special import log_softmax

    from ...errors import StatisticsError
    from ..validation import check_embeddings

    p, q = (check_embeddings(one, "logits").astype(np.float64) for one in (first, second))
    if p.shape != q.shape:
        raise StatisticsError("logits", f"shapes {p.shape} and {q.shape} are not of the same pairs")
    log_p, log_q = log_softmax(p, axis=1), log_softmax(q, axis=1)
    if epsilon:
        log_q = np.log(np.exp(log_q) + epsilon)
    found: NDArray[Any] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return found


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The mean divergence from this reference, or to it."""
    import numpy as np

    from ..confidence_interval import pairs_by_name

    assert reference is not None
    theirs, epsilon = _clips(reference), options["kl_epsilon"]
    reference_first = options["kl_direction"] == "reference"
    direction = "reference||evaluation" if reference_first else "evaluation||reference"

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        ours = _clips(evaluation)
        pairs = pairs_by_name(evaluation.names, reference.names)
        _check(evaluation, reference, pairs)
        own, other = (np.stack([side[i] for i in chosen])
                      for side, chosen in zip((ours, theirs), zip(*pairs, strict=True),
                                              strict=True))  # fmt: skip
        sides = (other, own) if reference_first else (own, other)
        value = float(divergences(*sides, epsilon).mean())
        return Value(value, {"direction": direction, "pairs": len(pairs), "epsilon": epsilon})

    return compute


def _check(evaluation: Arrays, reference: Arrays, pairs: Sequence[tuple[int, int]]) -> None:
    """UnpairedError unless every clip of either side is in a pair."""
    held = [set(side) for side in zip(*pairs, strict=True)] or [set(), set()]
    alone, gone = (
        sorted(name for i, name in enumerate(one.names) if i not in own)
        for one, own in zip((evaluation, reference), held, strict=True)
    )
    if alone or gone:
        raise UnpairedError(evaluation.where, alone, reference.where, gone)


def _clips(one: Arrays) -> list[NDArray[Any]]:
    """The logits of each clip: the mean over its windows."""
    return [own.mean(axis=0) for own in one.by_clip("kl")]


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """What the report says of it."""
    said = ", ".join(dict.fromkeys(one.value.fields["direction"] for one in found))
    text = (
        "How much a classifier's answers to a clip differ from those to the reference clip of the"
        f" same name, in nats; the mean over all pairs. 0 is best. Direction: {said}."
    )
    yield METRIC.title, text


DIRECTION = Option(
    "kl_direction", "reference",
    "whose distribution stands first in kl (default: reference)",
    choices=("reference", "evaluation"),
)  # fmt: skip
EPSILON = Option(
    "kl_epsilon", 0.0, "added to the second's probabilities in kl (default: 0)", number=(0.0, 1.0)
)
METRIC = Metric(
    "kl", "KL", "lower", Needs("logits", "clips", "clips", pairs=True), against,
    "Kullback-Leibler divergence of class probabilities, over pairs of clips of one name",
    reading, (DIRECTION, EPSILON), ("direction", "pairs", "epsilon"),
)  # fmt: skip
