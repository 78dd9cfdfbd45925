"""The actual kind of a file with a misleading name, by its first bytes."""

from __future__ import annotations

_PAGE = "is a web page: the download was answered by a page, fetch it again"
_POINTER = "is a Git LFS pointer, not the file itself: run git lfs pull, or download it"
# Formats that often have the suffix of audio that can be read.
_MEDIA = {
    b"#!AMR": "AMR",
    b"wvpk": "WavPack",
    b"MAC ": "Monkey's Audio",
}
# The first packet of an Ogg file, after the 28 bytes of its page header.
_OGG = {b"\x7fFLAC": "FLAC in Ogg", b"Speex": "Speex", b"\x80theora": "video in Ogg"}
_CONTAINERS = {b"PK\x03\x04": "a zip archive", b"\x1f\x8b": "a gzip archive", b"\x93NUMPY": "NumPy"}
_APPLE_DOUBLE = b"\x00\x05\x16\x07"


def known(start: bytes) -> str | None:
    """What replaced the file, such as a web page; None if nothing known starts like this."""
    if start.lstrip()[:1] == b"<":
        return _PAGE
    return _POINTER if start.startswith(b"version https://git-lfs") else None


def not_audio(start: bytes) -> str | None:
    """The kind of a file that starts like this, if it is no readable audio; else None."""
    if start.startswith(_APPLE_DOUBLE):
        return "is what macOS keeps for a file (AppleDouble), not the file itself"
    media = [kind for magic, kind in _MEDIA.items() if start.startswith(magic)]
    if start.startswith(b"OggS"):
        media = [kind for magic, kind in _OGG.items() if start[28:].startswith(magic)]
    other = [kind for magic, kind in _CONTAINERS.items() if start.startswith(magic)]
    if media:
        return _convert(media[0])
    return f"is {other[0]}, not audio" if other else known(start)


def _convert(kind: str) -> str:
    return f"is {kind}, which is not read here: convert it, ffmpeg -i FILE out.wav"
