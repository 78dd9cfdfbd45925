"""Paths that stand for open descriptors, such as /dev/stdout, and other paths without a file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PathLike = str | os.PathLike[str]


def is_stream(path: PathLike) -> bool:
    """Whether the path is a descriptor, or exists and is not a regular file."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # fails for circular links
    except FileNotFoundError:
        regular = True
    return not regular or own_descriptor(path) is not None


def own_descriptor(path: PathLike) -> int | None:
    """The open descriptor of this process that the path stands for, such as /dev/stdout.

    Opening the path instead would fail for sockets, and would write a file from its start.
    """
    owned = {os.path.realpath(folder) for folder in ("/dev/fd", "/proc/self/fd")}
    text = os.path.abspath(path)
    while True:
        folder, name = os.path.split(text)
        if os.path.realpath(folder) in owned and name.isdecimal():
            return int(name)
        if not os.path.islink(text):
            return None
        text = os.path.join(folder, os.readlink(text))


@contextmanager
def opened(path: Path, flags: int = 0) -> Iterator[int]:
    """A descriptor for writing; without O_CREAT, no file is created or truncated."""
    own = own_descriptor(path)
    flags |= os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666) if own is None else os.dup(own)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
