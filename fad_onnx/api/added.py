"""The clips in memory of both datasets, in order, with their names and captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ..audio.sources import AudioFile
from ..errors import OptionError
from ..pipeline.executors import Chunk


@dataclass
class Side:
    """The results for the clips of one side so far.

    Parameters
    ----------
    chunks : list of Chunk
        Results of the clips, without their samples.
    names : dict of str to bool
        For each name, whether it is a number that was given to a clip without a name.
    next : int
        The number for the next clip without a name.
    """

    chunks: list[Chunk] = field(default_factory=list)
    names: dict[str, bool] = field(default_factory=dict)
    next: int = 0

    def named(self, names: Sequence[str] | None, count: int) -> list[str]:
        """The names for this many new clips.

        Raises
        ------
        OptionError
            If a name is taken, or given twice.
        """
        if names is None:
            names = [str(self.next + index) for index in range(count)]
        seen = set(self.names)
        for name in names:
            if name in seen:
                raise OptionError("names", f"{name!r} is taken; give each clip a name of its own")
            seen.add(name)
        return list(names)

    def add(self, chunks: Sequence[Chunk], names: Sequence[str], *, numbered: bool) -> None:
        """Add the results for clips of these names."""
        self.chunks += map(_without_samples, chunks)
        self.names |= dict.fromkeys(names, numbered)
        self.next += len(names)

    def join(self, other: Side) -> None:
        """Add the clips of another side; OptionError if both have a clip of the same name."""
        self.named(list(other.names), len(other.names))
        self.chunks += other.chunks
        self.names |= other.names
        self.next = max(self.next, other.next)

    def moved(self, by: int) -> Side:
        """This side, with the numbers of clips without a name raised."""
        chunks = [
            replace(chunk, files=tuple(
                replace(one, file=self._moved(one.file, by)) for one in chunk.files
            ))
            for chunk in self.chunks
        ]  # fmt: skip
        names = {self.moved_name(name, by): numbered for name, numbered in self.names.items()}
        return Side(chunks, names, self.next + by)

    def moved_name(self, name: str, by: int) -> str:
        """The name of a clip after its number was raised."""
        return str(int(name) + by) if self.names[name] else name

    def _moved(self, file: AudioFile, by: int) -> AudioFile:
        name = self.moved_name(file.name, by)
        return AudioFile(name, name)

    def copy(self) -> Side:
        """An independent copy of this side."""
        return Side(list(self.chunks), dict(self.names), self.next)


@dataclass
class Added:
    """The clips of both sides.

    Parameters
    ----------
    sides : dict of bool to Side
        True is the reference.
    captions : dict of str to str
        The captions of evaluation clips, by the names of the clips.
    """

    sides: dict[bool, Side] = field(default_factory=lambda: {True: Side(), False: Side()})
    captions: dict[str, str] = field(default_factory=dict)

    def copy(self) -> Added:
        """An independent copy."""
        sides = {real: side.copy() for real, side in self.sides.items()}
        return Added(sides, dict(self.captions))

    def join(self, other: Added) -> None:
        """Add the clips of another process, whose numbers come after these on both sides."""
        by = max(side.next for side in self.sides.values())
        for real, side in self.sides.items():
            side.join(other.sides[real].moved(by))
        fake = other.sides[False]
        self.captions |= {fake.moved_name(n, by): text for n, text in other.captions.items()}


def _without_samples(chunk: Chunk) -> Chunk:
    files = (replace(one, file=AudioFile(one.file.path, one.file.name)) for one in chunk.files)
    return replace(chunk, files=tuple(files))
