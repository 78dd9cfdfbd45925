"""Turn files into embeddings, in order, and decode, resample and run networks in parallel threads.

libsndfile, soxr, NumPy's FFT and ONNX Runtime all release the GIL, so threads can use all cores.
Batches are filled across files. The number of files, blocks and batches in flight is bounded,
however many and however long the files are.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from ..audio.sources import AudioFile
from ..cache.embeddings import EmbeddingCache
from ..errors import AudioError, TooLongError, TooShortError
from ..networks.embedder import Embedder
from ..networks.group import Group, grouped
from ..networks.machine import starting_threads
from ..networks.memory import full_batch, limit_bytes, needed_bytes
from ..networks.pooling import Embeddings
from ..networks.runtime import ACCELERATOR_RUNS
from ..networks.windows import Window
from .clip_windows import ClipFacts, LoadedBlock, Policy, cache_key, load

# At this many files or bytes of waiting windows, batches run even if they are not full.
WAITING_FILES, WAITING_BYTES = 128, 1 << 27
# The first block is decoded in advance for this many files.
AHEAD_FILES = 32


@dataclass(frozen=True)
class FileResult:
    """The embeddings (n, dim) of one file for each model, or the reason why it was skipped."""

    file: AudioFile
    embeddings: tuple[Embeddings, ...]
    facts: ClipFacts | None
    skipped: str | None = None


@dataclass
class _Clip:
    """A file in flight: its embeddings by group and window, filled in as batches finish."""

    file: AudioFile
    embeddings: list[list[tuple[Embeddings, ...] | None]]
    valid_samples: list[list[int]]  # for each group, those of every window
    facts: ClipFacts | None = None
    skipped: str | None = None
    missing: int = 0
    cached: tuple[Embeddings, ...] | None = None
    tiled: set[int] = field(default_factory=set)  # groups that see this clip in tiles

    @property
    def complete(self) -> bool:
        return self.skipped is not None or (self.facts is not None and not self.missing)

    def result(self, groups: Sequence[Group]) -> FileResult:
        if self.skipped is not None:
            return FileResult(self.file, (), None, self.skipped)
        if self.cached is not None:
            return FileResult(self.file, self.cached, self.facts)
        assert self.facts is not None
        embeddings: dict[int, Embeddings] = {}
        for i, (group, found, valid) in enumerate(
            zip(groups, self.embeddings, self.valid_samples, strict=True)
        ):
            parts = [part for part in found if part is not None]
            joined = group.join(parts, valid, self.facts.seconds, i in self.tiled)
            embeddings.update(zip(group.places, joined, strict=True))
        return FileResult(
            self.file, tuple(embeddings[place] for place in sorted(embeddings)), self.facts
        )


@dataclass
class _Slot:
    """The window of a clip, and where its embeddings belong."""

    clip: _Clip
    group: int
    index: int
    window: Window


@dataclass
class _Running:
    """A batch that a thread is running."""

    slots: list[_Slot]
    embeddings: Future[list[tuple[Embeddings, ...]]]
    bytes: int


@dataclass
class _Batches:
    """The waiting windows of one group, by shape."""

    embedder: Embedder
    workers: int
    waiting: dict[tuple[int, bool], list[_Slot]] = field(default_factory=dict)

    def add(self, slot: _Slot) -> list[_Slot] | None:
        """Add a window; return the batch that it completes, if any."""
        samples = slot.window.samples.shape[1]
        key = samples, slot.window.steps is not None
        bucket = self.waiting.setdefault(key, [])
        bucket.append(slot)
        return self.waiting.pop(key) if len(bucket) >= self._full(samples) else None

    def _full(self, samples: int) -> int:
        embedder, accelerator = self.embedder, self.embedder.session.provider.accelerator
        network, preparation = embedder.selection.network, embedder.preparation
        return full_batch(network, preparation, samples, self.workers, accelerator)

    def rest(self) -> list[list[_Slot]]:
        """The waiting windows, as batches that are not full."""
        batches = list(self.waiting.values())
        self.waiting = {}
        return batches


class Engine:
    """Embeds files with one or more models on `workers` threads."""

    def __init__(
        self,
        embedders: Sequence[Embedder],
        policy: Policy,
        workers: int = 1,
        cache: EmbeddingCache | None = None,
    ) -> None:
        self._embedders, self._policy, self._cache = list(embedders), policy, cache
        self._workers = workers
        self._groups = grouped(embedders)
        self._batches = [_Batches(group.first, workers) for group in self._groups]
        self._running: deque[_Running] = deque()
        self._clips: deque[_Clip] = deque()
        self._waiting_bytes = 0
        self._limit_bytes = limit_bytes()
        # One more batch than can run, so that no thread has to wait for the next.
        self._most = workers + 1
        if any(embedder.session.provider.accelerator for embedder in embedders):
            self._most = ACCELERATOR_RUNS

    def embed(self, files: Iterable[AudioFile]) -> Generator[FileResult, None, None]:
        """A FileResult for every file, in the order given.

        Raises the error of the first unusable file (in that order), unless the policy is to skip
        it, and ThreadLimitError if the workers' threads cannot start.
        """
        pool = ThreadPoolExecutor(self._workers, thread_name_prefix="fad_onnx")
        try:
            with starting_threads():
                yield from self._results(pool, files)
        finally:
            # After an error or an interrupt, cancel what has not started.
            pool.shutdown(wait=False, cancel_futures=True)

    def _results(
        self, pool: ThreadPoolExecutor, files: Iterable[AudioFile]
    ) -> Iterator[FileResult]:
        for file, pieces, first in self._ahead(pool, files):
            self._take(pool, file, pieces, first)
            if len(self._clips) >= WAITING_FILES or self._waiting_bytes > WAITING_BYTES:
                self._flush(pool)
            yield from self._finished()
        self._flush(pool, self._workers)
        while self._running:
            self._collect()
        yield from self._finished()

    def _ahead(
        self, pool: ThreadPoolExecutor, files: Iterable[AudioFile]
    ) -> Iterator[tuple[AudioFile, Iterator[LoadedBlock], Future[LoadedBlock | None]]]:
        """The files; for some of them, the first step of loading is submitted in advance."""
        ahead: deque[tuple[AudioFile, Iterator[LoadedBlock], Future[LoadedBlock | None]]] = deque()
        for file in files:
            pieces = load(file, self._groups, self._policy, self._cache)
            ahead.append((file, pieces, pool.submit(next, pieces, None)))
            if len(ahead) > min(2 * self._workers, AHEAD_FILES):
                yield ahead.popleft()
        yield from ahead

    def _take(
        self,
        pool: ThreadPoolExecutor,
        file: AudioFile,
        pieces: Iterator[LoadedBlock],
        step: Future[LoadedBlock | None],
    ) -> None:
        """Add all windows of a file to batches; the next piece loads in the meantime."""
        clip = _Clip(file, [[] for _ in self._groups], [[] for _ in self._groups])
        self._clips.append(clip)
        try:
            while (piece := step.result()) is not None:
                step = pool.submit(next, pieces, None)
                clip.facts, clip.cached = piece.facts, piece.embeddings
                for group, windows in enumerate(piece.windows):
                    for window in windows:
                        self._file_away(pool, clip, group, window)
        except (AudioError, TooShortError, TooLongError) as error:
            self._give_up(clip, error)
        finally:
            # Its error refers to this frame, which would keep the bytes of the clip.
            del step, pieces

    def _give_up(self, clip: _Clip, error: AudioError | TooShortError | TooLongError) -> None:
        """Skip a clip if the policy allows it, else raise the error."""
        short = isinstance(error, TooShortError) and self._policy.short == "skip"
        if not (self._policy.skip_errors or short):
            raise error
        clip.skipped = error.reason

    def _file_away(self, pool: ThreadPoolExecutor, clip: _Clip, group: int, window: Window) -> None:
        slot = _Slot(clip, group, len(clip.embeddings[group]), window)
        clip.embeddings[group].append(None)
        clip.valid_samples[group].append(window.valid_samples)
        clip.missing += 1
        if window.steps is not None:
            clip.tiled.add(group)
        self._waiting_bytes += window.samples.nbytes
        batch = self._batches[group].add(slot)
        if batch:
            self._start(pool, batch)

    def _start(self, pool: ThreadPoolExecutor, batch: list[_Slot]) -> None:
        group = self._groups[batch[0].group]
        windows = [slot.window for slot in batch]
        samples = sum(window.samples.shape[1] for window in windows)
        needed = needed_bytes(group.first.selection.network, samples)
        while len(self._running) >= self._most or (
            self._running and needed + sum(b.bytes for b in self._running) > self._limit_bytes
        ):
            self._collect()
        self._waiting_bytes -= sum(window.samples.nbytes for window in windows)
        self._running.append(_Running(batch, pool.submit(group.run, windows), needed))

    def _flush(self, pool: ThreadPoolExecutor, shares: int = 1) -> None:
        """Run all waiting windows, each batch in `shares` parts, so that every thread has work."""
        for batches in self._batches:
            for batch in batches.rest():
                size = -(-len(batch) // shares)
                for start in range(0, len(batch), size):
                    self._start(pool, batch[start : start + size])

    def _collect(self) -> None:
        """Wait for the oldest batch, and assign its embeddings to their clips."""
        batch = self._running.popleft()
        for slot, embeddings in zip(batch.slots, batch.embeddings.result(), strict=True):
            slot.clip.embeddings[slot.group][slot.index] = embeddings
            slot.clip.missing -= 1

    def _finished(self) -> Iterator[FileResult]:
        while self._running and self._running[0].embeddings.done():
            self._collect()
        while self._clips and self._clips[0].complete:
            clip = self._clips.popleft()
            result = clip.result(self._groups)
            if not all(np.isfinite(embeddings).all() for embeddings in result.embeddings):
                self._give_up(clip, AudioError(clip.file.label, "its embedding is not finite"))
                result = clip.result(self._groups)
            self._remember(clip, result)
            yield result

    def _remember(self, clip: _Clip, result: FileResult) -> None:
        facts = clip.facts
        if self._cache is None or facts is None or facts.content_sha256 is None:
            return
        if clip.skipped is None and clip.cached is None:
            for embedder, embeddings in zip(self._embedders, result.embeddings, strict=True):
                key = cache_key(embedder, self._policy)
                self._cache.put(facts.content_sha256, key, embeddings, facts)
