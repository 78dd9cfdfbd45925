"""Signals that end a run: temporary files are removed and the cache is closed, then it ends."""

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
# Longer than any cleaning up takes; what swallows an exception must not keep the process alive.
GRACE_SECONDS = 10.0


class Stopped(KeyboardInterrupt):
    """A signal came; `number` is its."""

    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__(number)


def on_signals(handler: Handler) -> None:
    """Let `handler` take them, but for those that are ignored on purpose, as with nohup."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, handler)


def unwind(number: int, _: FrameType | None) -> NoReturn:
    """Raise Stopped in the main thread, once; see that the process ends."""
    import _thread

    came = time.monotonic()

    def again(number: int, _: FrameType | None) -> None:
        # Terminals, `timeout` and task runners may send the same signal twice at once.
        if time.monotonic() - came > 1:
            leave(number)

    on_signals(again)
    with suppress(RuntimeError):  # no more threads: then nobody waits for it
        _thread.start_new_thread(_leave_later, (number,))
    raise Stopped(number)


def _leave_later(number: int) -> None:
    time.sleep(GRACE_SECONDS)
    leave(number)


def leave(number: int, _: FrameType | None = None) -> NoReturn:
    """End at once, with the exit code that shells give to the signal."""
    what = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    note(
        f"\nfad-onnx: {what}; embeddings finished so far are in the cache"
        " (unless --no-cache) and the next run goes on from there"
    )
    # Threads inside a network run cannot be stopped; waiting for them could take minutes.
    os._exit(128 + number)
