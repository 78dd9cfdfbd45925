"""What libsndfile opens and reads, but wrongly, as other decoders show."""

from __future__ import annotations

import re

import soundfile

# VOC: the heads of its blocks count as samples. 8SVX: a byte of padding does, and its channels are
# one behind the other. SDS and PAF: the last samples go, of PAF the channels are mixed up.
CONTAINERS = frozenset({"VOC", "SVX", "SDS"})
SUBTYPES = frozenset({("PAF", "PCM_24")})
# Of an extensible W64 (ffmpeg writes them so) every subformat, as floats, is read as integers; the
# log of libsndfile names it, 1 for integers.
_NO_INTEGERS = re.compile(r"esf_field1 : 0x(?!1$)", re.MULTILINE)


def why(file: soundfile.SoundFile) -> str | None:
    """What is read wrongly of this file, or None."""
    if file.format in CONTAINERS or (file.format, file.subtype) in SUBTYPES:
        return f"{file.format} {file.subtype}"
    if file.format == "W64" and _NO_INTEGERS.search(file.extra_info):
        return "W64 of this encoding"
    return None
