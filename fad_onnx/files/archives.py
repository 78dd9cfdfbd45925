"""Datasets on disk: read them, check whether two can be compared, and merge parts."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

from ..errors import IncompatibleStatisticsError, OptionError, StatisticsError, UnknownModelError
from ..metrics.clips import ByClip
from ..metrics.definitions.fad import few
from ..metrics.frechet import Gaussian
from ..metrics.moments import Moments
from ..networks import version_1
from ..networks.selection import select
from ..networks.spec import ModelSpec
from ..pipeline import provenance, remarks
from ..pipeline.datasets import Dataset
from ..pipeline.executors import fold
from ..pipeline.metadata import Metadata
from ..pipeline.summaries import StoredClips
from . import embeddings, outputs, shards, statistics

PathLike = str | os.PathLike[str]


def is_archive(path: PathLike) -> bool:
    """Whether a path means statistics or embeddings rather than audio."""
    return os.fspath(path).endswith((".npz", ".npy")) and not os.path.isdir(path)


def holds_embeddings(path: PathLike) -> bool:
    """Whether a path means audio or embeddings rather than statistics alone."""
    return not is_archive(path) or embeddings.holds(statistics.names(path))


def read_set(path: PathLike, key: str | None = None) -> Dataset:
    """The dataset of a file that `stats`, `embed` or another tool wrote; StatisticsError."""
    if embeddings.holds(statistics.names(path)):
        clips, values = embeddings.read(path)
        return _embedded(os.fspath(path), clips, _metadata(values, path, clips.by_clip))
    stored = statistics.load(path, key)
    said = _metadata(stored.metadata, path, stored.moments)
    warnings = remarks.warnings(os.fspath(path), said)
    if stored.foreign:
        warnings = (f"{os.fspath(path)}: foreign statistics, nothing says how they were made",)
    return Dataset(os.fspath(path), stored.moments, said, warnings=warnings)


def _metadata(
    values: Mapping[str, Any], path: PathLike, held: ByClip | Moments | Gaussian
) -> Metadata:
    """The metadata of a file; StatisticsError unless it fits the embeddings of the file."""
    try:
        said = Metadata.from_json(values)
    except ValueError as error:
        raise StatisticsError(path, str(error)) from error
    if isinstance(held, ByClip):
        count: int | None = len(held.embeddings)
    else:
        count = held.count if isinstance(held, Moments) else None
    if said.embeddings not in (None, count):
        raise StatisticsError(
            path, f"metadata: {said.embeddings} embeddings, the file holds {count}"
        )
    return said


def _embedded(path: str, clips: embeddings.Clips, said: Metadata) -> Dataset:
    """The dataset of an embeddings file."""
    if not clips:
        raise StatisticsError(path, "no embeddings in it")
    seconds = said.file_seconds or (None,) * len(clips)
    if len(seconds) != len(clips):
        raise StatisticsError(path, f"metadata: file_seconds are not those of {len(clips)} files")
    moments = fold(clips.by_clip, clips.by_clip.embeddings.shape[1], path)
    files = StoredClips(clips.names, seconds)
    return Dataset(path, moments, said, files, (), remarks.warnings(path, said), clips.by_clip)


def check_comparable(first: Dataset, second: Dataset) -> None:
    """IncompatibleStatisticsError unless the same model and protocol made both datasets."""
    a, b = first.metadata, second.metadata
    if first.moments.dim != second.moments.dim:
        raise IncompatibleStatisticsError(
            first.path, second.path, f"{first.moments.dim} and {second.moments.dim} dimensions"
        )
    if a.fingerprint and b.fingerprint and not _same(a, b):
        raise IncompatibleStatisticsError(first.path, second.path, _why(a, b))


def _same(a: Metadata, b: Metadata) -> bool:
    """Whether two fingerprints agree, also across their versions."""
    if _version(a) == _version(b):
        return a.fingerprint == b.fingerprint
    old, new = (a, b) if _version(a) < _version(b) else (b, a)
    return old.fingerprint == _in_version_1(new)


def _version(said: Metadata) -> int:
    """The version of a fingerprint: version 1 recorded no hash of the tensors."""
    return 2 if said.tensors_sha256 else 1


def _in_version_1(said: Metadata) -> str | None:
    """The fingerprint that version 1 would have given, if this release knows the model."""
    made = said.protocol.get("preparation") or {}
    try:
        one = select(ModelSpec(said.model or "", said.options)).decoding(
            made.get("sample_format", "float32")
        )
    except (UnknownModelError, OptionError):
        return None
    described = one.describe()["preparation"]
    known = all(described.get(key) == value for key, value in made.items())
    return version_1.fingerprint(one, said.tensors_sha256 or "") if known else None


def _why(a: Metadata, b: Metadata) -> str:
    """Why two datasets cannot be compared."""
    if _version(a) != _version(b):
        return "one was made by an earlier version, by other weights or another preparation"
    differing = provenance.defining(a.protocol, b.protocol)
    return "; ".join(differing) or "their weights differ"


def merge(parts: Sequence[PathLike], output: PathLike) -> Dataset:
    """Combine statistics files of parts into one.

    The result equals statistics of the whole, up to rounding (1e-12).

    Parameters
    ----------
    parts : sequence of paths
        Files that `stats` wrote. All shards of a dataset must be there, each once.
    output : path
        The file (.npz) to write.

    Returns
    -------
    Dataset

    Raises
    ------
    StatisticsError
        If a file cannot be read, or a shard is missing or given twice.
    IncompatibleStatisticsError
        If parts were made by different models, weights or preparations.
    OptionError, OutputError
        If there is no part, or `output` cannot be written.

    Examples
    --------
    >>> import fad_onnx, tempfile, numpy, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in "ab":
    ...         soundfile.write(f"{folder}/{name}.wav", numpy.full(32000, 0.1), 16000)
    ...         _ = fad_onnx.stats(f"{folder}/{name}.wav", f"{folder}/{name}.npz", "logmel")
    ...     parts = [f"{folder}/a.npz", f"{folder}/b.npz"]
    ...     fad_onnx.merge(parts, f"{folder}/all.npz").counts["embeddings"]
    4
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
            raise StatisticsError(part.path, "foreign, without a count: cannot be merged")
        held.append(part.moments)
    metadata = shards.merged_metadata(read)
    moments = Moments.total(held)
    statistics.save(output, moments, metadata.to_json())
    path = os.fspath(output)
    said = (*remarks.warnings(path, metadata), *few(path, moments))
    return Dataset(path, moments, metadata, warnings=said)
