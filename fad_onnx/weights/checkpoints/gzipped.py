"""Files compressed with gzip, unpacked in memory up to a bound."""

from __future__ import annotations

import gzip
import io
import zlib

from .mapped import Mapped, Unpacked

MOST_BYTES = 128 * 2**20
"""The most bytes that a file may expand by; weights hardly compress."""
_CHUNK = 1 << 20


def holds(file: Mapped) -> bool:
    """Whether the file starts like a gzip file."""
    return bytes(file.data[:3]) == b"\x1f\x8b\x08"


def unpack(file: Mapped) -> Unpacked:
    """Decompress a file and compare its checksums.

    Raises CheckpointError if the file is damaged, or expands to more than its own size and
    MOST_BYTES.
    """
    file.check_whole()
    content = bytearray()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(file.data)) as stream:
            while piece := stream.read(_CHUNK):
                content += piece
                if len(content) > file.size + MOST_BYTES:
                    raise file.error(
                        f"expands to more than {MOST_BYTES >> 20} MiB beyond its {file.size}"
                        " bytes; refused as a zip bomb"
                    )
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise file.error(f"is gzip, cut short or damaged ({error}); fetch it again") from error
    return Unpacked(file, content)
