"""The embeddings of many clips as one array, which may be a file larger than memory."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

Embeddings = NDArray[Any]

# Embeddings are processed in blocks of this many, to bound the memory of float64 copies.
BLOCK = 4096
# A process releases the pages of a mapped file after it has read this many bytes of it.
FORGET_BYTES = 32 << 20


def forget(array: Embeddings) -> None:
    """Release the memory of an array that is a view of a file; later access reads the file again.

    Do nothing for other arrays, and on systems without madvise.
    """
    base: Any = array
    while getattr(base, "base", None) is not None:
        base = base.base
    mapping = base.obj if isinstance(base, memoryview) else base
    # A writable mapping may hold data that the file lacks.
    read_only = isinstance(mapping, mmap.mmap) and not array.flags.writeable
    if read_only and hasattr(mapping, "madvise"):
        mapping.madvise(mmap.MADV_DONTNEED)


def blocks(array: Embeddings) -> Iterator[Embeddings]:
    """Consecutive embeddings, BLOCK at a time."""
    seen = 0
    for start in range(0, len(array), BLOCK):
        block = array[start : start + BLOCK]
        yield block
        seen += block.nbytes
        if seen >= FORGET_BYTES:
            forget(array)
            seen = 0
    forget(array)


def chosen_blocks(array: Embeddings, chosen: NDArray[np.bool_]) -> Iterator[Embeddings]:
    """The chosen embeddings in their order, BLOCK at a time, as copies.

    Parameters
    ----------
    array : ndarray, shape (n, width)
        Embeddings.
    chosen : ndarray of bool, shape (n,)
        True for the embeddings to return.
    """
    held, count, start = [], 0, 0
    for block in blocks(array):
        picked = block[chosen[start : start + len(block)]]
        start += len(block)
        held.append(picked)
        count += len(picked)
        if count >= BLOCK:
            whole = np.concatenate(held)
            yield whole[:BLOCK]
            held, count = [whole[BLOCK:]], count - BLOCK
    if count:
        yield np.concatenate(held)


def taken(array: Embeddings, indices: NDArray[np.intp]) -> Embeddings:
    """`array[indices]`; the pages of the file that this reads are released afterwards.

    The system maps up to half a megabyte around each embedding that is read.
    """
    found = np.empty((len(indices), array.shape[1]), array.dtype)
    for start in range(0, len(indices), 64):
        part = slice(start, start + 64)
        found[part] = array[indices[part]]
        forget(array)
    return found


class ByClip(Sequence[Embeddings]):
    """The embeddings (n, width) of each clip, as slices of one array.

    Parameters
    ----------
    embeddings : ndarray, shape (n, width)
        The embeddings of all clips.
    offsets : sequence of int
        The embeddings of clip i are ``embeddings[offsets[i]:offsets[i + 1]]``.
    """

    def __init__(self, embeddings: Embeddings, offsets: Sequence[int] | NDArray[np.int64]) -> None:
        self.embeddings, self.offsets = embeddings, offsets
        self._seen = 0

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> Embeddings: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[Embeddings]: ...

    def __getitem__(self, index: int | slice) -> Embeddings | Sequence[Embeddings]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        clip = range(len(self))[index]
        own = self.embeddings[self.offsets[clip] : self.offsets[clip + 1]]
        self._seen += own.nbytes
        if self._seen >= FORGET_BYTES:
            forget(self.embeddings)
            self._seen = 0
        return own


def joined(clips: Sequence[Embeddings]) -> Embeddings:
    """All embeddings of the clips in one array, which is not copied if they are slices of one."""
    return clips.embeddings if isinstance(clips, ByClip) else np.concatenate(clips)
