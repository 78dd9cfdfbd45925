"""Pooling, the step after the network: the embeddings of a clip, or one for each part of it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..errors import OptionError
from .network import Output
from .preparation import Pooling

Embeddings = NDArray[np.float32]


def pool(
    pooling: Pooling, embeddings: Embeddings, seconds: float, weights: NDArray[np.float64]
) -> Embeddings:
    """Reduce the embeddings of one clip.

    Parameters
    ----------
    pooling : Pooling
        Over what, and by which statistic.
    embeddings : ndarray of float32, shape (n, width)
        All embeddings of the clip, in order.
    seconds : float
        The clip's length.
    weights : ndarray of float64, shape (n,)
        How many samples of the clip, without padding, each embedding covers ("weighted").

    Returns
    -------
    ndarray of float32, shape (m, width)
        All embeddings ("frames"); one for each whole second or each fifth of the embeddings,
        without what remains of the clip ("seconds", "fifths"); a single one ("clip"); or one of
        dimension one for each number ("numbers").

    Examples
    --------
    >>> import numpy as np
    >>> four = np.arange(4, dtype=np.float32)[:, None]
    >>> pool(Pooling("clip"), four, 2.0, np.ones(4)).tolist()
    [[1.5]]
    >>> pool(Pooling("seconds", "maximum"), four, 2.0, np.ones(4)).tolist()
    [[1.0], [3.0]]
    """
    if pooling.over == "frames":
        return embeddings
    if pooling.over == "numbers":
        return embeddings.reshape(-1, 1)
    size = _size(pooling, len(embeddings), seconds)
    count = len(embeddings) // size
    groups = embeddings[: count * size].reshape(count, size, -1)
    if pooling.statistic == "maximum":
        return np.asarray(groups.max(axis=1))
    own = weights if pooling.statistic == "weighted" else np.ones(len(embeddings))
    shares = own[: count * size].reshape(count, size, 1)
    mean = (groups * shares).sum(axis=1, dtype=np.float64) / shares.sum(axis=1)
    return np.asarray(mean.astype(np.float32))


def pooled_count(pooling: Pooling, embeddings: int, seconds: float) -> int:
    """The number of embeddings after pooling, before `pool` splits them into numbers."""
    if pooling.over in ("frames", "numbers") or not embeddings:
        return embeddings
    return embeddings // _size(pooling, embeddings, seconds)


def _size(pooling: Pooling, count: int, seconds: float) -> int:
    """The number of embeddings that become one; all of them for a shorter clip.

    kadtk 1.1.0, model_loader.py, postprocess_resoultion, rounds down as well, and fails below a
    second. For DAC it divides by the five seconds of a window, whatever the length of the clip.
    """
    if pooling.over == "clip" or not seconds:
        return count
    return min(count, max(1, int(count / (5 if pooling.over == "fifths" else seconds))))


def check_spread(pooling: Pooling, output: Output, label: str) -> None:
    """OptionError for pooling of an output whose vectors are not spread over a window."""
    if output.per_window > 1 and pooling.over in ("seconds", "fifths", "clip"):
        problem = f"{label} is {output.per_window} vectors, which do not follow in time"
        raise OptionError(f"pooling={pooling.over}", f"{problem}; leave pooling out")
