"""Precision, recall, density and coverage of two datasets.

Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models",
arXiv:2002.09797; the first two after Kynkaanniemi et al. 2019, arXiv:1904.06991. Distances are
Euclidean. The ball of an embedding extends to its k-th nearest neighbour in its own dataset, not
counting itself; "inside" means strictly closer.

NumPy and SciPy are imported where they are used: the command line reads the definition for its
flags.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Any

from ..registry import (
    CI,
    SEED,
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

# With fewer, intervals contain the value too rarely (simulated).
LEAST_CLIPS = 50

BLOCK = 1024
NAMES = ("precision", "recall", "density", "coverage")


def prdc(reference: ArrayLike, evaluation: ArrayLike, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage.

    Parameters
    ----------
    reference, evaluation : array_like, shape (n, width) and (m, width)
        Embeddings; more than k of each. At most 1024 by 1024 distances are in memory at a time.
    k : int
        Which neighbour bounds a ball; 5 in the paper.

    Returns
    -------
    dict
        precision: share of evaluation embeddings inside any reference ball. recall: share of
        reference embeddings inside any evaluation ball. density: mean number of reference balls
        that hold an evaluation embedding, over k; may exceed 1. coverage: share of reference
        embeddings whose ball holds an evaluation embedding.

    Raises
    ------
    StatisticsError
        For arrays that are not embeddings of one width.

    Examples
    --------
    >>> prdc([[0.0], [1.0], [3.0]], [[0.1], [0.9], [9.0]], k=1)["recall"]
    1.0
    """
    from ..validation import check_embeddings

    real, fake = (
        check_embeddings(reference, "reference"),
        check_embeddings(evaluation, "evaluation"),
    )
    return _between(real, squared_radii(real, k), fake, squared_radii(fake, k), k)


def squared_radii(embeddings: NDArray[Any], k: int) -> NDArray[Any]:
    """The squared distance of each embedding to its k-th nearest neighbour among the others."""
    import numpy as np

    radii = np.empty(len(embeddings))
    for left in _slices(len(embeddings)):
        nearest = np.full((left.stop - left.start, k), np.inf)
        for right in _slices(len(embeddings)):
            found = _squared(embeddings[left], embeddings[right])
            if left == right:
                np.fill_diagonal(found, np.inf)
            nearest = np.partition(np.concatenate([nearest, found], axis=1), k - 1, axis=1)[:, :k]
        radii[left] = nearest.max(axis=1)
    return radii


def _between(
    real: NDArray[Any], real_radii: NDArray[Any], fake: NDArray[Any], fake_radii: NDArray[Any],
    k: int,
) -> dict[str, float]:  # fmt: skip
    import numpy as np

    held, balls = np.zeros(len(fake), np.int64), 0
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for left in _slices(len(real)):
        for right in _slices(len(fake)):
            found = _squared(real[left], fake[right])
            inside = found < real_radii[left, None]
            held[right] += inside.sum(axis=0)
            covered[left] |= inside.any(axis=1)
            recalled[left] |= (found < fake_radii[right]).any(axis=1)
    balls = int(held.sum())
    shares = (held > 0).mean(), recalled.mean(), balls / (k * len(fake)), covered.mean()
    return dict(zip(NAMES, map(float, shares), strict=True))


def _squared(left: NDArray[Any], right: NDArray[Any]) -> NDArray[Any]:
    """Squared distances from differences, not products: equal embeddings give 0, ties stay ties."""
    from scipy.spatial.distance import cdist

    found: NDArray[Any] = cdist(left.astype("f8"), right.astype("f8"), "sqeuclidean")
    return found


def _slices(count: int) -> list[slice]:
    return [slice(i, min(i + BLOCK, count)) for i in range(0, count, BLOCK)]


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The four numbers against this reference, whose balls are computed once."""
    from ..clips import joined
    from ..validation import check_embeddings

    assert reference is not None
    k, seed = options["prdc_k"], options["seed"]
    real = check_embeddings(joined(reference.by_clip("prdc")), reference.where)
    real_radii = squared_radii(real, k) if len(real) > k else None

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        fake = check_embeddings(joined(evaluation.by_clip("prdc")), evaluation.where)
        if real_radii is None or len(fake) <= k:
            reason = (
                f"{evaluation.where}: prdc needs more than k = {k} embeddings on each side, there"
                f" are {len(fake)} and {len(real)} of the reference"
            )
            return Value(None, dict.fromkeys(NAMES) | {"k": k}, (reason,))
        found = _between(real, real_radii, fake, squared_radii(fake, k), k)
        return Value(
            found["coverage"], {**found, "k": k}, variant="coverage",
            cells=tuple(
                Cell(name, name.capitalize(), found[name], better="higher") for name in NAMES[:3]
            ),
            doubts=partial(_doubts, reference, evaluation, k, seed),
            blame=partial(_blame, real, evaluation),
        )  # fmt: skip

    return compute


def _doubts(
    reference: Arrays, evaluation: Arrays, k: int, seed: int, tell: Tell
) -> dict[str, Doubt]:
    """Halves of the clips; if clips were drawn with replacement, nearest neighbours were copies."""
    from ..intervals import COUNTS, PLAIN, SHARES, Draws, Halved

    ours, our_names = _held(evaluation)
    theirs, their_names = _held(reference)
    draws = Draws((our_names, their_names), partial(_again, ours, theirs, k, tell), seed)
    least = max(LEAST_CLIPS, 2 * k + 4)  # a half holds more than k
    # Coverage near 1 varies less than a share of independent embeddings: there the scale of shares
    # contained the value too rarely (simulated).
    scales = {"coverage": PLAIN, "precision": SHARES, "recall": SHARES, "density": COUNTS}
    return {
        name: Halved(draws, NAMES.index(name), least,
                     (0.0, inf if name == "density" else 1.0), scale)
        for name, scale in scales.items()
    }  # fmt: skip


def _held(one: Arrays) -> tuple[list[NDArray[Any]], list[str]]:
    """The clips that have embeddings, and their names."""
    clips = one.by_clip("prdc")
    kept = [i for i, own in enumerate(clips) if len(own)]
    return [clips[i] for i in kept], [one.names[i] for i in kept]


def _again(
    evaluation: Sequence[NDArray[Any]], reference: Sequence[NDArray[Any]], k: int, tell: Tell,
    chosen: Sequence[NDArray[Any]],
) -> NDArray[Any]:  # fmt: skip
    """The four numbers of some of the clips."""
    import numpy as np

    from ..intervals import HALVES

    tell("interval", 1, HALVES)
    fake, real = (
        np.concatenate([side[i] for i in own])
        for side, own in zip((evaluation, reference), chosen, strict=True)
    )
    return np.array(list(prdc(real, fake, k).values()))


def _blame(real: NDArray[Any], evaluation: Arrays) -> Blame:
    """How far each clip is from the reference."""
    import numpy as np

    distances = [
        float(np.sqrt(np.min([_squared(own, real[some]).min(axis=1) for some in _slices(len(real))],
                             axis=0)).mean()) if len(own) else 0.0
        for own in evaluation.by_clip("prdc")
    ]  # fmt: skip
    return Blame.of("distance to the nearest reference embedding", evaluation.names, distances)


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """The sentence about it in the report."""
    yield METRIC.title, MEANING


MEANING = (
    "Each embedding has a ball that reaches to its k-th nearest neighbour in its own dataset."
    " Coverage: the share of reference balls with an evaluation embedding inside (1 is best)."
    " Precision: the share of evaluation embeddings in some reference ball. Recall: the share of"
    " reference embeddings in some evaluation ball. Density: in how many reference balls an"
    " evaluation embedding is, over k; it may exceed 1. All depend on the number of embeddings."
)
K = Option(
    "prdc_k", 5, "an embedding's ball in prdc extends to its N-th neighbour (default: 5)",
    whole=(1, 10_000),
)  # fmt: skip
METRIC = Metric(
    "prdc", "Coverage", "higher", Needs(reference="clips", evaluation="clips"), against,
    "precision, recall, density, coverage", reading, (K, SEED, CI), (*NAMES, "k"),
)  # fmt: skip
