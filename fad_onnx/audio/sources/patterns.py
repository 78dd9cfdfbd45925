"""Several files by one pattern: ``shards/{000..099}.tar``, ``data/*.wav``, ``data/**/*.wav``."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator

from ...errors import NoAudioError, SourceError
from ..remote import globbed, is_http, is_url

MOST_FILES = 100_000
_BRACES = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(-?\d+)\.\.(-?\d+)")
_MAGIC = re.compile(r"[*?\[]")


def is_pattern(path: str) -> bool:
    """Whether a path that does not exist may be a pattern."""
    return bool(_BRACES.search(path)) or _is_glob(path)


def _is_glob(path: str) -> bool:
    # In a web URL, the part after the question mark is the query.
    return "*" in path if is_http(path) else bool(_MAGIC.search(path))


def expanded(pattern: str) -> Iterator[str]:
    """The text with every group of braces replaced, as bash does: ranges and alternatives.

    Raises SourceError for more than MOST_FILES.
    """
    found = _BRACES.search(pattern)
    if not found:
        yield pattern
        return
    for own in _alternatives(pattern, found[1]):
        yield from expanded(pattern[: found.start()] + own + pattern[found.end() :])


def _alternatives(pattern: str, text: str) -> list[str]:
    if not (found := _RANGE.fullmatch(text)):
        return text.split(",")
    first, last = int(found[1]), int(found[2])
    if abs(last - first) >= MOST_FILES:
        raise SourceError(pattern, f"means more than {MOST_FILES} files")
    is_padded = any(re.match(r"-?0\d", end) for end in found.groups())
    width = max(map(len, found.groups())) if is_padded else 0
    step = 1 if last >= first else -1
    return [f"{number:0{width}}" for number in range(first, last + step, step)]


def matches(pattern: str) -> list[str]:
    """The files that match a pattern, in order; NoAudioError if a part of it matches none."""
    found: list[str] = []
    for text in expanded(pattern):
        own = _globbed(text) if _is_glob(text) and not os.path.lexists(text) else [text]
        found += own
        if len(found) > MOST_FILES:
            raise SourceError(pattern, f"means more than {MOST_FILES} files")
    return list(dict.fromkeys(found))


def _globbed(text: str) -> list[str]:
    every = globbed(text) if is_url(text) else glob.glob(text, recursive=True)
    found = sorted(every, key=lambda path: os.fsencode(path).split(b"/"))
    if found and "**" in text:
        # A folder below another one that matches would be counted twice.
        found = [path for path in found if not (path.endswith("/") or os.path.isdir(path))]
        if not found:
            raise NoAudioError(text, "only folders match it; end it with /** to name their files")
    if not found:
        raise NoAudioError(text, "no file matches it")
    return found


def folder_of(pattern: str) -> str:
    """The common folder of all files of a pattern."""
    fixed = re.split(r"[*?\[{]", pattern, maxsplit=1)[0]
    return os.path.dirname(fixed)
