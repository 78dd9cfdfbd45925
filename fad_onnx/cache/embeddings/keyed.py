"""A bounded, persistent mapping from 32-byte keys to bytes, for threads, forks and processes.

Values are in the segments of one folder (see segments.py). When it is full, the least recently
used segment is removed. Values that cannot be written are dropped with a warning, because a cache
must not end the work that it is meant to save.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from ..filesystem import make_cache_folder, reason
from .places import Places
from .segments import Damaged, Segment, Writer, prefix, read_record, segments
from .upkeep import Freed, Info, info, prune

logger = logging.getLogger("fad_onnx")

LARGEST_SEGMENT_BYTES = 1 << 28
OPEN_FILES = 32
# After a miss, look for values of other processes, but not after every miss.
REFRESH_SECONDS = 10.0
USED_SECONDS = 3600.0


class Keyed:
    """The mapping. Every method may be called from any thread, and after a fork.

    The first `put` creates `folder`. `max_bytes` is the limit of the folder, which each writing
    process may exceed by one segment (at most an eighth of the limit). `level` is that of log
    messages.
    """

    def __init__(self, folder: Path, max_bytes: int, level: int = logging.WARNING) -> None:
        self.folder, self.max_bytes = Path(folder), max_bytes
        self._level = level
        self._segment_bytes = min(LARGEST_SEGMENT_BYTES, max(max_bytes // 8, 1 << 16))
        self._lock = threading.RLock()
        self._ended = False
        self._begin()
        _instances.add(self)

    def _begin(self) -> None:
        self._places = Places()
        self._segments: list[Segment] = []
        self._numbers: dict[Path, int] = {}
        self._files: dict[int, int] = {}
        self._used: dict[int, float] = {}
        self._bad: set[tuple[int, int]] = set()
        self._writer: Writer | None = None
        self._refreshed = -REFRESH_SECONDS
        self._refresh_cost = 0.0
        self._loaded = self._stopped = False
        self._news: list[tuple[int, NDArray[np.void]]] = []
        self._told: set[int] = set()
        self._said: set[str] = set()

    def get(self, key: bytes) -> bytes | None:
        """The value, or None; a damaged value is None, with a warning."""
        with self._lock:
            if self._ended:
                return None
            if not self._loaded:
                self.refresh()
            found = self._find(key)
            if found is None and self._may_refresh():
                self.refresh()
                found = self._find(key)
            return found

    def _find(self, key: bytes) -> bytes | None:
        for place in self._places.find(prefix(key)):
            if place not in self._bad:
                payload = self._payload(place, key)
                if payload is not None:
                    return payload
        return None

    def _payload(self, place: tuple[int, int], key: bytes) -> bytes | None:
        number, offset = place
        try:
            payload = read_record(self._file(number), offset, key)
        except FileNotFoundError:
            self._bad.add(place)  # pruned by another process
            return None
        except (Damaged, OSError) as error:
            self._bad.add(place)
            self._tell_damage(number, offset, error)
            return None
        self._note_use(number)
        return payload

    def _tell_damage(self, number: int, offset: int, error: Exception) -> None:
        path = self._segments[number].path
        what = reason(error, path) if isinstance(error, OSError) else "damaged"
        # One line per segment, because a failing disk would fill the log.
        level = logging.DEBUG if number in self._told else self._level
        self._told.add(number)
        logger.log(level, "%s: the value at byte %d is %s and is made anew", path, offset, what)

    def _file(self, number: int) -> int:
        if number not in self._files:
            while len(self._files) >= OPEN_FILES:
                os.close(self._files.pop(next(iter(self._files))))
            flags = os.O_RDONLY | getattr(os, "O_BINARY", 0)
            self._files[number] = os.open(self._segments[number].path, flags)
        return self._files[number]

    def _note_use(self, number: int) -> None:
        """Record the use of a segment in its date, to the hour."""
        now = time.monotonic()
        if now - self._used.get(number, -USED_SECONDS) >= USED_SECONDS:
            self._used[number] = now
            try:
                os.utime(self._segments[number].path)
            except OSError as error:
                logger.debug("%s: %s", self._segments[number].path, error)

    def put(self, key: bytes, payload: bytes) -> bool:
        """Store a value unless it is there already; return whether it is stored now."""
        with self._lock:
            if self._ended:
                return False
            if not self._loaded:
                self.refresh()
            if self._stopped or len(payload) > self._segment_bytes:
                return False
            if self._find(key) is not None:
                return True
            try:
                self._append(key, payload)
            except OSError as error:
                self._stop(error)
                return False
            return True

    def _append(self, key: bytes, payload: bytes) -> None:
        writer = self._writable(len(payload))
        offset = writer.append(key, payload)
        number = self._numbers[writer.segment.path]
        # A later refresh need not read what was written here.
        self._segments[number].known_bytes = writer.size
        self._places.add(prefix(key), number, offset)

    def _writable(self, payload_bytes: int) -> Writer:
        """The segment to append to: the current one, unless it is full or was removed."""
        if self._writer is not None:
            if self._writer.size + payload_bytes <= self._segment_bytes and self._writer.linked:
                return self._writer
            writer, self._writer = self._writer, None
            writer.close()
        make_cache_folder(self.folder)
        prune(self.folder, self.max_bytes - self._segment_bytes)
        self._writer = Writer.open(self.folder, self._segment_bytes - payload_bytes)
        self._learn(self._writer.segment.path)
        self._merge()
        return self._writer

    def _stop(self, error: OSError) -> None:
        self._stopped = True
        self._say(f"{self.folder}: {reason(error, self.folder)}; nothing more is cached here")
        if self._writer is not None:
            writer, self._writer = self._writer, None
            try:
                writer.close()
            except OSError as late:
                logger.debug("%s: %s", writer.segment.path, late)

    def _say(self, message: str) -> None:
        """Log a message, once."""
        if message not in self._said:
            self._said.add(message)
            logger.log(self._level, "%s", message)

    def _may_refresh(self) -> bool:
        wait = max(REFRESH_SECONDS, 100 * self._refresh_cost)
        return time.monotonic() - self._refreshed > wait

    def refresh(self) -> None:
        """Read the index entries that other processes have added."""
        with self._lock:
            begun = time.monotonic()
            own = self._writer.segment.path if self._writer else None
            try:
                paths = list(segments(self.folder))
            except OSError as error:
                self._say(f"{self.folder}: {reason(error, self.folder)}; not used as a cache")
                paths, self._stopped = [], True
            for path in paths:
                if path != own:
                    self._learn(path)
            self._merge()
            self._loaded, self._refreshed = True, time.monotonic()
            self._refresh_cost = self._refreshed - begun

    def _learn(self, path: Path) -> None:
        number = self._numbers.get(path)
        if number is None:
            number = self._numbers[path] = len(self._segments)
            self._segments.append(Segment(path))
        try:
            news = self._segments[number].news()
        except FileNotFoundError:
            return  # pruned by another process
        except OSError as error:
            self._say(f"{path}: {reason(error, path)}; its values are made anew")
            return
        if len(news):
            self._news.append((number, news))

    def _merge(self) -> None:
        news, self._news = self._news, []
        if news:
            counts = [len(entries) for _, entries in news]
            numbers = np.repeat(np.array([number for number, _ in news], np.uint32), counts)
            entries = np.concatenate([entries for _, entries in news])
            self._places.merge(entries["key"], numbers, entries["offset"])

    def info(self) -> Info:
        """The contents of the folder."""
        with self._lock:
            if self._writer is not None:
                self._writer.flush()
            return info(self.folder, self.max_bytes)

    def clear(self) -> Freed:
        """Remove everything that no running process is writing."""
        with self._lock:
            self.close()
            return prune(self.folder, 0)

    def prune(self, max_bytes: int) -> Freed:
        """Remove the least recently used segments until `max_bytes` are left, but none that a
        running process writes.
        """
        with self._lock:
            return prune(self.folder, max_bytes)

    def close(self) -> None:
        """Close all files; the next call reopens what it needs."""
        with self._lock:
            if self._writer is not None:
                try:
                    self._writer.close()
                except OSError as error:
                    self._say(f"{self.folder}: {reason(error, self.folder)}")
            self._drop_files()
            self._begin()

    def end(self) -> None:
        """Close for good: later calls find nothing and open nothing."""
        with self._lock:
            self._ended = True
            self.close()

    def _drop_files(self) -> None:
        for descriptor in self._files.values():
            os.close(descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.end()

    def __reduce__(self) -> tuple[type[Self], tuple[Path, int, int]]:
        return type(self), (self.folder, self.max_bytes, self._level)

    def _after_fork(self) -> None:
        # Threads of the parent may have held the lock; its segment remains the parent's.
        self._lock = threading.RLock()
        if self._writer is not None:
            self._writer.abandon()
        self._drop_files()
        self._begin()


_instances: weakref.WeakSet[Keyed] = weakref.WeakSet()


def _forked() -> None:
    for instance in list(_instances):
        instance._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
