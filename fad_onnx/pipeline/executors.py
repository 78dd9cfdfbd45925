"""Work cut into chunks of a fixed number of files and folded in file order.

The chunks depend only on the sorted list of files, so that serial runs, threads, processes and a
cluster give the same bits. Any concurrent.futures.Executor can be used.
"""

from __future__ import annotations

import math
import os
import platform
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from contextlib import nullcontext
from dataclasses import dataclass, replace
from itertools import chain, islice, tee
from pathlib import Path
from typing import TypeVar

import numpy as np

from .._version import __version__
from ..audio.blobs import sha256
from ..audio.remote import is_url
from ..audio.sources import AudioFile
from ..cache.embeddings import EmbeddingCache, shared
from ..cache.root import file_sha256
from ..errors import (
    AudioError,
    ExecutorError,
    FadError,
    FileMismatchError,
    IncompatibleStatisticsError,
    WorkerError,
)
from ..metrics.clips import BLOCK, blocks
from ..metrics.moments import Moments, MomentsAccumulator
from ..networks.embedder import Embedder, Embeddings
from ..networks.machine import starting_threads
from ..weights.prepare import Request, load_all
from .batching import Engine, FileResult
from .clip_windows import Policy, stamp
from .held import in_bounded_memory
from .summaries import FileSummary

Item = TypeVar("Item")
CHUNK_FILES = 16
# How many chunks are submitted to an executor ahead of the one that is folded, and how many bytes
# they may hold while they wait. Until the first one returns and shows its size, a few are sent.
CHUNKS_AHEAD, AHEAD_BYTES, FIRST_CHUNKS = 256, 1 << 28, 8


@dataclass(frozen=True)
class Job:
    """Everything that a worker needs to know besides the files."""

    requests: tuple[Request, ...]
    fingerprints: tuple[str, ...]
    policy: Policy
    workers: int = 1
    cache: Path | None = None
    keep_embeddings: bool = False


@dataclass(frozen=True)
class Chunk:
    """Files in order; for each model the moments of their embeddings, and the versions used."""

    files: tuple[FileSummary, ...]
    moments: tuple[Moments, ...]
    versions: tuple[dict[str, str], ...]
    # Files whose date differs from the listing, with the hash of the bytes read.
    doubtful: tuple[tuple[AudioFile, str], ...] = ()

    @property
    def bytes(self) -> int:
        """The size of its arrays."""
        moments = [array for part in self.moments for array in part.to_arrays().values()]
        embeddings = [array for file in self.files for array in file.embeddings or ()]
        return sum(array.nbytes for array in (*moments, *embeddings))


def cut(files: Sequence[Item]) -> Iterator[Sequence[Item]]:
    """Split the files of a dataset into the parts that are folded one by one."""
    return (files[start : start + CHUNK_FILES] for start in range(0, len(files), CHUNK_FILES))


def count_parts(files: Sequence[Item]) -> int:
    """The number of parts that `cut` gives."""
    return math.ceil(len(files) / CHUNK_FILES)


def chunks(
    job: Job,
    embedders: Sequence[Embedder],
    parts: Iterable[Sequence[AudioFile]],
    executor: Executor | None = None,
    progress: Callable[[int], None] | None = None,
) -> Generator[Chunk, None, None]:
    """A chunk for each part, in order; `progress` is called with the newly finished files.

    Work on the next part starts before one has ended, so that all cores stay busy.
    """
    if executor is None:
        with EmbeddingCache(job.cache) if job.cache else nullcontext() as cache:
            yield from _here(job, embedders, parts, cache, progress or (lambda count: None))
        return
    yield from _elsewhere(job, parts, executor, progress or (lambda count: None))


def _elsewhere(
    job: Job,
    parts: Iterable[Sequence[AudioFile]],
    executor: Executor,
    progress: Callable[[int], None],
) -> Iterator[Chunk]:
    waiting: deque[tuple[Sequence[AudioFile], Future[Chunk]]] = deque()
    left, most = iter(parts), min(FIRST_CHUNKS, CHUNKS_AHEAD)
    try:
        while True:
            for files in islice(left, max(0, most - len(waiting))):
                sent = [_for_elsewhere(file) for file in files]
                with starting_threads():
                    waiting.append((files, executor.submit(run_chunk, job, sent)))
            if not waiting:
                return
            chunk = _next(*waiting.popleft())
            most = min(CHUNKS_AHEAD, max(1, AHEAD_BYTES // max(1, chunk.bytes)))
            progress(len(chunk.files))
            yield chunk
    finally:
        for _, future in waiting:
            future.cancel()


def _for_elsewhere(file: AudioFile) -> AudioFile:
    """The file with an absolute path, and a stamp by which a worker checks that it is the same."""
    if is_url(file.path):
        return file
    try:
        found = os.stat(file.path)
    except (OSError, ValueError):  # it is gone since it was listed; the reader reports that
        return replace(file, path=os.path.abspath(file.path))
    return replace(file, path=os.path.abspath(file.path), stamp=(found.st_size, found.st_mtime_ns))


def _next(files: Sequence[AudioFile], future: Future[Chunk]) -> Chunk:
    """The chunk of these files, with the paths that they have in this process.

    Raises FileMismatchError if the worker has read other files.
    """
    try:
        chunk = future.result()
    except (CancelledError, BrokenExecutor) as error:
        raise ExecutorError(str(error) or type(error).__name__) from error
    for file, digest in chunk.doubtful:
        if (own := _sha256(file)) != digest:
            raise FileMismatchError(file.label, f"sha256 {own[:12]}", f"sha256 {digest[:12]}")
    named = zip(chunk.files, files, strict=True)
    return replace(chunk, files=tuple(replace(one, file=file) for one, file in named), doubtful=())


def run_chunk(job: Job, files: Sequence[AudioFile]) -> Chunk:
    """Compute one chunk in a worker, which keeps the models loaded for the next."""
    global _loaded
    requests, embedders = _loaded  # read once: another thread may replace them
    held = tuple(embedder.fingerprint for embedder in embedders)
    if requests != job.requests or held != job.fingerprints:
        embedders = _load(job.requests)
        _loaded = (job.requests, embedders)
    for embedder, wanted in zip(embedders, job.fingerprints, strict=True):
        if embedder.fingerprint != wanted:
            raise IncompatibleStatisticsError(
                _who(), "the caller", f"weights or version of {embedder.label} differ"
            )
    cache = shared(job.cache) if job.cache else None
    (chunk,) = _here(job, embedders, [files], cache, lambda count: None)
    return replace(chunk, doubtful=tuple(_doubtful(chunk)))


def _load(requests: tuple[Request, ...]) -> list[Embedder]:
    """Load the models, and fetch missing weights; WorkerError if that fails."""
    try:
        return load_all(requests)
    except FadError as error:
        names = " ".join(request.spec.name for request in requests)
        raise WorkerError(_who(), names, str(error)) from error


def _who() -> str:
    """A description that identifies this worker."""
    return f"the worker in process {os.getpid()} of {platform.node() or 'an unnamed machine'}"


def _doubtful(chunk: Chunk) -> Iterator[tuple[AudioFile, str]]:
    """Files of the expected size but another date; some mounts and copies change the date only."""
    for one in chunk.files:
        file = one.file
        if one.skipped is None and file.stamp:
            found = stamp(file.path)
            if found and found[1] != file.stamp[1]:
                yield file, _sha256(file)


def _sha256(file: AudioFile) -> str:
    if file.part is None:
        return file_sha256(Path(file.path), AudioError)
    return sha256(file.blob())


# The models of the last job in this worker process.
_loaded: tuple[tuple[Request, ...], list[Embedder]] = ((), [])


def _here(
    job: Job,
    embedders: Sequence[Embedder],
    parts: Iterable[Sequence[AudioFile]],
    cache: EmbeddingCache | None,
    progress: Callable[[int], None],
) -> Iterator[Chunk]:
    dims = [embedder.width for embedder in embedders]
    engine = Engine(embedders, job.policy, job.workers, cache)
    ahead, parts = tee(parts)  # the engine reads files before the parts that hold them are folded
    results = engine.embed(chain.from_iterable(ahead))
    for files in parts:
        held: list[FileSummary] = []
        folds = [_Fold(dim, files[0].label) for dim in dims]
        for result in islice(results, len(files)):
            held.append(_summary(result, job.keep_embeddings))
            for own, embeddings in zip(folds, result.embeddings, strict=False):
                own.add(embeddings)
            progress(1)
        moments = tuple(own.result() for own in folds)
        yield Chunk(tuple(held), moments, tuple(map(versions, embedders)))


class _Fold:
    """The moments of clips, with the bits of `Moments.of` of all at once, in bounded memory.

    The clips of a chunk may be hours long.
    """

    def __init__(self, dim: int, where: str) -> None:
        self._sum, self._where = MomentsAccumulator(dim), where
        self._parts: list[Embeddings] = []
        self._count = 0

    def add(self, clip: Embeddings) -> None:
        for part in blocks(clip) if len(clip) > BLOCK else [clip]:
            self._parts.append(part.copy())  # a view would keep the whole clip
            self._count += len(part)
            if self._count >= BLOCK:
                whole = np.concatenate(self._parts)
                self._sum.add(Moments.of(whole[:BLOCK], self._where))
                self._parts, self._count = [whole[BLOCK:]], self._count - BLOCK

    def result(self) -> Moments:
        if self._count:
            self._sum.add(Moments.of(np.concatenate(self._parts), self._where))
        return self._sum.result()


def fold(embeddings_by_file: Sequence[Embeddings], dim: int, where: str) -> Moments:
    """The moments of all embeddings, chunk by chunk, with the same bits as from audio."""
    total = MomentsAccumulator(dim)
    for clips in cut(embeddings_by_file):
        own = _Fold(dim, where)
        for clip in clips:
            own.add(clip)
        total.add(own.result())
    return total.result()


def versions(embedder: Embedder) -> dict[str, str]:
    """The versions that run networks here; those of workers may differ."""
    graph = embedder.selection.graph_sha256
    return {**embedder.session.versions(), "fad_onnx": __version__, "graph_sha256": graph}


def _summary(result: FileResult, keep_embeddings: bool) -> FileSummary:
    facts = result.facts
    return FileSummary(
        result.file,
        tuple(len(embeddings) for embeddings in result.embeddings),
        facts.seconds if facts else 0.0,
        facts.source_hz if facts else 0,
        result.skipped,
        # A chunk may hold those of sixteen clips that last for hours.
        tuple(map(in_bounded_memory, result.embeddings)) if keep_embeddings and facts else None,
        facts.peak if facts else 0.0,
        facts.mixed_peak if facts else 0.0,
    )
