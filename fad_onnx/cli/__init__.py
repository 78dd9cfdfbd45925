"""The command line: arguments in, results on stdout, progress and errors on stderr.

This is the only package that prints. Exit codes: 0 done, 1 an error of the data or the machine,
2 usage (OptionError, UnknownModelError), 130 interrupted, 143 and 129 ended by SIGTERM and SIGHUP.
"""

from __future__ import annotations

import io
import signal
import sys
from argparse import Namespace
from collections.abc import Callable, Sequence
from pathlib import Path

from ..errors import (
    AudioError,
    FadError,
    OptionError,
    UnknownModelError,
    UnpairedError,
    printable,
)
from . import stop, streams
from .parser import build


def main(
    arguments: Sequence[str] | None = None, loaded: Callable[[], object] = lambda: None
) -> int:
    """Run one command and return its exit code; `loaded` is called when its modules are loaded."""
    streams.open_closed()
    options = None
    try:
        options = _parsed(arguments)
        from . import commands

        loaded()
        _register(getattr(options, "registered", ()))
        getattr(commands, options.command.replace("-", "_"))(options)
    except streams.ReaderGoneError:
        return 1
    except FadError as error:
        from .flags import in_flags

        skips = not getattr(options, "skip_errors", True)
        hints = (
            (AudioError, "; --skip-errors goes on without such files and lists them"),
            (UnpairedError, "; --skip-errors goes on with the pairs that there are"),
        )
        hint = next((text for kind, text in hints if skips and isinstance(error, kind)), "")
        streams.note(f"fad-onnx: {printable(in_flags(error))}{hint}")
        return 2 if isinstance(error, OptionError | UnknownModelError) else 1
    return 0


def _register(files: Sequence[str]) -> None:
    """Add the models of these files to the table."""
    if files:
        from ..networks import registration

        for file in files:
            registration.read(Path(file))


def _parsed(arguments: Sequence[str] | None) -> Namespace:
    parser = build()
    try:
        # Only a caller in Python can pass one; no path can contain it.
        if any("\0" in text for text in arguments or ()):
            parser.error("an argument holds a null character")
        return parser.parse_args(arguments)
    except SystemExit as done:
        # The output of --help or of a usage error may fail to be written.
        (streams.note if done.code else streams.say)("", end="")
        raise


def entry() -> None:
    """The console script: `main`, which a signal ends at once at any time."""
    streams.open_closed()
    # An exception inside the start of a C extension crashes it, or looks like a failed import;
    # while modules are loaded, and after the work, there is nothing to unwind anyhow.
    stop.on_signals(stop.leave)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A path that the terminal's encoding cannot show is escaped, as stderr does by default.
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        code = main(loaded=lambda: stop.on_signals(stop.unwind))
    except KeyboardInterrupt as stopped:
        stop.leave(stopped.number if isinstance(stopped, stop.Stopped) else signal.SIGINT)
    stop.on_signals(stop.leave)
    sys.exit(code)
