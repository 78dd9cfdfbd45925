"""Summaries of the clips of a dataset: the file of each clip, and some numbers about it."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

from ..audio.sources import AudioFile, AudioFiles, Columns
from ..networks.embedder import Embeddings


@dataclass(frozen=True, slots=True)
class FileSummary:
    """The result for one file, with embeddings (n, dim) for each model only on request."""

    file: AudioFile
    counts: tuple[int, ...]
    seconds: float
    source_hz: int
    skipped: str | None
    embeddings: tuple[Embeddings, ...] | None = None
    peak: float = 0.0
    mixed_peak: float = 0.0

    @property
    def name(self) -> str:
        """The name within its dataset."""
        return self.file.name

    @property
    def path(self) -> str:
        """The path of its audio."""
        return self.file.label


@dataclass(frozen=True, slots=True)
class StoredClip:
    """One clip of an embeddings file; the path of its audio is unknown."""

    name: str
    seconds: float | None

    @property
    def path(self) -> None:
        """None, because a name in a file is not a path."""
        return None


class Summaries(Columns[FileSummary]):
    """The summaries of the files that gave embeddings, in columns: some 100 bytes for a file."""

    def __init__(self, models: int) -> None:
        self.files = AudioFiles()
        self.counts = tuple(array("q") for _ in range(models))
        self.seconds, self.peaks, self.mixed_peaks = array("d"), array("d"), array("d")
        self.source_hz = array("q")

    @property
    def names(self) -> Sequence[str]:
        """The names of the files."""
        return self.files.names

    def append(self, one: FileSummary) -> None:
        """Add the result for a file that was used."""
        self.files.append(one.file)
        for column, count in zip(self.counts, one.counts, strict=True):
            column.append(count)
        self.seconds.append(one.seconds)
        self.source_hz.append(one.source_hz)
        self.peaks.append(one.peak)
        self.mixed_peaks.append(one.mixed_peak)

    def __len__(self) -> int:
        return len(self.files)

    def item(self, index: int) -> FileSummary:
        """The result for the file at this place."""
        return FileSummary(
            self.files[index],
            tuple(column[index] for column in self.counts),
            self.seconds[index],
            self.source_hz[index],
            None,
            peak=self.peaks[index],
            mixed_peak=self.mixed_peaks[index],
        )


@dataclass(frozen=True, slots=True)
class StoredClips(Sequence[StoredClip]):
    """The clips of an embeddings file, each created on access, because there may be millions."""

    names: Sequence[str]
    seconds: Sequence[float | None]

    def __len__(self) -> int:
        return len(self.names)

    @overload
    def __getitem__(self, index: int) -> StoredClip: ...

    @overload
    def __getitem__(self, index: slice) -> StoredClips: ...

    def __getitem__(self, index: int | slice) -> StoredClip | StoredClips:
        if isinstance(index, slice):
            return StoredClips(self.names[index], self.seconds[index])
        return StoredClip(self.names[index], self.seconds[index])
