"""SHA-256 of files, remembered until a file changes."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, NamedTuple, Self

from ..filesystem import Failure, guarded
from .keyed import Keyed
from .upkeep import Freed, Info

# Enough for about ten million files.
MAX_BYTES = 1 << 30
# A file that is newer than this may change again within the resolution of its dates.
SETTLED_SECONDS = 2.0


class Part(NamedTuple):
    """A part of a file: its identity, and how to read its bytes."""

    key: str
    open: Callable[[], BinaryIO]


class FileHashes:
    """SHA-256 of files, stored in a folder by the file system's facts about each file.

    The key is the resolved path, device, inode, size, and the times of the last change of
    content and of status (programs can reset the former, not the latter). A file that
    changed in the last two seconds, or while it was read, is not remembered. If the folder
    cannot be read or written, files are hashed every time.
    """

    def __init__(self, folder: Path, max_bytes: int = MAX_BYTES) -> None:
        self._known = Keyed(folder, max_bytes, logging.DEBUG)

    def sha256(
        self, path: str | os.PathLike[str], failure: Failure, part: Part | None = None
    ) -> str:
        """The hash of a file or of a part of it, in hexadecimal.

        Raises `failure(path, reason)` if the file is unreadable, and the errors of the part.
        """
        with guarded(Path(path), failure):
            key = _key(path, os.stat(path), part)
            known = self._known.get(key)
            if known is not None and len(known) == 32:
                return known.hex()
            digest, key_after = _hash(path, part)
        if key_after == key:
            self._known.put(key, digest)
        return digest.hex()

    def info(self) -> Info:
        """The contents of the folder."""
        return self._known.info()

    def clear(self) -> Freed:
        """Remove everything that no running process is writing."""
        return self._known.clear()

    def close(self) -> None:
        """Close all files; the next call reopens what it needs."""
        self._known.close()

    def end(self) -> None:
        """Close for good; files are still hashed, but not remembered."""
        self._known.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.end()


def _key(path: str | os.PathLike[str], found: os.stat_result, part: Part | None = None) -> bytes:
    facts = [found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
    named = os.fsencode(os.path.realpath(path))
    # No path holds a zero byte.
    named += b"" if part is None else b"\0" + part.key.encode(errors="surrogateescape")
    return hashlib.sha256(json.dumps(facts).encode() + named).digest()


def _hash(path: str | os.PathLike[str], part: Part | None = None) -> tuple[bytes, bytes | None]:
    """The hash of the bytes read, and the file's key afterwards, or None if it may still change."""
    digest = hashlib.sha256()
    with open(path, "rb") as file, part.open() if part else nullcontext(file) as content:
        now = time.time()
        while block := content.read(1 << 20):
            digest.update(block)
        after = os.fstat(file.fileno())
    settled = max(after.st_mtime, after.st_ctime) < now - SETTLED_SECONDS
    return digest.digest(), _key(path, after, part) if settled else None
