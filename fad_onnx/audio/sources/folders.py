"""The audio files below a folder."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from ...errors import NoAudioError, shown
from .listing import AudioFile, Listing, counted, in_order, is_audio, suffix_of


def listed(top: str) -> Listing:
    """The audio files of a folder: recursively, sorted, without hidden ones.

    Links to files are followed. Links to folders are not, to avoid cycles; those links and files
    with other suffixes are counted in `left_out`. Entries with an audio suffix that are not regular
    files are listed here and fail when they are opened.

    Raises NoAudioError for a folder without audio.
    """
    found, others, linked = [], Counter[str](), []
    for folder, folders, files in os.walk(top, onerror=_unlistable):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (os.path.join(folder, name) for name in folders)
        linked += [path for path in paths if os.path.islink(path)]
        for name in files:
            suffix = suffix_of(name)
            if is_audio(suffix) and not name.startswith("."):
                path = os.path.join(folder, name)
                found.append(AudioFile(path, Path(os.path.relpath(path, top)).as_posix()))
            elif not name.startswith("."):
                others[suffix] += 1
    links = f"{len(linked)} links to folders, as {shown(min(linked))}" if linked else ""
    omitted = counted(others, links)
    if not found:
        raise NoAudioError(top, f"no audio file in it, but {omitted or 'nothing at all'}")
    return Listing(in_order(found), omitted)


def _unlistable(error: OSError) -> None:
    raise NoAudioError(error.filename or "?", error.strerror or str(error)) from error
