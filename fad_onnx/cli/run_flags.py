"""The flags that all commands share, as keyword arguments of the library."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from ..errors import OptionError
from ..networks import table
from ..pipeline.dask import dask_executor
from ..pipeline.progress import Bars, Downloads


def named_paths(given: list[str], flag: str = "--weights") -> dict[str, str]:
    """["a.pth", "pca=b.pth", "vggish:c.pth"] -> {"main": "a.pth", "pca": "b.pth", "vggish:main":
    "c.pth"}.

    A text that is the path of an existing file is taken as the path, even with colons or signs.
    """
    named = {}
    for text in given:
        name, path = _named_path(text)
        if name in named:
            raise OptionError(flag, f"{name!r} is given twice")
        named[name] = path
    return named


def _named_path(text: str) -> tuple[str, str]:
    if os.path.exists(text):
        return "main", text
    model, colon, rest = text.partition(":")
    prefix, rest = (f"{model}:", rest) if colon and model in table.models() else ("", text)
    name, equals, path = rest.partition("=")
    if not equals or not name.isidentifier():
        name, path = "main", rest
    return prefix + name, path


@contextmanager
def run_options(options: Namespace) -> Iterator[dict[str, Any]]:
    """The options of all commands that embed, with progress bars on stderr."""
    with ExitStack() as stack:
        quiet = True if options.quiet else None
        bars = stack.enter_context(closing(Bars(quiet)))
        downloads = stack.enter_context(closing(Downloads(quiet)))
        executor = stack.enter_context(dask_executor(options.dask)) if options.dask else None
        run = {
            "options": dict(options.option),
            "protocol": options.protocol,
            "weights": named_paths(options.weights),
            "provider": options.provider,
            "device": options.device,
            "memory_limit_mb": options.gpu_memory_mb,
            "workers": options.workers,
            "short": options.short,
            "skip_errors": options.skip_errors,
            "cache": not options.no_cache,
            "cache_dir": options.cache_dir,
            "offline": options.offline,
            "executor": executor,
            "progress": bars.update,
            "download_progress": downloads.update,
        }
        yield run
