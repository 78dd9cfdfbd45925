"""Kullback-Leibler divergence of a classifier's answers, over pairs of clips with the same name.

As audioldm_eval, AudioCraft and av-benchmark (reference first) or stable-audio-metrics (evaluation
first) define it: softmax of logits, sum p (log p - log(q + epsilon)) for each pair, and the mean
over pairs. For a clip in several windows, either the mean of their logits counts, or each window is
a pair, as in AudioCraft (metrics/kld.py, _get_label_distribution).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import StatisticsError, UnpairedError, shown
from ..registry import CI, Arrays, Blame, Compute, Measured, Metric, Needs, Option, Tell, Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..intervals import Doubt

# Divergences are skewed: intervals of fewer pairs contain the mean too rarely (simulated).
LEAST_PAIRS = 50


def divergences(
    first: ArrayLike, second: ArrayLike, epsilon: float = 0.0, form: str = "softmax"
) -> NDArray[Any]:
    """KL(first || second) of each pair.

    Parameters
    ----------
    first, second : array_like, shape (pairs, classes)
        Logits.
    epsilon : float
        Added to the second distribution inside the logarithm; 1e-6 in audioldm_eval
        (metrics/kl.py, calculate_kl), AudioCraft (metrics/kld.py, kl_divergence) and
        stable-audio-metrics (src/passt_kld.py), none in av-benchmark (metrics/kl.py).
    form : {"softmax", "sigmoid"}
        How logits become probabilities. With "sigmoid" they are those of independent classes, do
        not add up to 1, and the sum over classes can be negative, as in audioldm_eval.

    Returns
    -------
    ndarray, shape (pairs,)
        In nats.

    Raises
    ------
    StatisticsError
        For arrays that are not logits of the same pairs.

    Examples
    --------
    >>> divergences([[0.0, 0.0]], [[0.0, 0.0]]).tolist()
    [0.0]
    """
    import numpy as np
    from scipy.special import log_expit, log_softmax

    from ..validation import check_embeddings

    p, q = (check_embeddings(one, "logits").astype(np.float64) for one in (first, second))
    if p.shape != q.shape:
        raise StatisticsError("logits", f"shapes {p.shape} and {q.shape} are not of the same pairs")
    log_p, log_q = (
        log_softmax(one, axis=1) if form == "softmax" else log_expit(one) for one in (p, q)
    )
    if epsilon:
        log_q = np.log(np.exp(log_q) + epsilon)
    found: NDArray[Any] = (np.exp(log_p) * (log_p - log_q)).sum(axis=1)
    return found


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The mean divergence from this reference, or to it."""
    from ..intervals import pairs_by_name

    assert reference is not None
    theirs = reference.by_clip("kl")
    reference_first = options["kl_direction"] == "reference"
    said = {
        "direction": "reference||evaluation" if reference_first else "evaluation||reference",
        "epsilon": options["kl_epsilon"],
    }  # fmt: skip
    for key, option in (("form", FORM), ("over", OVER)):
        if options[option.keyword] != option.default:
            said[key] = options[option.keyword]

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        ours = evaluation.by_clip("kl")
        pairs = pairs_by_name(evaluation.names, reference.names)
        remarks = _unpaired(evaluation, reference, pairs)
        fields = {**said, "pairs": len(pairs)}
        if not pairs:
            return Value(None, fields, remarks)
        names = [evaluation.names[i] for i, _ in pairs]
        made = [
            _divergences(name, ours[i], theirs[j], reference_first, options)
            for name, (i, j) in zip(names, pairs, strict=True)
        ]
        return _value(names, made, fields, remarks)

    return compute


def _divergences(
    name: str, own: NDArray[Any], other: NDArray[Any], reference_first: bool,
    options: Mapping[str, Any],
) -> NDArray[Any]:  # fmt: skip
    """The divergence of one pair, from the clips' mean logits or for each pair of windows."""
    sides = [own, other]
    if options["kl_over"] == "clips":
        sides = [one.mean(axis=0, keepdims=True) for one in sides]
    elif len(own) != len(other):
        raise StatisticsError(
            name, f"has {len(own)} windows, its reference {len(other)}; kl over windows needs"
            " clips of one length",
        )  # fmt: skip
    first, second = reversed(sides) if reference_first else sides
    return divergences(first, second, options["kl_epsilon"], options["kl_form"])


def _value(
    names: Sequence[str], made: Sequence[NDArray[Any]], fields: dict[str, Any],
    remarks: tuple[str, ...],
) -> Value:  # fmt: skip
    """The mean over all; a clip counts by the number of its windows."""
    weight = len(made) / sum(map(len, made))
    shares = [float(one.sum()) * weight for one in made]
    return Value(
        sum(shares) / len(shares), fields, remarks, doubts=partial(_doubts, names, shares),
        blame=partial(Blame.of, "KL of the pair", names, [float(one.mean()) for one in made]),
    )  # fmt: skip


def _doubts(names: Sequence[str], found: Sequence[float], tell: Tell) -> dict[str, Doubt]:
    from ..intervals import of_mean

    return {METRIC.column: of_mean(names, found, LEAST_PAIRS)}


def _unpaired(
    evaluation: Arrays, reference: Arrays, pairs: Sequence[tuple[int, int]]
) -> tuple[str, ...]:
    """The remark on clips without a partner; UnpairedError unless they may be left out."""
    held = [set(side) for side in zip(*pairs, strict=True)] or [set(), set()]
    alone, gone = (
        sorted(name for i, name in enumerate(one.names) if i not in own)
        for one, own in zip((evaluation, reference), held, strict=True)
    )
    if not alone and not gone:
        return ()
    if not evaluation.partial:
        raise UnpairedError(evaluation.where, alone, reference.where, gone)
    said = (
        f"kl is of {len(pairs)} pairs: {len(alone)} clips of {shown(evaluation.where)} and"
        f" {len(gone)} of {shown(reference.where)} have no partner"
    )
    return (said,)


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """The sentence about it in the report."""
    said = ", ".join(dict.fromkeys(one.value.fields["direction"] for one in found))
    text = (
        "How much a classifier's answers to a clip differ from those to the reference clip of the"
        f" same name, in nats; the mean over all pairs. 0 is best. Direction: {said}."
    )
    yield METRIC.title, text


DIRECTION = Option(
    "kl_direction", "reference",
    "which distribution is the first argument of kl (default: reference)",
    choices=("reference", "evaluation"),
)  # fmt: skip
EPSILON = Option(
    "kl_epsilon", 0.0, "added to the second distribution in kl (default: 0)", number=(0.0, 1.0)
)
FORM = Option(
    "kl_form", "softmax",
    "how logits become probabilities in kl: softmax over all classes (default), or each class"
    " on its own",
    choices=("softmax", "sigmoid"),
)  # fmt: skip
OVER = Option(
    "kl_over", "clips",
    "what kl is the mean over: pairs of clips (default), or pairs of their windows",
    choices=("clips", "windows"),
)  # fmt: skip
METRIC = Metric(
    "kl", "KL", "lower", Needs("logits", "clips", "clips", pairs=True), against,
    "Kullback-Leibler divergence of class probabilities, over pairs of clips with the same name",
    reading, (DIRECTION, EPSILON, FORM, OVER, CI),
    ("direction", "pairs", "epsilon", "form", "over"),
)  # fmt: skip
