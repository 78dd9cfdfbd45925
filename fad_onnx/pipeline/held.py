"""The embeddings of a dataset while it is made: in memory, or in a file if there are many."""

from __future__ import annotations

import mmap
import tempfile
from array import array
from contextlib import suppress
from pathlib import Path
from typing import IO

import numpy as np

from ..cache import root
from ..cache.filesystem import guarded
from ..errors import CacheError
from ..metrics.clips import ByClip
from ..networks.embedder import Embeddings

# Beyond SPILL_BYTES, embeddings go to a file, in pieces of PIECE_BYTES. There may be several models
# and two datasets at a time.
SPILL_BYTES, PIECE_BYTES = 16 << 20, 4 << 20


def in_bounded_memory(embeddings: Embeddings) -> Embeddings:
    """The same embeddings, read from a file if they are many; CacheError as for `Held`."""
    if embeddings.nbytes < SPILL_BYTES:
        return embeddings
    held = Held(embeddings.shape[1])
    held.add(embeddings)
    return held.result()[0]


class Held:
    """Collects the embeddings (n, width) of clips in order.

    Raises
    ------
    CacheError
        If they cannot be written.
    """

    def __init__(self, width: int) -> None:
        self._width, self._offsets = width, array("q", [0])
        self._parts: list[Embeddings] = []
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._folder = Path(tempfile.gettempdir())

    def add(self, embeddings: Embeddings) -> None:
        """Add the embeddings of one clip."""
        self._offsets.append(self._offsets[-1] + len(embeddings))
        self._parts.append(embeddings)
        self._bytes += embeddings.nbytes
        if self._bytes >= (SPILL_BYTES if self._file is None else PIECE_BYTES):
            self._spill()

    def _spill(self) -> None:
        """Move the embeddings in memory to the end of the file."""
        if self._file is None:
            self._file = self._opened()
        with guarded(self._folder):
            for part in self._parts:
                self._file.write(np.ascontiguousarray(part, "<f4").data)
        self._parts, self._bytes = [], 0

    def _opened(self) -> IO[bytes]:
        """An unnamed file in the cache folder, or in the folder of temporary files."""
        with suppress(CacheError), guarded(root.root()):
            folder = root.part("spill")
            folder.mkdir(parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115
            self._folder = folder
            return self._file
        with guarded(self._folder):
            return tempfile.TemporaryFile(dir=self._folder)

    def result(self) -> ByClip:
        """All embeddings; those in a file are mapped from it."""
        if self._file is None:
            whole = np.concatenate([np.zeros((0, self._width), np.float32), *self._parts])
            return ByClip(whole, self._offsets)
        self._spill()
        with guarded(self._folder), self._file:
            self._file.flush()
            mapping = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_READ)
        mapped = np.frombuffer(memoryview(mapping), "<f4").reshape(-1, self._width)
        return ByClip(mapped, self._offsets)
