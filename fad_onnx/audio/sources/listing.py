"""The clips of a dataset, in order, and a count of other files."""

from __future__ import annotations

import os
from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from operator import eq
from typing import Protocol, TypeVar, overload

from ...errors import AudioError, SourceError, shown
from .. import media
from ..blobs import Blob, OnDisk
from ..remote import Whole, is_url

Item = TypeVar("Item", covariant=True)
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


class Columns(Sequence[Item]):
    """Items that are stored in columns, each created on access; a slice is a tuple of them."""

    @abstractmethod
    def item(self, index: int) -> Item:
        """The item at this place, counted from the start."""

    @overload
    def __getitem__(self, index: int) -> Item: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Item, ...]: ...

    def __getitem__(self, index: int | slice) -> Item | tuple[Item, ...]:
        places = range(len(self))[index]
        return self.item(places) if isinstance(places, int) else tuple(map(self.item, places))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or isinstance(other, str):
            return NotImplemented
        return len(self) == len(other) and all(map(eq, self, other))


class Texts(Columns[str]):
    """Texts stored end to end; each takes some 60 bytes less than as an object of its own."""

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._bytes, self._ends = bytearray(), array("q", [0])
        for text in texts:
            self.append(text)

    def append(self, text: str) -> None:
        """Add a text at the end."""
        self._bytes += text.encode("utf-8", "surrogatepass")
        self._ends.append(len(self._bytes))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def item(self, index: int) -> str:
        """The text at this place."""
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode(
            "utf-8", "surrogatepass"
        )


class AudioFiles(Columns[AudioFile]):
    """Clips in columns: there may be millions, and an AudioFile with its texts takes 200 bytes.

    What precedes the name in a path is stored once for all clips of a folder; the path of an
    archive, once for all its members.

    Parameters
    ----------
    files : iterable of AudioFile
        The clips in order. Stamps are not kept.
    """

    def __init__(self, files: Iterable[AudioFile] = ()) -> None:
        self.names = Texts()
        # The start of a path, and whether the name follows it; the index of each in their order.
        self._places: dict[tuple[str, bool], int] = {}
        self._every_place: list[tuple[str, bool]] = []
        self._place = array("q")
        self._parts: list[Part | None] = []
        for file in files:
            self.append(file)

    def append(self, file: AudioFile) -> None:
        """Add a clip at the end."""
        self.names.append(file.name)
        place = (file.path, False)
        if file.path.endswith(file.name):
            place = (file.path[: len(file.path) - len(file.name)], True)
        index = self._places.setdefault(place, len(self._every_place))
        if index == len(self._every_place):
            self._every_place.append(place)
        self._place.append(index)
        self._parts.append(file.part)

    def __len__(self) -> int:
        return len(self._parts)

    def item(self, index: int) -> AudioFile:
        """The clip at this place."""
        name = self.names.item(index)
        start, followed = self._every_place[self._place[index]]
        return AudioFile(start + name if followed else start, name, part=self._parts[index])


class Listing(AudioFiles):
    """Clips in order; `left_out` describes what was skipped, "" if nothing was.

    `others` counts by suffix the files that are neither audio nor hidden.
    """

    def __init__(
        self, files: Iterable[AudioFile], left_out: str = "", others: Counter[str] | None = None
    ) -> None:
        super().__init__(files)
        self.others = others or Counter[str]()
        self.left_out = left_out or counted(self.others)


def left_out(files: Sequence[AudioFile]) -> str:
    """A description of what was skipped when these files were listed."""
    return files.left_out if isinstance(files, Listing) else ""


def joined(listings: Iterable[Listing]) -> Listing:
    """Several listings as one, in their order."""
    every = list(listings)
    if len(every) == 1:
        return every[0]
    omitted = (one.left_out for one in every if one.left_out)
    return Listing((file for one in every for file in one), "; ".join(omitted))


def check_apart(sources: Sequence[tuple[str, Sequence[AudioFile]]]) -> None:
    """SourceError if two of these named sources of one dataset have a clip in common.

    A clip within an archive counts as the archive: two sources that share one share all of it.
    """
    if len(sources) < 2:
        return
    owners: dict[str, str] = {}
    for name, files in sources:
        own = {file.path if is_url(file.path) else os.path.abspath(file.path) for file in files}
        if twice := own & owners.keys():
            path = min(twice)
            other = "" if name == owners[path] else f" and {shown(name)}"
            both = f"{shown(owners[path])}{other}"
            raise SourceError(path, f"is in this dataset twice, through {both}; name it once")
        owners |= dict.fromkeys(own, name)


def in_order(files: Iterable[AudioFile]) -> list[AudioFile]:
    """Sort clips by name; see `order`."""
    return sorted(files, key=lambda file: order(file.name))


def order(name: str) -> bytes:
    """The key by which all kinds of datasets are sorted: folder by folder, byte by byte."""
    # A zero byte, which no path contains, sorts before all others: "a/b" before "a.wav".
    return os.fsencode(name).replace(b"/", b"\0")


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
