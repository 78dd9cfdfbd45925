"""The clips at a URL: a folder of a bucket, a page with links, or one file."""

from __future__ import annotations

import os
from collections import Counter

from ...errors import NoAudioError
from ..remote import Whole, below, decoded, file_part
from .listing import AudioFile, Listing, counted, in_order, is_audio, is_hidden, suffix_of


def listed(url: str) -> Listing:
    """The audio files below a URL, like those of a folder: sorted, without hidden ones."""
    found, others = [], Counter[str]()
    for path, name in below(url):
        if is_hidden(name) or not name:
            continue
        if is_audio(suffix := suffix_of(name)):
            found.append(AudioFile(path, name, part=Whole()))
        else:
            others[suffix] += 1
    if not found:
        omitted = counted(others) or "nothing at all"
        raise NoAudioError(url, f"no audio file below it, but {omitted}")
    return Listing(in_order(found), others=others)


def single(url: str, name: str | None = None) -> AudioFile:
    """The single file at a URL."""
    name = name or decoded(url, os.path.basename(file_part(url)))
    return AudioFile(url, name, part=Whole())
