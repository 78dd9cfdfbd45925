"""The command line: arguments in, results on stdout, progress and errors on stderr.

The only package here that prints. Exit codes: 0 done, 1 an error of the data or the machine,
2 usage, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from ..errors import FadError
from .parser import build


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    options = build().parse_args(arguments)
    from . import commands

    try:
        getattr(commands, options.command.replace("-", "_"))(options)
        sys.stdout.flush()
    except FadError as error:
        print(f"fad-onnx: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # The reader of our output is gone; nothing more can be said, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return 0


def entry() -> None:
    """The console script: as `main`, but an interrupt ends at once."""
    try:
        code = main()
    except KeyboardInterrupt:
        print(
            "\nfad-onnx: interrupted; embeddings finished so far are in the cache"
            " (unless --no-cache) and the next run goes on from there",
            file=sys.stderr,
        )
        sys.stderr.flush()
        # Threads inside a network run cannot be stopped; waiting for them could take minutes.
        os._exit(130)
    sys.exit(code)
