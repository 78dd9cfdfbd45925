"""Rows of audio files, kept between runs, so that nothing is computed twice.

A value is found by the hash of the file's content and by everything else that decides the bits
of its rows (model, tensors, options, protocol): it is never stale and never shared between
models. See keyed.py and segments.py for how it is stored.
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
from .hashes import FileHashes
from .keyed import Keyed
from .upkeep import Freed, Info

Rows = NDArray[np.float32]

MAX_BYTES = 20_000_000_000
# seconds, sample rate in Hz, largest sample, that of the mix, dimension, number of rows
_HEAD = struct.Struct("<dIffIQ")


class Facts(Protocol):
    """What is kept beside the rows of a file."""

    @property
    def seconds(self) -> float: ...
    @property
    def source_hz(self) -> int: ...
    @property
    def peak(self) -> float: ...
    @property
    def mixed_peak(self) -> float: ...


@dataclass(frozen=True)
class CachedRows:
    """Rows (n, dim) of one file, read-only, and what was known of the file."""

    rows: Rows
    seconds: float
    source_hz: int
    peak: float
    mixed_peak: float


class RowCache:
    """Rows by content and model, in one folder, for any number of threads and processes.

    max_bytes bounds the folder; when it is full, a segment (at most an eighth of it) is
    removed, the least recently used one first. Rows larger than a segment are not kept. On a
    read-only or full disk the cache can still be read; that nothing more is kept is a warning.
    Raises CacheError if something that is not a folder has the name, or if others
    may write to it (see disk.check_trusted).
    """

    def __init__(self, folder: str | os.PathLike[str], max_bytes: int = MAX_BYTES) -> None:
        self.folder, self.max_bytes = Path(folder).absolute(), max_bytes
        check_trusted(self.folder)
        if self.folder.exists() and not self.folder.is_dir():
            raise CacheError(self.folder, "is not a folder")
        self._rows = Keyed(self.folder / "rows", max_bytes)
        self._hashes = FileHashes(self.folder / "hashes")

    def content_sha256(self, path: str | os.PathLike[str]) -> str:
        """SHA-256 of an audio file's bytes, remembered; AudioError if it cannot be read."""
        return self._hashes.sha256(path, AudioError)

    def get(self, content_sha256: str, fingerprint: str) -> CachedRows | None:
        """What `put` was given for the same content and fingerprint, or None."""
        payload = self._rows.get(_key(content_sha256, fingerprint))
        return None if payload is None else _unpacked(payload)

    def put(self, content_sha256: str, fingerprint: str, rows: NDArray[Any], facts: Facts) -> bool:
        """Keep float32 rows (n, dim); whether they are kept."""
        payload = _packed(rows, facts)
        return self._rows.put(_key(content_sha256, fingerprint), payload)

    def info(self) -> Info:
        """Folder, number of files' rows, bytes (with remembered hashes), bound."""
        rows, hashes = self._rows.info(), self._hashes.info()
        return Info(
            self.folder,
            rows.values,
            rows.bytes + hashes.bytes,
            rows.segments + hashes.segments,
            self.max_bytes,
        )

    def prune(self, max_bytes: int) -> Freed:
        """Remove rows, the least recently used segments first, until `max_bytes` are left with
        the remembered hashes.
        """
        return self._rows.prune(max(0, max_bytes - self._hashes.info().bytes))

    def clear(self) -> Freed:
        """Remove everything that no running process writes."""
        rows, hashes = self._rows.clear(), self._hashes.clear()
        return Freed(
            rows.bytes + hashes.bytes,
            rows.segments + hashes.segments,
            rows.in_use + hashes.in_use,
        )

    def close(self) -> None:
        """Flush and let go of all files; the next call opens what it needs."""
        self._rows.close()
        self._hashes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        # Threads of a run that failed may still be at work: they must not open it again.
        self._rows.end()
        self._hashes.end()

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int]]:
        return type(self), (self.folder, self.max_bytes)


@lru_cache(maxsize=4)
def shared(folder: Path) -> RowCache:
    """The one RowCache of this process for a folder: the index of a large one takes a second to
    read, so it must not be read again for every chunk of files.
    """
    return RowCache(folder)


def _key(content_sha256: str, fingerprint: str) -> bytes:
    # The length keeps ("ab", "c") and ("a", "bc") apart.
    text = f"{len(content_sha256)} {content_sha256} {fingerprint}"
    return hashlib.sha256(text.encode()).digest()


def _packed(rows: NDArray[Any], facts: Facts) -> bytes:
    if rows.ndim != 2 or rows.dtype != np.float32:
        raise TypeError(f"rows must be float32 (n, dim), not {rows.dtype} {rows.shape}")
    head = _HEAD.pack(
        facts.seconds, facts.source_hz, facts.peak, facts.mixed_peak, rows.shape[1], rows.shape[0]
    )  # fmt: skip
    return head + rows.astype("<f4", copy=False).tobytes()


def _unpacked(payload: bytes) -> CachedRows:
    """The inverse; the payload's hash has been checked, so it is what `_packed` made."""
    seconds, source_hz, peak, mixed_peak, dim, count = _HEAD.unpack_from(payload)
    rows = np.frombuffer(payload, "<f4", offset=_HEAD.size).reshape(count, dim)
    return CachedRows(rows.astype(np.float32, copy=False), seconds, source_hz, peak, mixed_peak)
