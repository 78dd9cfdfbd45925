"""Progress bars on stderr or in a notebook, for datasets, steps and downloads."""

from __future__ import annotations

import sys
from typing import Any

from ..errors import shown


class Bars:
    """A bar for each dataset or step, one after the other.

    Parameters
    ----------
    disable : bool or None
        True draws none; None draws none unless stderr is a terminal.
    """

    def __init__(self, disable: bool | None = False) -> None:
        self._disable, self._name = disable, ""
        self._bar: Any = None

    def update(self, name: str, done: int, total: int) -> None:
        """Advance the bar of a dataset or step."""
        if name != self._name or self._bar is None:
            self.close()
            self._bar = _bar(self._disable, total=total, desc=shown(name)[-40:], unit="")
            self._name = name
        self._bar.update(done)
        if self._bar.n >= total:
            self.close()

    def close(self) -> None:
        """End the last bar."""
        if self._bar is not None:
            self._bar.close()
        self._bar = None


class Downloads:
    """A bar for each file that is fetched; `disable` as for `Bars`."""

    def __init__(self, disable: bool | None = False) -> None:
        self._disable = disable
        self._bars: dict[str, Any] = {}

    def update(self, name: str, done: int, total: int | None) -> None:
        """Show the bytes of a file so far, and the total if it is known."""
        if name not in self._bars:
            self._bars[name] = _bar(
                self._disable, total=total, desc=name, unit="B", unit_scale=True
            )  # fmt: skip
        self._bars[name].update(done - self._bars[name].n)
        if done == total:
            self._bars[name].close()

    def close(self) -> None:
        """End all bars."""
        for bar in self._bars.values():
            bar.close()


def _bar(disable: bool | None, **settings: Any) -> Any:
    from tqdm.auto import tqdm  # imports asyncio, so import it only for a bar

    return tqdm(disable=disable, file=sys.stderr, **settings)
