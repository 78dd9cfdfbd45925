"""Progress bars on stderr, unless quiet or not a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Self

from tqdm import tqdm

from ..errors import shown


class Bars:
    """A progress bar for each dataset and for each metric computed from it."""

    def __init__(self, quiet: bool) -> None:
        self._disable = True if quiet else None
        self._bar: Any = None
        self._name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, name: str, done: int, total: int) -> None:
        """Add `done` files or steps to the bar of this name."""
        if name != self._name or self._bar is None:
            self.__exit__()
            self._bar = tqdm(
                total=total, desc=shown(name)[-40:], unit="", disable=self._disable,
                file=sys.stderr,
            )  # fmt: skip
            self._name = name
        self._bar.update(done)


@contextmanager
def download_progress(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A function (name, bytes so far, total bytes or None) that draws a bar for each download."""
    bars: dict[str, Any] = {}

    def update(name: str, done: int, total: int | None) -> None:
        if name not in bars:
            bars[name] = tqdm(
                total=total, desc=name, unit="B", unit_scale=True, file=sys.stderr,
                disable=True if quiet else None,
            )  # fmt: skip
        bars[name].update(done - bars[name].n)

    try:
        yield update
    finally:
        for bar in bars.values():
            bar.close()
