"""Precision, recall, density and coverage of two datasets.

Naeem et al. 2020, "Reliable Fidelity and Diversity Metrics for Generative Models",
arXiv:2002.09797; the first two after Kynkaanniemi et al. 2019, arXiv:1904.06991. Distances are
Euclidean. The ball of an embedding extends to its k-th nearest neighbour in its own dataset, not
counting itself; "inside" means strictly closer.

NumPy and SciPy are imported where they are used: the command line reads the definition for its
flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
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
    from numpy.typing import ArrayLike

    from ..intervals import Doubt
    from ..neighbours import Some
    from ..units import Indices
    from ..validation import Array

    Parts = Callable[[Indices], Some]

# With fewer, intervals contain the value too rarely (simulated).
LEAST_CLIPS = 50

NAMES = ("precision", "recall", "density", "coverage")


def prdc(reference: ArrayLike, evaluation: ArrayLike, k: int = 5) -> dict[str, float]:
    """Precision, recall, density and coverage.

    Parameters
    ----------
    reference, evaluation : array_like, shape (n, width) and (m, width)
        Embeddings; more than k of each. They may be a mapped file: 1024 by 1024
        distances are computed at a time.
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
    from ..neighbours import Some, squared_radii
    from ..validation import check_embeddings

    real = Some(check_embeddings(reference, "reference"))
    fake = Some(check_embeddings(evaluation, "evaluation"))
    return _between(real, squared_radii(real, k), fake, squared_radii(fake, k), k)


def _between(
    real: Some, real_radii: Array, fake: Some, fake_radii: Array, k: int
) -> dict[str, float]:
    """The four numbers, from squared radii."""
    import numpy as np

    from ..neighbours import Pairs

    held = np.zeros(len(fake), np.int64)
    recalled, covered = np.zeros(len(real), bool), np.zeros(len(real), bool)
    for left, a in real.blocks():
        for right, b in fake.blocks():
            pairs = Pairs.of(a, b)
            balls = real_radii[left, None]
            pairs.settle(balls)
            inside = pairs.squares < balls
            held[right] += inside.sum(axis=0)
            covered[left] |= inside.any(axis=1)
            pairs.settle(fake_radii[right])
            recalled[left] |= (pairs.squares < fake_radii[right]).any(axis=1)
    density = int(held.sum()) / (k * len(fake))
    shares = (held > 0).mean(), recalled.mean(), density, covered.mean()
    return dict(zip(NAMES, map(float, shares), strict=True))


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The four numbers against this reference, whose balls are computed once."""
    from ..neighbours import squared_radii

    assert reference is not None
    k, seed = options["prdc_k"], options["seed"]
    real = _embeddings(reference)
    real_radii = squared_radii(real, k) if len(real) > k else None

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        fake = _embeddings(evaluation)
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


def _embeddings(one: Arrays) -> Some:
    from ..clips import joined
    from ..neighbours import Some
    from ..validation import check_embeddings

    return Some(check_embeddings(joined(one.by_clip("prdc")), one.where))


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


def _held(one: Arrays) -> tuple[Parts, Sequence[str]]:
    """How to choose embeddings of those clips that have any, and the names of these clips."""
    import numpy as np

    from ..units import chosen_names

    embeddings = _embeddings(one)
    sizes = np.array([len(own) for own in one.by_clip("prdc")])
    own = sizes[sizes > 0]

    def chosen(clips: Indices) -> Some:
        taken = np.zeros(len(own), bool)
        taken[clips] = True
        return replace(embeddings, indices=np.flatnonzero(np.repeat(taken, own)))

    return chosen, chosen_names(one.names, np.flatnonzero(sizes).tolist())


def _again(
    evaluation: Parts, reference: Parts, k: int, tell: Tell, chosen: Sequence[Indices]
) -> Array:
    """The four numbers of some of the clips."""
    import numpy as np

    from ..intervals import HALVES
    from ..neighbours import squared_radii

    tell("interval", 1, HALVES)
    fake, real = (side(own) for side, own in zip((evaluation, reference), chosen, strict=True))
    found = _between(real, squared_radii(real, k), fake, squared_radii(fake, k), k)
    return np.array(list(found.values()))


def _blame(real: Some, evaluation: Arrays) -> Blame:
    """How far each clip is from the reference."""
    import numpy as np

    from ..neighbours import nearest_squared

    distances = np.sqrt(nearest_squared(_embeddings(evaluation), real))
    sizes = np.array([len(own) for own in evaluation.by_clip("prdc")])
    of_clip = np.repeat(np.arange(len(sizes)), sizes)
    sums = np.bincount(of_clip, distances, len(sizes))
    return Blame.of(
        "distance to the nearest reference embedding", evaluation.names,
        (sums / np.maximum(sizes, 1)).tolist(),
    )  # fmt: skip


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
