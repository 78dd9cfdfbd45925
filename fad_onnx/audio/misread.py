"""Files that libsndfile reads wrongly, as other decoders show."""

from __future__ import annotations

import re

import soundfile

# VOC: block headers are read as samples. 8SVX: so is a byte of padding, and channels are in
# sequence. SDS and PAF: the last samples are missing; in PAF, channels are mixed up.
CONTAINERS = frozenset({"VOC", "SVX", "SDS"})
SUBTYPES = frozenset({("PAF", "PCM_24")})
# In an extensible W64 (as ffmpeg writes it) every subformat, also floats, is read as integers; the
# log of libsndfile gives the subformat, 1 for integers.
_NO_INTEGERS = re.compile(r"esf_field1 : 0x(?!1$)", re.MULTILINE)


def why(file: soundfile.SoundFile) -> str | None:
    """The kind of this file if it is read wrongly, else None."""
    if file.format in CONTAINERS or (file.format, file.subtype) in SUBTYPES:
        return f"{file.format} {file.subtype}"
    if file.format == "W64" and _NO_INTEGERS.search(file.extra_info):
        return "W64 of this encoding"
    return None
