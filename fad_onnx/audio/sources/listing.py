"""The clips of a dataset, in order, and a count of other files."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, Self

from ...errors import AudioError, shown
from .. import media
from ..blobs import Blob, OnDisk
from ..remote import Whole

# Suffixes of formats that libsndfile reads, without those that other formats use too.
SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".avr", ".bwf", ".caf", ".flac", ".ircam", ".mp1", ".mp2",
     ".mp3", ".nist", ".oga", ".ogg", ".opus", ".paf", ".pvf", ".rf64", ".snd", ".sph", ".w64",
     ".wav", ".wave", ".wve", ".xi"}
)  # fmt: skip
# Warnings name this many other suffixes and count the rest.
KINDS_NAMED = 5


class Part(Protocol):
    """The part of a file that is a clip; it is sent to workers and opened there."""

    @property
    def key(self) -> str:
        """A text that identifies the part within its file."""
        ...

    def blob(self, path: str, label: str) -> Blob:
        """The bytes; AudioError if they cannot be read."""
        ...


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A clip: the file that holds it, and its name within its dataset.

    `part` is its place in that file; None if the file is the clip. `stamp` is the size and
    modification time (ns) of the file when it was listed, so that a worker on another machine can
    tell whether it reads the same file.
    """

    path: str
    name: str
    stamp: tuple[int, int] | None = field(default=None, compare=False)
    part: Part | None = None

    @property
    def label(self) -> str:
        """The clip in messages and results: a path, or ``shard-003.tar: clip-17.flac``."""
        is_file = self.part is None or isinstance(self.part, Whole)
        return self.path if is_file or not self.name else f"{self.path}: {self.name}"

    def blob(self) -> Blob:
        """The bytes of the clip; AudioError if they cannot be read."""
        return self.part.blob(self.path, self.label) if self.part else OnDisk(self.path)


@dataclass(frozen=True, slots=True)
class Unusable:
    """A clip that is known to be unusable when listed; without a name, the rest of an archive."""

    reason: str

    @property
    def key(self) -> str:
        """The reason."""
        return self.reason

    def blob(self, path: str, label: str) -> Blob:
        """Raises AudioError, which --skip-errors skips."""
        raise AudioError(label, self.reason)


class Listing(tuple[AudioFile, ...]):
    """Clips in order; `left_out` describes what was skipped, "" if nothing was.

    `others` counts by suffix the files that are neither audio nor hidden.
    """

    left_out: str
    others: Counter[str]

    def __new__(
        cls, files: Iterable[AudioFile], left_out: str = "", others: Counter[str] | None = None
    ) -> Self:
        made = super().__new__(cls, files)
        made.others = others or Counter()
        made.left_out = left_out or counted(made.others)
        return made


def left_out(files: Sequence[AudioFile]) -> str:
    """A description of what was skipped when these files were listed."""
    return files.left_out if isinstance(files, Listing) else ""


def joined(listings: Iterable[Listing]) -> Listing:
    """Several listings as one, in their order."""
    every = list(listings)
    omitted = (one.left_out for one in every if one.left_out)
    return Listing((file for one in every for file in one), "; ".join(omitted))


def in_order(files: Iterable[AudioFile]) -> list[AudioFile]:
    """Sort clips as in all kinds of datasets: by name, folder by folder, byte by byte."""
    # A zero byte, which no path contains, sorts before all others: "a/b" before "a.wav".
    return sorted(files, key=lambda file: os.fsencode(file.name).replace(b"/", b"\0"))


def suffix_of(name: str) -> str:
    """The suffix in lower case; only its end if it is overlong."""
    return os.path.splitext(name)[1].lower()[-16:]


def is_hidden(name: str) -> bool:
    """Whether the last part of a name, or a folder above it, is hidden."""
    return any(part.startswith(".") for part in name.split("/"))


def is_audio(suffix: str) -> bool:
    """Whether files of this suffix, in lower case, are searched for."""
    return suffix in SUFFIXES or (suffix in media.SUFFIXES and media.is_installed())


def counted(others: Counter[str], *more: str) -> str:
    """The skipped files, counted by suffix, most frequent first; and other skipped entries."""
    said = []
    if others:
        kinds = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))
        named = [f"{n} {shown(kind) if kind else 'without'}" for kind, n in kinds[:KINDS_NAMED]]
        rest = sum(n for _, n in kinds[KINDS_NAMED:])
        named += [f"{rest} others"] if rest else []
        more_read = sum(n for kind, n in others.items() if kind in media.SUFFIXES)
        hint = f"; {media.PIP} reads {more_read} of them" if more_read else ""
        said.append(f"{others.total()} files of other suffixes ({', '.join(named)}{hint})")
    return " and ".join([*said, *filter(None, more)])
