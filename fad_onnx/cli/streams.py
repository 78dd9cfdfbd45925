"""Results go to stdout and everything else to stderr, even if either is closed."""

from __future__ import annotations

import errno
import os
import sys
from typing import TextIO

from ..errors import OutputError


def open_closed() -> None:
    """Redirect closed standard streams (`>&-`, pythonw) to the null device.

    Otherwise the next file to be opened would get the descriptor of the stream, and libraries
    would print into it.
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
    """The reader of stdout has closed it, as in `| head`; this is not a failure."""


def say(text: str, end: str = "\n") -> None:
    """Print a result on stdout and flush it; OutputError if it cannot be written."""
    try:
        print(text, end=end, flush=True)
    except OSError as error:
        _abandon(sys.stdout)
        gone = error.errno == (errno.EINVAL if os.name == "nt" else errno.EPIPE)
        kind = ReaderGoneError if gone else OutputError
        raise kind("standard output", (error.strerror or str(error)).lower()) from error


def note(text: str, end: str = "\n") -> None:
    """Print a line on stderr."""
    try:
        print(text, end=end, file=sys.stderr, flush=True)
    except OSError:
        # There is no stream left to report this on.
        _abandon(sys.stderr)


def _abandon(stream: TextIO) -> None:
    """Discard the buffer of a stream, so that flushing it at exit does not fail."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
