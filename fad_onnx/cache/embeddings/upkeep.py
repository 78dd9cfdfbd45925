"""The contents of a folder of segments, and their removal."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ..filesystem import guarded, hold
from .segments import Segment, segments


@dataclass(frozen=True)
class Info:
    """The contents of a folder."""

    folder: Path
    values: int
    bytes: int
    segments: int
    max_bytes: int


@dataclass(frozen=True)
class Freed:
    """Removed bytes and segments, and the number kept because a process writes them."""

    bytes: int
    segments: int
    in_use: int


def info(folder: Path, max_bytes: int) -> Info:
    """Count segments and bytes. Raises CacheError if the folder cannot be read."""
    values = size = count = 0
    with guarded(folder):
        for path in segments(folder):
            with suppress(FileNotFoundError):
                values += len(Segment(path).news())
                size, count = size + _size(path), count + 1
    return Info(folder, values, size, count, max_bytes)


def prune(folder: Path, max_bytes: int) -> Freed:
    """Remove the least recently used segments until `max_bytes` are left, but none that a
    running process writes. Raises CacheError if the folder cannot be read or written.
    """
    freed = removed = in_use = 0
    with guarded(folder):
        found = sorted((_date(path), path, _size(path)) for path in segments(folder))
        total = sum(size for *_, size in found)
        for _, path, size in found:
            if total - freed <= max_bytes:
                break
            if _remove(path):
                freed, removed = freed + size, removed + 1
            else:
                in_use += 1
    return Freed(freed, removed, in_use)


def _date(path: Path) -> float:
    with suppress(FileNotFoundError):
        return path.stat().st_mtime
    return 0.0


def _size(path: Path) -> int:
    """Bytes of a segment and its index."""
    total = 0
    for each in (path, path.with_suffix(".idx")):
        with suppress(FileNotFoundError):
            total += each.stat().st_size
    return total


def _remove(path: Path) -> bool:
    """Remove a segment and its index, unless a process writes it."""
    try:
        descriptor = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    except FileNotFoundError:
        return True
    try:
        if hold(descriptor) is False:
            return False
        if os.name != "nt":
            path.unlink(missing_ok=True)
    finally:
        os.close(descriptor)
    try:
        path.unlink(missing_ok=True)
    except PermissionError:
        return False  # Windows keeps open files
    path.with_suffix(".idx").unlink(missing_ok=True)
    return True
