"""Embeddings on disk: an .npz with the embeddings of all clips in one array.

`embeddings` is float32 (N, dim) and `offsets` int64 (clips + 1): the embeddings of clip i are
`embeddings[offsets[i]:offsets[i + 1]]`. `names` (clips) are paths within the dataset, with "/"
between folders and escaped like a URL: every byte of the UTF-8 form that is not a letter, a digit
or one of "-_.~/ " becomes %XX. Any file name, with newlines or undecodable bytes, can therefore be
recovered with `urllib.parse.unquote`. `metadata` is a JSON object as one string.

Version 1, which can still be read, stored one array per clip under the clip's escaped name, and
the metadata under "@metadata".
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
import zipfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any, BinaryIO
from urllib.parse import quote_from_bytes, unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from ..audio.sources.listing import Texts
from ..errors import CheckpointError, DuplicateNameError, StatisticsError, shown
from ..metrics.clips import ByClip
from ..weights.checkpoints import npz
from ..weights.checkpoints.mapped import Mapped
from ..weights.checkpoints.zip_directory import Member, members
from . import outputs, statistics

METADATA = "@metadata"  # in version 1
OWN = ("embeddings", "offsets", "names", "metadata")
# Names are written in blocks of this many, each padded to the longest name.
NAMES_AT_ONCE = 4096
# An absolute path, a drive, or a step out of the folder, with the separators of any system.
_OUTSIDE = re.compile(r"[/\\]|[A-Za-z]:[/\\]|(.*[/\\])?\.\.?([/\\]|$)", re.DOTALL)

PathLike = str | os.PathLike[str]
Embeddings = NDArray[np.float32]


def escape(name: str) -> str:
    """The stored form of a clip's name."""
    return quote_from_bytes(os.fsencode(name), safe="/ ")


def unescape(text: str) -> str:
    """The clip's name from its stored form; ValueError if it points outside the dataset."""
    name = os.fsdecode(unquote_to_bytes(text))
    if not name or "\0" in name or _OUTSIDE.match(name):
        raise ValueError(f"{shown(name)} is not the name of a file within a dataset")
    return name


def holds(names: Iterable[str]) -> bool:
    """Whether an archive that holds these arrays is an embeddings file."""
    return METADATA in names or set(OWN) <= set(names)


class Clips(Mapping[str, Embeddings]):
    """A mapping from the name of a clip to its embeddings, in the order of the file."""

    def __init__(self, names: Iterable[str], by_clip: ByClip) -> None:
        self.names, self.by_clip = Texts(names), by_clip

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def __getitem__(self, name: str) -> Embeddings:
        return self.by_clip[self._places[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self.names)

    def __len__(self) -> int:
        return len(self.names)


class Writer:
    """Collects embeddings clip by clip in a temporary file, so that memory stays bounded."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw, self._dim = raw, 0
        self._names: dict[str, None] = {}
        self._offsets = array("q", [0])
        self._metadata: Mapping[str, Any] = {}

    def add(self, name: str, embeddings: Embeddings) -> None:
        """Add the embeddings of one clip; DuplicateNameError if its name was added before."""
        stored = escape(name)
        if stored in self._names:
            raise DuplicateNameError(name)
        self._names[stored] = None
        self._dim = embeddings.shape[1]
        self._raw.write(np.ascontiguousarray(embeddings, "<f4").data)
        self._offsets.append(self._offsets[-1] + len(embeddings))

    def metadata(self, values: Mapping[str, Any]) -> None:
        """Set the metadata of the whole file."""
        self._metadata = values

    def into(self, out: BinaryIO) -> None:
        """Write everything that was added as one archive."""
        shape = (self._offsets[-1], self._dim)
        with zipfile.ZipFile(out, "w") as archive:
            with _member(archive, "embeddings", "<f4", shape) as member:
                self._raw.seek(0)
                shutil.copyfileobj(self._raw, member, 1 << 20)
            with _member(archive, "offsets", "<i8", (len(self._offsets),)) as member:
                member.write(np.asarray(self._offsets, "<i8").data)
            self._write_names(archive)
            text = np.array(json.dumps(dict(self._metadata)))
            with _member(archive, "metadata", text.dtype.str, ()) as member:
                member.write(text.tobytes())

    def _write_names(self, archive: zipfile.ZipFile) -> None:
        names = list(self._names)
        dtype = f"<U{max(map(len, names), default=1)}"
        # NumPy pads every string to the longest; compression removes the padding.
        with _member(archive, "names", dtype, (len(names),), zipfile.ZIP_DEFLATED) as member:
            for start in range(0, len(names), NAMES_AT_ONCE):
                member.write(np.array(names[start : start + NAMES_AT_ONCE], dtype).tobytes())


def _member(
    archive: zipfile.ZipFile, name: str, descr: str, shape: tuple[int, ...],
    method: int = zipfile.ZIP_STORED,
) -> Any:  # fmt: skip
    """A member opened for writing, with its header written; the caller adds the elements."""
    # A fixed date, so that the same embeddings give the same bytes.
    info = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
    info.compress_type = method
    member = archive.open(info, "w", force_zip64=True)
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(member, header)
    return member


def write(path: PathLike, fill: Callable[[Writer], object]) -> None:
    """Write an embeddings file, whole or not at all; `fill` adds the clips to a Writer.

    While the file is being written, the disk holds the embeddings twice. Raises OutputError if the
    file cannot be written, and whatever `fill` raises.
    """

    def into(out: BinaryIO) -> None:
        with tempfile.TemporaryFile(dir=outputs.workspace(path)) as raw:
            writer = Writer(raw)
            fill(writer)
            writer.into(out)

    outputs.write(path, into)


def read(path: PathLike) -> tuple[Clips, dict[str, Any]]:
    """Read the embeddings of each clip, in the order written, and the metadata.

    The embeddings are mapped from the file; only those of version 1 are read into memory. Raises
    StatisticsError if it is not an embeddings file.
    """
    try:
        file = Mapped(path, npz.COST_PER_BYTE)
        found = members(file)
        first = METADATA + npz.SUFFIX in found
        names, by_clip = _version_1(file, found) if first else _version_2(file, found)
        clips = Clips(map(unescape, names), by_clip)
        if len(clips) != len(by_clip):
            raise file.error(f"{len(clips)} names for {len(by_clip)} clips")
        text = npz.describe(file, _only(found, METADATA if first else "metadata"))
        metadata = statistics.metadata_of(next(iter(text.values())).read(), path)
    except CheckpointError as error:
        raise StatisticsError(path, error.reason) from error
    except ValueError as error:
        reason = error.reason if isinstance(error, StatisticsError) else str(error)
        raise StatisticsError(path, reason) from error
    if (different := _different(clips.names)) != len(by_clip):
        problem = f"{len(by_clip)} clips have only {different} different names"
        raise StatisticsError(path, problem)
    return clips, metadata


def _different(names: Sequence[str]) -> int:
    """How many different names there are; a set of millions of names would take much memory."""
    hashes = np.fromiter(map(hash, names), np.int64, len(names))
    different = len(np.unique(hashes))
    return different if different == len(names) else len(set(names))


def _only(found: Mapping[str, Member], *names: str) -> dict[str, Member]:
    return {name + npz.SUFFIX: found[name + npz.SUFFIX] for name in names}


def _version_2(file: Mapped, found: dict[str, Member]) -> tuple[Iterable[str], ByClip]:
    if missing := [name for name in OWN if name + npz.SUFFIX not in found]:
        raise file.error(f"not an embeddings file: it lacks {', '.join(missing)}")
    described = npz.describe(file, _only(found, "embeddings", "offsets"))
    embeddings, offsets = (described[name].read() for name in ("embeddings", "offsets"))
    _check_embeddings(file, embeddings)
    if offsets.dtype != np.int64 or offsets.ndim != 1 or len(offsets) < 1:
        raise file.error(f"offsets are {offsets.dtype} {offsets.shape}, not int64 (clips+1,)")
    if offsets[0] != 0 or offsets[-1] != len(embeddings) or bool((np.diff(offsets) < 1).any()):
        raise file.error(
            f"offsets do not rise from 0 to {len(embeddings)}, the number of embeddings"
        )
    return npz.texts(file, found["names" + npz.SUFFIX]), ByClip(embeddings, offsets)


def _version_1(file: Mapped, found: dict[str, Member]) -> tuple[Iterable[str], ByClip]:
    clips = {name: member for name, member in found.items() if name != METADATA + npz.SUFFIX}
    described = npz.describe(file, clips)
    parts = [tensor.read() for tensor in described.values()]
    for part in parts:
        _check_embeddings(file, part)
    if len(widths := {part.shape[1] for part in parts}) > 1:
        raise file.error(f"embeddings have {' and '.join(map(str, sorted(widths)[:2]))} dimensions")
    offsets = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    if bool((np.diff(offsets) < 1).any()):
        raise file.error("a clip without embeddings")
    return list(described), ByClip(np.concatenate(parts or [np.zeros((0, 1), "f4")]), offsets)


def _check_embeddings(file: Mapped, array: NDArray[Any]) -> None:
    if array.dtype != np.float32 or array.ndim != 2 or array.shape[1] < 1:
        raise file.error(f"embeddings are {array.dtype} {array.shape}, not float32 (n, dim)")
