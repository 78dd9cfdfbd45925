"""The audio files of a folder, in order, and a count of what else was in it."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from ..errors import NoAudioError, shown

# Suffixes of the formats that libsndfile reads and that name nothing but audio.
SUFFIXES = frozenset(
    {".aif", ".aifc", ".aiff", ".au", ".avr", ".bwf", ".caf", ".flac", ".ircam", ".mp1", ".mp2",
     ".mp3", ".nist", ".oga", ".ogg", ".opus", ".paf", ".pvf", ".rf64", ".snd", ".sph", ".w64",
     ".wav", ".wave", ".wve", ".xi"}
)  # fmt: skip
# Warnings name this many other suffixes and count the rest.
KINDS_NAMED = 5


@dataclass(frozen=True)
class AudioFile:
    """An audio file and its name within its dataset.

    `stamp` is its size and modification time (ns) when it was listed, so that a worker on another
    machine can tell whether it reads the same file.
    """

    path: str
    name: str
    stamp: tuple[int, int] | None = field(default=None, compare=False)


class Listing(tuple[AudioFile, ...]):
    """Audio files in order; `left_out` describes what was skipped, "" if nothing was."""

    left_out: str

    def __new__(cls, files: Iterable[AudioFile], left_out: str = "") -> Self:
        made = super().__new__(cls, files)
        made.left_out = left_out
        return made


def left_out(files: Sequence[AudioFile]) -> str:
    """A description of what was skipped when these files were listed."""
    return files.left_out if isinstance(files, Listing) else ""


def find(where: str | os.PathLike[str]) -> Listing:
    """List the audio files of a folder (recursively, sorted, without hidden ones), or one file.

    Links to files are followed. Links to folders are not, to avoid cycles; those links and files
    with other suffixes than SUFFIXES are counted in `left_out`. Entries with an audio suffix that
    are not regular files are listed here and fail when they are opened.

    Raises NoAudioError for a missing path or a folder without audio.
    """
    # os.walk would turn NumPy strings, which are also buffers, into bytes.
    top = str(os.fspath(where))
    if not os.path.lexists(top):
        raise NoAudioError(top, "no such file or folder")
    if not os.path.isdir(top):
        return Listing([AudioFile(top, os.path.basename(top))])
    found, others, linked = [], Counter[str](), []
    for folder, folders, files in os.walk(top, onerror=_unlistable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(folder, name) for name in folders)
        linked += [path for path in paths if os.path.islink(path)]
        for name in files:
            suffix = os.path.splitext(name)[1].lower()
            if suffix in SUFFIXES and not name.startswith("."):
                path = os.path.join(folder, name)
                found.append(AudioFile(path, Path(os.path.relpath(path, top)).as_posix()))
            elif not name.startswith("."):
                others[suffix] += 1
    omitted = _counted(others, linked)
    if not found:
        raise NoAudioError(top, f"no audio file in it, but {omitted or 'nothing at all'}")
    return Listing(sorted(found, key=lambda file: os.fsencode(file.name).split(b"/")), omitted)


def _counted(others: Counter[str], linked: list[str]) -> str:
    """The files that were skipped, counted by suffix, most frequent first; and links to folders."""
    said = []
    if others:
        kinds = sorted(others.items(), key=lambda kind: (-kind[1], kind[0]))
        named = [f"{n} {shown(kind) if kind else 'without'}" for kind, n in kinds[:KINDS_NAMED]]
        rest = sum(n for _, n in kinds[KINDS_NAMED:])
        named += [f"{rest} others"] if rest else []
        said.append(f"{others.total()} files of other suffixes ({', '.join(named)})")
    if linked:
        said.append(f"{len(linked)} links to folders, as {shown(min(linked))}")
    return " and ".join(said)


def _unlistable(error: OSError) -> None:
    raise NoAudioError(error.filename or "?", error.strerror or str(error)) from error
