"""The clips of a dataset: in a folder, file, list, archive or table, local or at a URL."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from ...errors import NoAudioError
from ..remote import decoded, file_part, is_folder, is_url
from . import folders, lists, parquet, patterns, tars, urls, zips
from .listing import (
    SUFFIXES,
    AudioFile,
    AudioFiles,
    Columns,
    Listing,
    check_apart,
    is_audio,
    is_hidden,
    joined,
    left_out,
    suffix_of,
)

__all__ = [
    "SUFFIXES",
    "AudioFile",
    "AudioFiles",
    "Columns",
    "Listing",
    "check_apart",
    "find",
    "joined",
    "left_out",
]

KINDS: dict[str, Callable[[str], Listing]] = {
    **dict.fromkeys(lists.READERS, lists.listed),
    **dict.fromkeys((".tar", ".tar.gz", ".tgz"), tars.listed),
    ".zip": zips.listed,
    ".parquet": parquet.listed,
}


def find(where: str | os.PathLike[str]) -> Listing:
    """The clips of a folder, list, archive, table or file, or of all that match a pattern.

    Within a source, clips are sorted by name, so the same clips give the same bits in any kind of
    source. Several sources are in the order of the pattern.

    Raises NoAudioError for a missing path or a source without audio, SourceError for a source that
    cannot be listed, and for a pattern of sources that have a clip in common. A damaged clip raises
    AudioError when it is opened.
    """
    # os.walk would turn NumPy strings, which are also buffers, into bytes.
    path = str(os.fspath(where))
    if os.path.lexists(path):
        return _source(path)
    if patterns.is_pattern(path):
        return _matching(path)
    if is_url(path):
        return _behind_url(path)
    raise NoAudioError(path, "no such file or folder")


def _source(path: str) -> Listing:
    if os.path.isdir(path):
        return folders.listed(path)
    if kind := _kind(path):
        return kind(path)
    return Listing([AudioFile(path, os.path.basename(path))])


def _behind_url(url: str) -> Listing:
    if kind := _kind(url):
        return kind(url)
    is_file = is_audio(suffix_of(file_part(url))) or not is_folder(url)
    return Listing([urls.single(url)]) if is_file else urls.listed(url)


def _kind(path: str) -> Callable[[str], Listing] | None:
    """The function that lists the clips of a file of several clips; None for other files."""
    name = os.path.basename(file_part(path)).lower()
    return next((kind for suffix, kind in KINDS.items() if name.endswith(suffix)), None)


def _matching(pattern: str) -> Listing:
    """The files that match a pattern; audio files are named by their paths within its folder."""
    files: list[AudioFile] = []
    parts: list[tuple[str, Sequence[AudioFile]]] = []
    alone: list[AudioFile] = []
    others = Counter[str]()
    top = patterns.folder_of(pattern)
    for path in patterns.matches(pattern):
        url = is_url(path)
        folder = path.endswith("/") if url else os.path.isdir(path)
        if _kind(path) or folder or not (url or os.path.lexists(path)):
            found = _behind_url(path) if url else find(path)
            parts.append((path, found))
            files += found
            others += found.others
        elif is_audio(suffix_of(file_part(path))):
            name = Path(os.path.relpath(path, top or ".")).as_posix()
            alone.append(urls.single(path, decoded(path, name)) if url else AudioFile(path, name))
            files.append(alone[-1])
        elif not is_hidden(os.path.basename(path)):
            others[suffix_of(path)] += 1
    check_apart([*parts, (pattern, alone)])
    listing = Listing(files, others=others)
    if not listing:
        raise NoAudioError(pattern, f"no audio file in it, but {listing.left_out or 'nothing'}")
    return listing
