"""Sets on disk: which path is one, what it holds, whether two compare, parts into a whole."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import IncompatibleStatisticsError, OptionError, StatisticsError, UnknownModelError
from ..metrics.frechet import Gaussian
from ..metrics.moments import Moments
from ..networks import version_1
from ..networks.selection import select
from ..networks.spec import ModelSpec
from ..pipeline import datasets, provenance
from ..pipeline.datasets import Dataset
from ..pipeline.executors import StoredClip, fold
from . import embeddings, outputs, shards, statistics

PathLike = str | os.PathLike[str]
Plain = str | int | float | bool | None
# Of what is read from a file's metadata.
KINDS: Mapping[str, Any] = {
    **dict.fromkeys(("model", "label", "output", "fingerprint", "tensors_sha256"), str),
    **dict.fromkeys(("name", "licence", "note", "left_out"), str),
    **dict.fromkeys(("options", "protocol", "weights", "shard"), dict),
    **dict.fromkeys(("largest_file", "loudest_file"), dict),
    **dict.fromkeys(("files", "embeddings", "lowest_source_hz"), int),
    **dict.fromkeys(("files_skipped", "files_padded", "files_below_rate"), int),
    **dict.fromkeys(("files_loud", "files_silent"), int),
    "seconds": int | float,
    "file_seconds": list,
}
NESTED: Mapping[str, Mapping[str, Any]] = {
    "protocol": {
        "protocol": str | None,
        "dimension": int | None,
        "sample_rate_hz": int | None,
        **dict.fromkeys(("network", "output", "preparation"), dict | None),
        **dict.fromkeys(provenance.RECORDED, str | list | None),
    },
    "protocol.output": {"width": int | None},
    "protocol.preparation": {"sample_rate_hz": int | None, "sample_format": str | None},
    "shard": {"part": int, "of": int, "list_sha256": str},
    "largest_file": {"name": str, "embeddings": int},
    "loudest_file": {"name": str, "peak": int | float},
}


def is_archive(path: PathLike) -> bool:
    """Whether a path means statistics or embeddings rather than audio."""
    return os.fspath(path).endswith((".npz", ".npy")) and not os.path.isdir(path)


def holds_rows(path: PathLike) -> bool:
    """Whether a path means audio or embeddings rather than statistics alone."""
    return not is_archive(path) or embeddings.holds(statistics.names(path))


def read_set(path: PathLike, key: str | None = None) -> Dataset:
    """A set from a file that `stats` or `embed` wrote, or from foreign statistics.

    Raises StatisticsError.
    """
    if embeddings.holds(statistics.names(path)):
        clips, stored_metadata = embeddings.read(path)
        metadata = _current(stored_metadata)
        _check(metadata, path, len(clips.by_clip.embeddings))
        return _embedded(os.fspath(path), clips, metadata)
    stored = statistics.load(path, key)
    metadata = _current(stored.metadata)
    count = stored.moments.count if isinstance(stored.moments, Moments) else None
    _check(metadata, path, count)
    warnings = datasets.warnings(os.fspath(path), metadata)
    if stored.foreign:
        warnings = (f"{os.fspath(path)}: foreign statistics, nothing says how they were made",)
    return Dataset(os.fspath(path), stored.moments, metadata, warnings=warnings)


def _current(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """The metadata under the names of today: embeddings were called rows in version 1."""
    if "rows" not in metadata or "embeddings" in metadata:
        return dict(metadata)
    made = {**metadata, "embeddings": metadata["rows"]}
    del made["rows"]
    largest = made.get("largest_file")
    if isinstance(largest, dict) and "rows" in largest:
        made["largest_file"] = {"name": largest.get("name"), "embeddings": largest["rows"]}
    return made


def _check(metadata: Mapping[str, Any], path: PathLike, count: int | None) -> None:
    """StatisticsError unless what is used of a file's metadata is of the kind that it should be."""
    wrong = [key for key, kind in KINDS.items() if not _is(metadata.get(key), kind | None)]
    for outer, kinds in NESTED.items():
        inner: Any = metadata
        for key in outer.split("."):
            inner = inner.get(key) if isinstance(inner, dict) else None
        if isinstance(inner, dict):
            wrong += [f"{outer}.{key}" for key, kind in kinds.items()
                      if not _is(inner.get(key), kind)]  # fmt: skip
            several = (value for value in inner.values() if isinstance(value, list))
            wrong += [outer for value in several if not all(_is(one, Plain) for one in value)]
    if wrong:
        raise StatisticsError(path, f"metadata: {wrong[0]} is not of the kind that it should be")
    if metadata.get("embeddings") not in (None, count):
        raise StatisticsError(
            path, f"metadata: {metadata['embeddings']} embeddings, the file holds {count}"
        )


def _is(value: object, kind: Any) -> bool:
    """Whether a value is of the kind; a number must also be one that can be counted with."""
    if isinstance(value, int | float):
        return isinstance(value, kind) and type(value) is not bool and 0 <= value < 2**63
    return isinstance(value, kind)


def _embedded(path: str, clips: embeddings.Clips, metadata: Mapping[str, Any]) -> Dataset:
    """The set behind an embeddings file."""
    if not clips:
        raise StatisticsError(path, "no embeddings in it")
    seconds = metadata.get("file_seconds") or [None] * len(clips)
    if len(seconds) != len(clips) or not all(_is(one, int | float | None) for one in seconds):
        raise StatisticsError(path, f"metadata: file_seconds are not those of {len(clips)} files")
    moments = fold(clips.by_clip, clips.by_clip.embeddings.shape[1], path)
    files = tuple(map(StoredClip, clips, seconds))
    return Dataset(
        path, moments, metadata, files, (), datasets.warnings(path, metadata), clips.by_clip
    )


def check_comparable(first: Dataset, second: Dataset) -> None:
    """IncompatibleStatisticsError unless both sets were made by the same model and protocol."""
    a, b = first.metadata, second.metadata
    if first.moments.dim != second.moments.dim:
        raise IncompatibleStatisticsError(
            first.path, second.path, f"{first.moments.dim} and {second.moments.dim} dimensions"
        )
    if a.get("fingerprint") and b.get("fingerprint") and not _same(a, b):
        raise IncompatibleStatisticsError(first.path, second.path, _why(a, b))


def _same(a: Mapping[str, Any], b: Mapping[str, Any]) -> bool:
    """Whether two fingerprints say the same, of whatever versions they are."""
    if _version(a) == _version(b):
        return bool(a["fingerprint"] == b["fingerprint"])
    old, new = (a, b) if _version(a) < _version(b) else (b, a)
    return bool(old["fingerprint"] == _in_version_1(new))


def _version(metadata: Mapping[str, Any]) -> int:
    """Version 1 recorded no tensors."""
    return 2 if metadata.get("tensors_sha256") else 1


def _in_version_1(metadata: Mapping[str, Any]) -> str | None:
    """The fingerprint that version 1 would have given, if this release knows the model."""
    made = (metadata.get("protocol") or {}).get("preparation") or {}
    spec = ModelSpec(metadata.get("model") or "", metadata.get("options") or {})
    try:
        one = select(spec).decoding(made.get("sample_format", "float32"))
    except (UnknownModelError, OptionError):
        return None
    described = one.describe()["preparation"]
    known = all(described.get(key) == value for key, value in made.items())
    return version_1.fingerprint(one, metadata["tensors_sha256"]) if known else None


def _why(a: Mapping[str, Any], b: Mapping[str, Any]) -> str:
    """Why two datasets do not compare."""
    if _version(a) != _version(b):
        return "one was made by an earlier version, by other weights or another preparation"
    differing = provenance.defining(a.get("protocol") or {}, b.get("protocol") or {})
    return "; ".join(differing) or "their weights differ"


def merge(parts: Sequence[PathLike], output: PathLike) -> Dataset:
    """Statistics files of parts, in order, into those of the whole.

    Equal to those made in one go but for rounding (1e-12). Raises FadError, also for a shard
    that is missing or given twice.
    """
    if not parts:
        raise OptionError("parts", "an empty list; name at least one file")
    outputs.check([output], parts)
    read = [read_set(part) for part in parts]
    shards.check(read)
    held = []
    for part in read:
        check_comparable(read[0], part)
        if bool(part.provenance) != bool(read[0].provenance):
            known, unknown = (part, read[0]) if part.provenance else (read[0], part)
            raise IncompatibleStatisticsError(
                known.path, unknown.path, "nothing says how the second was made"
            )
        if isinstance(part.moments, Gaussian):
            raise StatisticsError(part.path, "foreign, without a count of rows: cannot be merged")
        held.append(part.moments)
    metadata = shards.merged_metadata(read)
    moments = Moments.total(held)
    statistics.save(output, moments, metadata)
    path = os.fspath(output)
    return Dataset(path, moments, metadata, warnings=datasets.warnings(path, metadata))
