"""The clips of an archive, from its members; nothing is unpacked to disk."""

from __future__ import annotations

import posixpath
from collections import Counter

from ...errors import NoAudioError, SourceError
from .listing import (
    AudioFile,
    Listing,
    Part,
    Unusable,
    counted,
    in_order,
    is_audio,
    is_hidden,
    suffix_of,
)

# More clips than any shard has; each takes some hundred bytes of memory.
MOST_MEMBERS = 2_000_000
NAME_CHARACTERS = 4096

TWICE = "two members have this name, and nothing tells which one is meant"


class Members:
    """The members of an archive so far."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._parts: dict[str, Part] = {}
        self._others, self._links, self._found = Counter[str](), 0, 0
        self._damage: list[Part] = []

    def add(self, name: str, part: Part) -> None:
        """Add a regular file of this name."""
        self._count()
        name = posixpath.normpath(name.lstrip("/"))
        if is_hidden(name) and ".." not in name.split("/"):
            return
        suffix = suffix_of(name)
        if not is_audio(suffix):
            self._others[suffix] += 1
        elif len(name) > NAME_CHARACTERS:
            self.damaged(f"a member has a name of {len(name)} characters")
        else:
            self._parts[name] = _checked(name, part, name in self._parts)

    def add_link(self) -> None:
        """Count a link or device, which is never followed."""
        self._count()
        self._links += 1

    def _count(self) -> None:
        self._found += 1
        if self._found > MOST_MEMBERS:
            raise SourceError(
                self.path, f"has more than {MOST_MEMBERS} members: cut it into shards"
            )

    def damaged(self, reason: str) -> None:
        """Add an unusable clip for the part of the archive that cannot be read."""
        self._damage.append(Unusable(reason))

    def listing(self) -> Listing:
        """All clips; NoAudioError if there is none."""
        links = f"{self._links} links or devices" if self._links else ""
        omitted = counted(self._others, links)
        files = in_order(AudioFile(self.path, n, part=part) for n, part in self._parts.items())
        files += [AudioFile(self.path, "", part=part) for part in self._damage]
        if not files:
            raise NoAudioError(self.path, f"no audio file in it, but {omitted or 'nothing at all'}")
        return Listing(files, omitted, self._others)


def _checked(name: str, part: Part, is_second: bool) -> Part:
    if is_second:
        return Unusable(TWICE)
    if ".." in name.split("/"):
        return Unusable("its name points outside the archive")
    return part
