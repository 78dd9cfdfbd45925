"""Kernel audio distance: the maximum mean discrepancy between two datasets.

Chung et al. 2025, "KAD: No More FAD! An Effective and Efficient Evaluation Metric for Audio
Generation", arXiv:2502.15602: the unbiased estimate of MMD^2 (Gretton et al. 2012, equation 3) with
the kernel exp(-|x - y|^2 / (2 s^2)), times 100. The bandwidth s is the median of the distances
between reference embeddings i < j, so it does not depend on the evaluation. Alternatively, it is
the median between evaluation embeddings, as in kadtk 1.1.0 (kad.py, calc_kernel_audio_distance).

Because the estimate is unbiased, equal sources give values around zero, which may be negative.
Distances are computed in blocks, in float64, after the mean of the reference is subtracted. They
are not stored: the median is found by counting them. From a dataset of more than 10,000 embeddings,
10,000 are drawn without replacement, and the result says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import NoBandwidthError, Path, StatisticsError, TooFewEmbeddingsError
from .clips import taken
from .validation import Array, check_embeddings

SCALE = 100.0
MOST_EMBEDDINGS = 10_000
BLOCK = 1024
# Relative to the largest embedding: smaller distances are rounding errors. Above the square root of
# float64's precision, below the precision of float32, in which embeddings are stored.
EQUAL = 1e-7
# Squared distances are counted by their first bits as float64: exponent and eight of the fraction.
COUNTED_BITS = 20


@dataclass(frozen=True)
class Kad:
    """A kernel audio distance, or the reason why there is none.

    `float(kad)` is the value. `embeddings` gives how many embeddings of the reference and of the
    evaluation were used, and `embeddings_given` how many there were.
    """

    value: float | None
    bandwidth: float
    embeddings: tuple[int, int]
    embeddings_given: tuple[int, int]
    reason: str | None = None

    def __float__(self) -> float:
        if self.value is None:
            raise StatisticsError("KAD", self.reason or "there is none")
        return self.value

    @property
    def subsampled(self) -> bool:
        """Whether only a part of either dataset was used."""
        return self.embeddings != self.embeddings_given


class Sliced(Protocol):
    """An object whose slices are embeddings (n, dim) in float64."""

    def __len__(self) -> int: ...
    def __getitem__(self, own: slice, /) -> Array: ...


@dataclass(frozen=True)
class Centred:
    """Embeddings relative to a point: a slice subtracts it in float64 from what is stored."""

    stored: NDArray[Any]
    origin: Array

    def __len__(self) -> int:
        return len(self.stored)

    def __getitem__(self, own: slice) -> Array:
        found: Array = self.stored[own].astype(np.float64) - self.origin
        return found


class KernelReference:
    """A reference with its bandwidth and the mean of its own kernel, computed once.

    Twice 10,000 embeddings of dimension 128 take about 10 s on one core, and 30 MB of memory in
    addition to the embeddings.
    """

    def __init__(
        self,
        embeddings: ArrayLike,
        seed: int = 0,
        where: Path = "reference",
        limit: int = MOST_EMBEDDINGS,
        bandwidth_of: Literal["reference", "evaluation"] = "reference",
    ) -> None:
        """Take embeddings (n, dim), n >= 2.

        `bandwidth_of` names the dataset whose distances give the bandwidth. The same seed draws the
        same subsample with every version of NumPy. Raises TooFewEmbeddingsError for fewer than two,
        StatisticsError for an invalid array, and NoBandwidthError if the bandwidth is that of the
        reference and more than half of its pairs are equal.
        """
        self._seed, self._limit = seed, limit
        chosen, self._given = _drawn(embeddings, seed, limit, where)
        self._embeddings = Centred(chosen, chosen.mean(axis=0, dtype=np.float64))
        self.bandwidth: float | None = None  # None: each evaluation has its own
        if bandwidth_of == "reference":
            self.bandwidth = _bandwidth(self._embeddings, where)
            self._within = _mean_within(self._embeddings, self.bandwidth)

    def distance(self, embeddings: ArrayLike, where: Path = "evaluation") -> Kad:
        """The kernel audio distance of evaluation embeddings (n, dim), n >= 2; may be negative.

        Raises TooFewEmbeddingsError and StatisticsError, and NoBandwidthError if the bandwidth is
        that of the evaluation and more than half of its pairs are equal.
        """
        chosen, given = _drawn(embeddings, self._seed, self._limit, where)
        origin = self._embeddings.origin
        if chosen.shape[1] != len(origin):
            raise StatisticsError(
                where, f"{chosen.shape[1]} dimensions, the reference has {len(origin)}"
            )
        own = Centred(chosen, origin)
        bandwidth, reference_within = self._kernel(own, where)
        within = _mean_within(own, bandwidth)
        between = _mean_between(self._embeddings, own, bandwidth)
        value = SCALE * (reference_within + within - 2.0 * between)
        used = (len(self._embeddings), len(chosen))
        return Kad(value, bandwidth, used, (self._given, given))

    def _kernel(self, own: Centred, where: Path) -> tuple[float, float]:
        """The bandwidth, and the mean of the kernel within the reference for this bandwidth."""
        if self.bandwidth is not None:
            return self.bandwidth, self._within
        bandwidth = _bandwidth(own, where)
        return bandwidth, _mean_within(self._embeddings, bandwidth)


def _bandwidth(embeddings: Centred, where: Path) -> float:
    found = median_distance(embeddings)
    largest = max(np.linalg.norm(embeddings[own], axis=1).max() for own in blocks(len(embeddings)))
    if found <= EQUAL * largest:
        raise NoBandwidthError(where)
    return found


def median_distance(embeddings: Sliced) -> float:
    """NumPy's median of the distances between embeddings i < j.

    Distances are computed twice: once to count them by their first bits, and once more to collect
    those whose first bits are those of the median.
    """
    pairs = len(embeddings) * (len(embeddings) - 1) // 2
    # Squares are in the same order; the two middle ones are averaged as distances.
    middle = np.array([(pairs - 1) // 2, pairs // 2])
    counts = np.zeros(1 << COUNTED_BITS, np.int64)
    for squares in _squares(embeddings):
        counts += np.bincount(_first_bits(squares), minlength=len(counts))
    ends = np.cumsum(counts)
    low, high = np.searchsorted(ends, middle, "right")
    held = np.empty(int(counts[low : high + 1].sum()))
    filled = 0
    for squares in _squares(embeddings):
        bits = _first_bits(squares)
        near = squares[(bits >= low) & (bits <= high)]
        held[filled : filled + len(near)] = near
        filled += len(near)
    middle -= ends[low] - counts[low]
    held.partition(middle)
    return float(np.sqrt(held[middle]).mean())


def _squares(embeddings: Sliced) -> Iterator[Array]:
    """The squared distances of pairs i < j, block by block."""
    for left, right in _upper_blocks(len(embeddings)):
        block = squared_distances(embeddings[left], embeddings[right])
        yield block[np.triu_indices(len(block), 1)] if left == right else block.ravel()


def _first_bits(squares: Array) -> NDArray[np.int64]:
    """The first bits of numbers that are not negative; their order is that of the numbers."""
    return squares.view(np.int64) >> (64 - COUNTED_BITS)


def squared_distances(left: Array, right: Array) -> Array:
    """|x - y|^2 (n, m) for all pairs of embeddings; never negative."""
    found = left @ right.T
    found *= -2.0
    found += np.square(left).sum(axis=1)[:, None]
    found += np.square(right).sum(axis=1)
    return np.maximum(found, 0.0, out=found)


def _drawn(embeddings: ArrayLike, seed: int, limit: int, where: Path) -> tuple[NDArray[Any], int]:
    """A copy of at most ``limit`` embeddings in their order, and how many there were."""
    checked = check_embeddings(embeddings, where)
    count = len(checked)
    if count < 2:
        raise TooFewEmbeddingsError(where, count, 2, "a kernel distance")
    return taken(checked, drawn_indices(count, seed, limit)), count


def drawn_indices(count: int, seed: int, limit: int) -> NDArray[np.intp]:
    """Which of `count` embeddings are used, in order."""
    if count <= limit:
        return np.arange(count)
    chosen: NDArray[np.intp] = np.sort(np.random.RandomState(seed).permutation(count)[:limit])
    return chosen


def blocks(count: int) -> list[slice]:
    """Slices of at most BLOCK that cover a length."""
    return [slice(i, min(i + BLOCK, count)) for i in range(0, count, BLOCK)]


def _upper_blocks(count: int) -> Iterator[tuple[slice, slice]]:
    slices = blocks(count)
    return ((left, right) for i, left in enumerate(slices) for right in slices[i:])


def kernel(left: Array, right: Array, bandwidth: float) -> Array:
    """The kernel (n, m) of all pairs of embeddings."""
    found = squared_distances(left, right)
    found *= -0.5 / (bandwidth * bandwidth)
    return np.exp(found, out=found)


def _mean_within(embeddings: Centred, bandwidth: float) -> float:
    """The mean of the kernel over pairs i != j."""
    total = 0.0
    for left, right in _upper_blocks(len(embeddings)):
        part = float(kernel(embeddings[left], embeddings[right], bandwidth).sum())
        # Pairs of an embedding with itself, which are 1, do not count.
        total += part - (left.stop - left.start) if left == right else 2.0 * part
    return total / (len(embeddings) * (len(embeddings) - 1))


def _mean_between(left: Centred, right: Centred, bandwidth: float) -> float:
    pairs = ((a, b) for a in blocks(len(left)) for b in blocks(len(right)))
    total = sum(float(kernel(left[a], right[b], bandwidth).sum()) for a, b in pairs)
    return total / (len(left) * len(right))
