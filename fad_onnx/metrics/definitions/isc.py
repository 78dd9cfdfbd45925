"""Inception score: how sure a classifier is of each clip, and how varied its answers are.

Salimans et al. 2016, "Improved Techniques for Training GANs", arXiv:1606.03498, with the splits of
torch-fidelity that audioldm_eval and av-benchmark use: RandomState(2020) orders the clips, the
score is computed for ten parts, and their mean and population standard deviation are reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from .. import registry
from ..registry import (
    CI,
    Arrays,
    Blame,
    Cell,
    Compute,
    Measured,
    Metric,
    Needs,
    Option,
    Tell,
    Value,
)

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..intervals import Doubt

# With fewer, intervals contain the score too rarely (simulated).
LEAST_CLIPS_OF_A_SPLIT = 10


def inception_score(logits: ArrayLike, splits: int = 10, seed: int = 2020) -> tuple[float, float]:
    """Mean and population standard deviation of the scores of the splits.

    Parameters
    ----------
    logits : array_like, shape (clips, classes)
        In the order of the clips' names; at least as many as `splits`.
    splits : int
        Part i holds the clips [i * n // splits, (i + 1) * n // splits) of the drawn order.
    seed : int
        Determines the order of the clips.

    Returns
    -------
    tuple of float
        exp of the mean divergence of p(class | clip) from p(class), from 1 to the number of
        classes.

    Raises
    ------
    StatisticsError
        For an array that does not hold logits.

    Examples
    --------
    >>> inception_score([[9.0, 9.0], [9.0, 9.0]], splits=1)
    (1.0, 0.0)
    """
    import numpy as np

    scores = [_score(part) for _, part in _split(logits, splits, seed)]
    return float(np.mean(scores)), float(np.std(scores))


def _split(
    logits: ArrayLike, splits: int, seed: int
) -> Iterator[tuple[NDArray[Any], NDArray[Any]]]:
    """For each split, the indices of its clips and their log probabilities (clips, classes)."""
    import numpy as np
    from scipy.special import log_softmax

    from ..validation import check_embeddings

    logs = log_softmax(check_embeddings(logits, "logits").astype(np.float64), axis=1)
    order = np.random.RandomState(seed).permutation(len(logs))
    for i in range(splits):
        chosen = order[i * len(logs) // splits : (i + 1) * len(logs) // splits]
        yield chosen, logs[chosen]


def _score(part: NDArray[Any]) -> float:
    import numpy as np

    return float(np.exp(_gaps(part).mean()))


def _gaps(part: NDArray[Any]) -> NDArray[Any]:
    """The divergence of each clip from the mean of all."""
    import numpy as np

    mean = np.log(np.exp(part).mean(axis=0))
    # A class with probability 0 in every clip adds nothing: its weight is 0.
    gap = np.where(np.exp(part) > 0.0, part - mean, 0.0)
    found: NDArray[Any] = (np.exp(part) * gap).sum(axis=1)
    return found


def without_each(part: NDArray[Any]) -> NDArray[Any]:
    """The scores without each clip, from the log probabilities (clips, classes) of all."""
    import numpy as np
    from scipy.special import entr

    p, left = np.exp(part), max(len(part) - 1, 1)
    sure = -entr(p).sum(axis=1)
    varied = entr(np.maximum(p.sum(axis=0) - p, 0.0) / left).sum(axis=1)
    found: NDArray[Any] = np.exp((sure.sum() - sure) / left + varied)
    return found


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The inception score of an evaluation dataset; it needs no reference."""
    import numpy as np

    splits, seed = options["isc_splits"], options["seed"]

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        # The classifier's windows of a long clip count as one clip.
        clips = zip(evaluation.names, evaluation.by_clip("isc"), strict=True)
        held = [(name, own.mean(axis=0)) for name, own in clips if len(own)]
        if len(held) < splits:
            reason = (
                f"{evaluation.where}: isc needs a clip for each of {splits} splits, there are"
                f" {len(held)}"
            )
            return Value(None, {"std": None, "splits": splits}, (reason,))
        names, logits = [name for name, _ in held], np.stack([own for _, own in held])
        mean, std = inception_score(logits, splits, seed)
        given = (names, logits, splits, seed)
        return Value(
            mean, {"std": std, "splits": splits},
            cells=(Cell("isc_std", "Inception score, deviation", std),),
            doubts=partial(_doubts, *given), blame=partial(_blame, *given),
        )  # fmt: skip

    return compute


def _doubts(
    names: Sequence[str], logits: NDArray[Any], splits: int, seed: int, tell: Tell
) -> dict[str, Doubt]:
    """The jackknife that leaves out one clip of a split; each split is a sample of its own."""
    import numpy as np

    from ..intervals import Linear

    found, all_clips = np.zeros(len(names)), (len(names) - 1) / len(names)
    for chosen, part in _split(logits, splits, seed):
        without, own = without_each(part), (len(part) - 1) / len(part)
        # With these factors the sum of squares is the jackknife's variance of each split.
        found[chosen] = (without.mean() - without) * np.sqrt(own * all_clips) / splits
    least = LEAST_CLIPS_OF_A_SPLIT * splits
    return {METRIC.column: Linear((names,), (found,), least=least, bounds=(1.0, np.inf))}


def _blame(names: Sequence[str], logits: NDArray[Any], splits: int, seed: int) -> Blame:
    import numpy as np

    found = np.zeros(len(names))
    for chosen, part in _split(logits, splits, seed):
        found[chosen] = _gaps(part)
    return Blame.of("divergence from the mean answer", names, found, lowest=True)


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """The sentence about it in the report."""
    yield METRIC.title, MEANING


MEANING = (
    "From 1 to the number of classes: high if a classifier is sure of each clip and the clips"
    " belong to many classes. It uses no reference. The deviation is that among the splits."
)
SPLITS = Option("isc_splits", 10, "parts of the inception score (default: 10)", whole=(1, 10_000))
SEED = replace(registry.SEED, default=2020)
METRIC = Metric(
    "isc", "Inception score", "higher",
    Needs(output="logits", reference=None, evaluation="clips"), against,
    "inception score", reading, (SPLITS, SEED, CI), ("std", "splits"),
)  # fmt: skip
