"""CLAP score: how close a clip's embedding is to the embedding of its caption.

The mean cosine over pairs, as Huang et al. 2023, "Make-An-Audio", arXiv:2301.12661, introduced it
after CLIPScore (Hessel et al. 2021, arXiv:2104.08718). Harnesses differ in how they avoid division
by zero: frechet-audio-distance 0.3.4 adds 1e-8 to each length (clap_score.py:240); torch's
cosine_similarity, in av-benchmark, stable-audio-metrics and AudioCraft, replaces lengths below 1e-8
by 1e-8. For embeddings of length one, which LAION's CLAP gives, these agree within 3e-8.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from ..registry import CI, Arrays, Blame, Cell, Compute, Measured, Metric, Needs, Tell, Value

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

    from ..intervals import Doubt

SHORTEST = 1e-8  # torch.nn.functional.cosine_similarity's eps


def cosines(audio: ArrayLike, text: ArrayLike) -> NDArray[Any]:
    """The cosine of each pair.

    Parameters
    ----------
    audio, text : array_like, shape (pairs, width)
        Embeddings.

    Returns
    -------
    ndarray, shape (pairs,)
        0 where an embedding is zero.

    Raises
    ------
    StatisticsError
        For arrays that are not embeddings of the same pairs.

    Examples
    --------
    >>> cosines([[3.0, 4.0]], [[4.0, 3.0]]).tolist()
    [0.96]
    """
    import numpy as np

    from ...errors import StatisticsError
    from ..validation import check_embeddings

    a, t = (
        check_embeddings(one, name).astype(np.float64)
        for one, name in ((audio, "audio"), (text, "text"))
    )
    if a.shape != t.shape:
        raise StatisticsError("text", f"shape {t.shape}, the audio's is {a.shape}: no pairs")
    lengths = [np.maximum(np.linalg.norm(one, axis=1), SHORTEST) for one in (a, t)]
    found: NDArray[Any] = np.einsum("ij,ij->i", a, t) / (lengths[0] * lengths[1])
    return found


def against(reference: Arrays | None, options: Mapping[str, Any]) -> Compute:
    """The mean cosine of clips and captions; a clip in several windows counts with their mean."""
    import numpy as np

    def compute(evaluation: Arrays, tell: Tell) -> Value:
        assert evaluation.captions is not None
        clips = np.stack([own.mean(axis=0) for own in evaluation.by_clip("clap-score")])
        found = cosines(clips, evaluation.captions)
        std = float(found.std())
        return Value(
            float(found.mean()), {"std": std, "pairs": len(found)},
            cells=(Cell("clap_score_std", "CLAP score, deviation", std),),
            doubts=partial(_doubts, evaluation.names, found.tolist()),
            blame=partial(Blame.of, "cosine", evaluation.names, found, lowest=True,
                          texts=dict(zip(evaluation.names, evaluation.texts, strict=False))),
        )  # fmt: skip

    return compute


def _doubts(names: Sequence[str], found: Sequence[float], tell: Tell) -> dict[str, Doubt]:
    from ..intervals import of_mean

    return {METRIC.column: of_mean(names, found)}


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """The sentence about it in the report."""
    pairs = ", ".join(dict.fromkeys(str(one.value.fields["pairs"]) for one in found))
    text = (
        "How well clips fit their captions: the cosine between the embedding of a clip and that of"
        f" its caption, and the mean over pairs ({pairs}). 1 is the most; unrelated pairs are near"
        " 0."
    )
    yield METRIC.title, text


METRIC = Metric(
    "clap-score", "CLAP score", "higher",
    Needs(reference=None, evaluation="clips", captions=True), against,
    "mean cosine between clips and their captions", reading, (CI,), ("std", "pairs"),
)  # fmt: skip
