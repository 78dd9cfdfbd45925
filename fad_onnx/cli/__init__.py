"""The command line: arguments in, results on stdout, progress and errors on stderr.

The only package here that prints. Exit codes: 0 done, 1 an error of the data or the machine,
2 usage, 130 interrupted.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ..errors import AudioError, FadError
from .parser import build


def main(
    arguments: Sequence[str] | None = None, loaded: Callable[[], object] = lambda: None
) -> int:
    """Run one command and return its exit code; `loaded` is called when its modules are."""
    options = build().parse_args(arguments)
    from . import commands

    loaded()
    try:
        getattr(commands, options.command.replace("-", "_"))(options)
        sys.stdout.flush()
    except FadError as error:
        skip = isinstance(error, AudioError) and not getattr(options, "skip_errors", True)
        hint = "; --skip-errors goes on without such files and lists them" if skip else ""
        print(f"fad-onnx: {error}{hint}", file=sys.stderr)
        return 1
    except OSError as error:
        gone = errno.EINVAL if os.name == "nt" else errno.EPIPE
        if error.errno != gone:
            raise
        # The reader of our output is gone; nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def entry() -> None:
    """The console script: as `main`, but an interrupt ends at once, whenever it comes."""
    # KeyboardInterrupt inside the start of a C extension crashes it, or looks like a failed
    # import; while modules are loaded, and after the work, there is nothing to unwind anyhow.
    signal.signal(signal.SIGINT, _leave)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path that the terminal's encoding cannot show is escaped, as stderr does by default.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main(loaded=lambda: signal.signal(signal.SIGINT, signal.default_int_handler))
    except KeyboardInterrupt:
        _leave()
    signal.signal(signal.SIGINT, _leave)
    sys.exit(code)


def _leave(*_: object) -> NoReturn:
    print(
        "\nfad-onnx: interrupted; embeddings finished so far are in the cache"
        " (unless --no-cache) and the next run goes on from there",
        file=sys.stderr,
        flush=True,
    )
    # Threads inside a network run cannot be stopped; waiting for them could take minutes.
    os._exit(130)
