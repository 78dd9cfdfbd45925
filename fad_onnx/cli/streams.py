"""What is printed: results on stdout, everything else on stderr, whether or not they are open."""

from __future__ import annotations

import errno
import os
import sys
from typing import TextIO

from ..errors import OutputError


def open_closed() -> None:
    """Lead streams that are closed (`>&-`, pythonw) nowhere.

    Else the next file that is opened would be the stream's, and libraries would print into it.
    """
    descriptor = os.open(os.devnull, os.O_RDWR)
    while descriptor <= 2:
        os.set_inheritable(descriptor, True)
        descriptor = os.dup(descriptor)
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115


class ReaderGoneError(OutputError):
    """Nobody reads our stdout any more, as behind `| head`: nothing is wrong."""


def say(text: str, end: str = "\n") -> None:
    """A result on stdout, at once; OutputError if it cannot be written."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        _abandon(sys.stdout)
        gone = error.errno == (errno.EINVAL if os.name == "nt" else errno.EPIPE)
        kind = ReaderGoneError if gone else OutputError
        raise kind("standard output", (error.strerror or str(error)).lower()) from error


def note(text: str, end: str = "\n") -> None:
    """A line on stderr, for whoever watches."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except OSError:
        # There is nobody left who could be told.
        _abandon(sys.stderr)


def _abandon(stream: TextIO) -> None:
    """Let what the stream still holds go nowhere, so that the interpreter's exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
