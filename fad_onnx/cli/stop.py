"""Signals that end a run, after temporary files are removed and the cache is closed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import NoReturn

from .streams import note

Handler = Callable[[int, FrameType | None], object]

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP")
           if hasattr(signal, name)]  # fmt: skip
# Longer than any clean-up takes; code that swallows the exception must not keep the process alive.
GRACE_SECONDS = 10.0


class Stopped(KeyboardInterrupt):
    """A signal arrived; `number` is its number."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def on_signals(handler: Handler) -> None:
    """Install `handler` for all signals that are not already ignored, as nohup does."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def unwind(number: int, _: FrameType | None) -> NoReturn:
    """Raise Stopped in the main thread, once, and make sure that the process ends."""
    import _thread

    came = time.monotonic()

    def again(number: int, _: FrameType | None) -> None:
        # Terminals, `timeout` and task runners may send the same signal twice in a row.
        if time.monotonic() - came > 1:
            leave(number)

    on_signals(again)
    with suppress(RuntimeError):  # if no thread can start, nothing enforces the grace period
        _thread.start_new_thread(_leave_later, (number,))
    raise Stopped(number)


def _leave_later(number: int) -> None:
    time.sleep(GRACE_SECONDS)
    leave(number)


def leave(number: int, _: FrameType | None = None) -> NoReturn:
    """Exit immediately, with the exit code that shells use for the signal."""
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    note(
        f"\nfad-onnx: {what}; finished embeddings are in the cache"
        " (unless --no-cache), and the next run continues from there"
    )
    # Threads inside a network run cannot be stopped; waiting for them could take minutes.
    os._exit(128 + number)
