"""A partially downloaded file with its resume state: bytes flushed, validator, source URL."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Self

from ...cache import root
from ...cache.filesystem import guarded, sync_folder, write_all
from .reply import Reply

# Flush after this many bytes; a crash of the machine loses no more.
SYNC_BYTES = 1 << 25


@dataclass
class Partial:
    """NAME.part in the folder of `final`, open for appending, with its hash so far.

    NAME.part.json holds the URL, the server's validator (a strong ETag or a date)
    and the number of bytes flushed. Only these bytes are trusted when a later run resumes.
    """

    final: Path
    url: str
    path: Path
    file: FileIO
    size: int = 0
    validator: str | None = None
    _synced: int = 0

    def __post_init__(self) -> None:
        self._digest = hashlib.sha256()

    @classmethod
    def open(cls, final: Path, url: str) -> Self:
        """Open to resume, or to start again if the bytes on disk cannot be trusted."""
        path = final.with_name(final.name + ".part")
        with guarded(path):
            # Unbuffered, so that a full disk is noticed before the file is closed.
            file = FileIO(path, "r+" if path.is_file() else "w+")
            partial = cls(final, url, path, file)
            partial._resume()
        return partial

    @property
    def _notes(self) -> Path:
        return self.path.with_name(self.path.name + ".json")

    def _resume(self) -> None:
        notes = root.read_json(self._notes)
        flushed, validator = notes.get("bytes"), notes.get("validator")
        there = os.fstat(self.file.fileno()).st_size
        known = isinstance(validator, str) and re.fullmatch(r"[ -~]{1,500}", validator)
        if notes.get("url") == self.url and known and isinstance(flushed, int):
            self.validator = validator
            self._rehash(flushed if flushed <= there else 0)
        self.file.seek(self.size)
        self.file.truncate()
        self._synced = self.size

    def _rehash(self, left: int) -> None:
        while left > 0 and (block := self.file.read(min(left, 1 << 20))):
            self._digest.update(block)
            self.size += len(block)
            left -= len(block)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        if self.file.closed:
            return
        if not self.size:
            self.discard()
            return
        # Keep the bytes for the next run, whatever interrupted the download.
        try:
            with guarded(self.path):
                self._sync()
        finally:
            self.file.close()

    def range_headers(self) -> dict[str, str]:
        """The headers of a request for the rest, on condition that the file is the same."""
        if not self.size or not self.validator:
            return {}
        return {"Range": f"bytes={self.size}-", "If-Range": self.validator}

    def is_of(self, reply: Reply) -> bool:
        """Whether a partial reply is of the same file."""
        validator = _validator(reply)
        return validator is None or validator == self.validator

    def remember(self, reply: Reply) -> None:
        """Store the validator by which the server identifies this version of the file."""
        self.validator = _validator(reply)

    def append(self, block: bytes) -> None:
        """Add bytes; CacheError if they cannot be written."""
        with guarded(self.path):
            write_all(self.file.fileno(), block)
            self._digest.update(block)
            self.size += len(block)
            if self.size - self._synced >= SYNC_BYTES:
                self._sync()

    def _sync(self) -> None:
        os.fsync(self.file.fileno())
        self._synced = self.size
        notes = {"url": self.url, "validator": self.validator, "bytes": self.size}
        root.publish_bytes(self._notes, json.dumps(notes).encode())

    def reset(self) -> None:
        """Start again from the first byte."""
        with guarded(self.path):
            self.file.seek(0)
            self.file.truncate()
        self._digest, self.size, self._synced = hashlib.sha256(), 0, 0

    def sha256(self) -> str:
        """The hash of all bytes so far."""
        return self._digest.hexdigest()

    def publish(self) -> None:
        """Give the file its final name."""
        with guarded(self.final):
            os.fsync(self.file.fileno())
            self.file.close()
            os.replace(self.path, self.final)
            sync_folder(self.final.parent)
            self._notes.unlink(missing_ok=True)

    def discard(self) -> None:
        """Remove the partial file."""
        self.file.close()
        with guarded(self.path):
            self._notes.unlink(missing_ok=True)
            self.path.unlink(missing_ok=True)


def _validator(reply: Reply) -> str | None:
    etag = reply.headers.get("etag", "")
    # RFC 9110 13.1.5: If-Range needs a strong entity tag.
    strong = etag.startswith('"') and etag.endswith('"') and len(etag) > 1
    return etag if strong else reply.headers.get("last-modified")
