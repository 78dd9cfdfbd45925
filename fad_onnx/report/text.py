"""Names and numbers as the page shows them. The template escapes HTML."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike, fspath
from typing import Any

# Longer than the file names of usual datasets. Longer names would fill the page.
LONGEST_NAME = 300


def plain(text: str | PathLike[str]) -> str:
    """One printable line: control, direction-changing and undecodable characters as escapes.

    A name from the file system can hold line breaks, bytes that are not UTF-8 and characters
    that reverse the text after them.
    """
    shown = "".join(c if c.isprintable() else _escaped(c) for c in fspath(text))
    half = LONGEST_NAME // 2
    return shown if len(shown) <= LONGEST_NAME else f"{shown[:half]} … {shown[-half:]}"


def _escaped(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def number(value: float | None, digits: int = 4) -> str:
    """Significant digits, with a real minus sign; a dash for None. From 1e7 on, a power of ten."""
    if value is None:
        return "–"
    shown = f"{value:.{digits}g}"
    if "e+" in shown and abs(value) < 1e7:
        shown = f"{float(shown):.0f}"
    return shown.replace("-", "\N{MINUS SIGN}")


def count(value: int | None) -> str:
    """The number with narrow spaces between thousands."""
    return "–" if value is None else f"{value:,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float | None) -> str:
    """The time in seconds, minutes or hours."""
    if seconds is None:
        return "–"
    for unit, size in (("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.1f} s"


def percent(share: float) -> str:
    """A share in percent, with decimals if needed."""
    return f"{100 * share:.3g} %"


def flattened(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """(key, value) of every leaf that is set; the keys of nested mappings joined by dots."""
    rows: list[tuple[str, str]] = []
    for key, value in tree.items():
        if isinstance(value, Mapping):
            rows += flattened(value, f"{prefix}{key}.")
        elif isinstance(value, list | tuple):
            rows += [(plain(prefix + key), plain(", ".join(map(str, value))))] if value else []
        elif value is not None and value != "":
            rows.append((plain(prefix + key), plain(str(value))))
    return rows
