"""A cache of embeddings between runs, so that nothing is computed twice.

A key is a hash of a file's content and everything else that determines its embeddings (model,
tensors, options, protocol). Values are therefore never stale, and never shared between models. See
keyed.py and segments.py for the storage.
"""

from __future__ import annotations

import hashlib
import os
import struct
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from ...errors import AudioError, CacheError
from ..filesystem import check_trusted
from .hashes import FileHashes, Part
from .keyed import Keyed
from .upkeep import Freed, Info

Embeddings = NDArray[np.float32]

MAX_BYTES = 20_000_000_000
# seconds, sample rate in Hz, peak, peak after mixing, dimension, number of embeddings
_HEAD = struct.Struct("<dIffIQ")


class Facts(Protocol):
    """The facts about a clip that are stored with its embeddings."""

    @property
    def seconds(self) -> float: ...
    @property
    def source_hz(self) -> int: ...
    @property
    def peak(self) -> float: ...
    @property
    def mixed_peak(self) -> float: ...


@dataclass(frozen=True)
class CachedEmbeddings:
    """The embeddings (n, dim) of one file, read-only, and facts about the file."""

    embeddings: Embeddings
    seconds: float
    source_hz: int
    peak: float
    mixed_peak: float


class EmbeddingCache:
    """Embeddings by content and model, in a folder for any number of threads and processes.

    `max_bytes` limits the size of the folder. When it is full, the least recently used segments
    (each up to an eighth of the limit) are removed. Values larger than a segment are not stored. On
    a read-only or full disk the cache can still be read, with a warning that nothing is stored.
    Raises CacheError if the path is not a folder, or if other users may write to it (see
    `check_trusted`).
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes = Path(folder).absolute(), max_bytes
        check_trusted(self.folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise CacheError(self.folder, "is not a folder")
        self._values = Keyed(self.folder / "rows", max_bytes)
        self._hashes = FileHashes(self.folder / "hashes")

    def content_sha256(self, path: str | os.PathLike[str], part: Part | None = None) -> str:
        """The SHA-256 of a file or of a part of it, remembered between runs.

        Raises AudioError if it cannot be read.
        """
        return self._hashes.sha256(path, AudioError, part)

    def get(self, content_sha256: str, fingerprint: str) -> CachedEmbeddings | None:
        """The value stored for this content and fingerprint, or None."""
        payload = self._values.get(_key(content_sha256, fingerprint))
        return None if payload is None else _unpacked(payload)

    def put(
        self, content_sha256: str, fingerprint: str, embeddings: NDArray[Any], facts: Facts
    ) -> bool:
        """Store float32 embeddings (n, dim); return whether they were stored."""
        payload = _packed(embeddings, facts)
        return self._values.put(_key(content_sha256, fingerprint), payload)

    def info(self) -> Info:
        """The folder, the number of values, the bytes (with remembered hashes) and the limit."""
        values, hashes = self._values.info(), self._hashes.info()
        return Info(
            self.folder,
            values.values,
            values.bytes + hashes.bytes,
            values.segments + hashes.segments,
            self.max_bytes,
        )

    def prune(self, max_bytes: int) -> Freed:
        """Remove the least recently used segments until at most `max_bytes` are left, including
        the remembered hashes.
        """
        return self._values.prune(max(0, max_bytes - self._hashes.info().bytes))

    def clear(self) -> Freed:
        """Remove everything that no running process is writing."""
        values, hashes = self._values.clear(), self._hashes.clear()
        return Freed(
            values.bytes + hashes.bytes,
            values.segments + hashes.segments,
            values.in_use + hashes.in_use,
        )

    def close(self) -> None:
        """Flush and close all files; the next call reopens what it needs."""
        self._values.close()
        self._hashes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # Threads of a failed run may still be working, and must not reopen it.
        self._values.end()
        self._hashes.end()

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int]]:
        return type(self), (self.folder, self.max_bytes)


@lru_cache(maxsize=4)
def shared(folder: Path) -> EmbeddingCache:
    """The EmbeddingCache of this process for a folder, opened once.

    Reading the index of a large cache takes a second, which is too long for every chunk of files.
    """
    return EmbeddingCache(folder)


def _key(content_sha256: str, fingerprint: str) -> bytes:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    text = f"{len(content_sha256)} {content_sha256} {fingerprint}"
    return hashlib.sha256(text.encode()).digest()


def _packed(embeddings: NDArray[Any], facts: Facts) -> bytes:
    if embeddings.ndim != 2 or embeddings.dtype != np.float32:
        found = f"{embeddings.dtype} {embeddings.shape}"
        raise TypeError(f"embeddings must be float32 (n, dim), not {found}")
    count, dim = embeddings.shape
    head = _HEAD.pack(facts.seconds, facts.source_hz, facts.peak, facts.mixed_peak, dim, count)
    return head + embeddings.astype("<f4", copy=False).tobytes()


def _unpacked(payload: bytes) -> CachedEmbeddings:
    """The inverse of `_packed`, for a payload whose hash has been checked."""
    seconds, source_hz, peak, mixed_peak, dim, count = _HEAD.unpack_from(payload)
    stored = np.frombuffer(payload, "<f4", offset=_HEAD.size).reshape(count, dim)
    embeddings = stored.astype(np.float32, copy=False)
    return CachedEmbeddings(embeddings, seconds, source_hz, peak, mixed_peak)
