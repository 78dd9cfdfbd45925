"""Inception score: how sure a classifier is of each clip, and how varied its answers are.

Salimans et al. 2016, "Improved Techniques for Training GANs", arXiv:1606.03498, with the splits of
torch-fidelity that audioldm_eval and av-benchmark use: RandomState(2020) orders the clips, the
score is computed for ten parts, and their mean and population standard deviation are reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..registry import Arrays, Cell, Compute, Measured, Metric, Needs, Option, Tell, Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def inception_score(logits: ArrayLike, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Mean and population standard deviation of the scores of the splits.

    Parameters
    ----------
    logits : array_like, shape (clips, classes)
        In the order of the clips' names; at least as many as `splits`.
    splits : int
        Part i holds the clips [i * n // splits, (i + 1) * n // splits) of the drawn order.
    seed : int
        Of the order.

    Returns
    -------
    tuple of float
        exp of the mean divergence of p(class | clip) from p(class), from 1 to the number of
        classes.

    Raises
    ------
    StatisticsError
        For an array that is no logits.

    Examples
    --------
    >>> inception_score([[9.0, 9.0], [9.0, 9.0]], splits=1)
    (1.0, 0.0)
    """
    import numpy as np
    from scipy.special import log_softmax

    from ..validation import check_embeddings

    rows = log_softmax(check_embeddings(logits, "logits").astype(np.float64), axis=1)
    rows = rows[np.random.RandomState(seed).permutation(len(rows))]
    scores = []
    for i in range(splits):
        part = rows[i * len(rows) // splits : (i + 1) * len(rows) // splits]
        mean = np.log(np.exp(part).mean(axis=0))
        # A class that no clip can have adds nothing: its weight is 0.
        gap = np.where(np.exp(part) > 0.0, part - mean, 0.0)
        scores.append(np.exp((np.exp(part) * gap).sum(axis=1).mean()))
    return float(np.mean(scores)), float(np.std(scores))


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The score needs no reference."""
    import numpy as np

    splits, seed = options["isc_splits"], options["seed"]

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        # The classifier's windows of a long clip count as one clip.
        clips = [own.mean(axis=0) for own in evaluation.by_clip("isc") if len(own)]
        if len(clips) < splits:
            reason = (
                f"{evaluation.where}: isc needs a clip for each of {splits} splits, there are"
                f" {len(clips)}"
            )
            return Value(None, {"std": None, "splits": splits}, (reason,))
        mean, std = inception_score(np.stack(clips), splits, seed)
        cells = (Cell("std", "Deviation", std),)
        return Value(mean, {"std": std, "splits": splits}, cells=cells)

    return compute


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """What the report says of it."""
    yield METRIC.title, MEANING


MEANING = (
    "From 1 to the number of classes: high where a classifier is sure of each clip and the clips"
    " are of many classes. It knows no reference. Deviation: among the splits."
)
SPLITS = Option("isc_splits", 10, "parts of the inception score (default: 10)", whole=(1, 10_000))
SEED = Option("seed", 2020, "random seed; of isc 2020 by default", whole=(0, 2**32 - 1))
METRIC = Metric(
    "isc", "Inception score", "higher",
    Needs(output="logits", reference=None, evaluation="clips"), against,
    "inception score", reading, (SPLITS, SEED), ("std", "splits"),
)  # fmt: skip
