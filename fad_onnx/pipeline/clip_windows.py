"""Loads one file as windows for every group of models, block by block.

The file is decoded once, resampled once per sample rate, and cut once per network.
"""

from __future__ import annotations

import functools
import hashlib
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import soundfile
from numpy.typing import ArrayLike, NDArray

from ..audio.arrays import as_frames, checked_rate
from ..audio.blobs import Blob, InMemory, sha256, why
from ..audio.decoding import READING, Decoder, with_last
from ..audio.remote import is_url
from ..audio.sources import AudioFile
from ..cache.embeddings import EmbeddingCache
from ..cache.embeddings.hashes import Part
from ..errors import AudioError, FileMismatchError
from ..networks.embedder import Embedder
from ..networks.group import Group
from ..networks.memory import check_fits, grows
from ..networks.pooling import Embeddings
from ..networks.windows import Window, checked_short


@dataclass(frozen=True)
class Policy:
    """How files are read, and how unusable ones are handled."""

    short: str = "error"
    skip_errors: bool = False

    def __post_init__(self) -> None:
        checked_short("short", self.short)


@dataclass(frozen=True)
class ClipFacts:
    """Facts about a clip, known once it has been read to its end."""

    seconds: float
    source_hz: int
    peak: float
    mixed_peak: float
    content_sha256: str | None = None


@dataclass(frozen=True)
class LoadedBlock:
    """The new windows of each group; with the last block, facts about the clip.

    If the cache holds the embeddings of every model, they are given instead.
    """

    windows: tuple[list[Window], ...]
    facts: ClipFacts | None = None
    embeddings: tuple[Embeddings, ...] | None = None


@dataclass(frozen=True, eq=False)
class SamplesClip(AudioFile):
    """A clip in memory; `path` and `name` identify it in errors and results."""

    samples: ArrayLike = field(default=(), repr=False)
    sample_rate: int = 0


@dataclass(frozen=True, eq=False)
class BytesClip(AudioFile):
    """An audio file in memory; `path` and `name` identify it in errors and results."""

    data: bytes = field(default=b"", repr=False)


VERSIONS = ("provider", "onnxruntime")


def cache_key(embedder: Embedder, policy: Policy) -> str:
    """Everything, besides the content of a file, that determines its embeddings."""
    versions, selection = embedder.session.versions(), embedder.selection
    graphs = [selection.graph_sha256, selection.head_sha256 or ""]
    threads = str(embedder.session.settings.threads)
    short = "pad" if policy.short == "pad" else "error"
    parts = [embedder.fingerprint, *graphs, *map(versions.__getitem__, VERSIONS)]
    reading = f"reading-{READING}-{soundfile.__libsndfile_version__}"
    return "/".join([*parts, threads, short, reading])


def load(
    file: AudioFile, groups: Sequence[Group], policy: Policy, cache: EmbeddingCache | None
) -> Iterator[LoadedBlock]:
    """Load a clip; AudioError, TooShortError or TooLongError if it is not usable."""
    if isinstance(file, SamplesClip):
        return _load_samples(file, groups, policy, cache)
    if isinstance(file, BytesClip):
        return _load_bytes(file, groups, policy, cache)
    return _load_file(file, groups, policy, cache)


def _load_file(
    file: AudioFile, groups: Sequence[Group], policy: Policy, cache: EmbeddingCache | None
) -> Iterator[LoadedBlock]:
    """Load a file; AudioError if its size or date changes while it is read.

    The embeddings would belong to neither version.
    """
    before = stamp(file.path)
    if file.stamp and before and file.stamp[0] != before[0]:
        raise FileMismatchError(file.path, f"{file.stamp[0]} bytes", f"{before[0]} bytes")
    fetch = functools.cache(file.blob)  # unpack compressed clips once, and only if needed
    digest = None
    if cache is not None:
        digest = _content_sha256(file, fetch, cache)
        if held := _held(digest, groups, policy, cache):
            yield held
            return
    yield from _decode(fetch(), [group.first for group in groups], policy, digest)
    if stamp(file.path) != before:
        raise AudioError(file.label, "changed while it was read; run again")


def _load_bytes(
    clip: BytesClip, groups: Sequence[Group], policy: Policy, cache: EmbeddingCache | None
) -> Iterator[LoadedBlock]:
    blob = InMemory(clip.data, clip.path)
    digest = None
    if cache is not None:
        digest = sha256(blob)
        if held := _held(digest, groups, policy, cache):
            yield held
            return
    yield from _decode(blob, [group.first for group in groups], policy, digest)


def _content_sha256(file: AudioFile, fetch: Callable[[], Blob], cache: EmbeddingCache) -> str:
    if file.part is None:
        return cache.content_sha256(file.path)
    if is_url(file.path):
        return sha256(fetch())
    return cache.content_sha256(file.path, Part(file.part.key, lambda: fetch().open()))


def _held(
    digest: str, groups: Sequence[Group], policy: Policy, cache: EmbeddingCache
) -> LoadedBlock | None:
    """The cached embeddings of every model for this hash; None unless there are all of them."""
    hits = [cache.get(digest, cache_key(member, policy)) for member in _in_order(groups)]
    found = [hit for hit in hits if hit is not None]
    if not found or len(found) < len(hits):
        return None
    mixed = min(hit.mixed_peak for hit in found)
    facts = ClipFacts(found[0].seconds, found[0].source_hz, found[0].peak, mixed)
    return LoadedBlock((), facts, tuple(hit.embeddings for hit in found))


def _load_samples(
    clip: SamplesClip, groups: Sequence[Group], policy: Policy, cache: EmbeddingCache | None
) -> Iterator[LoadedBlock]:
    samples, rate = as_frames(clip.samples, clip.path), checked_rate(clip.sample_rate, clip.path)
    digest = None
    if cache is not None:
        digest = _sha256(samples, rate)
        if held := _held(digest, groups, policy, cache):
            yield held
            return
    embedders = [group.first for group in groups]
    for embedder in embedders:
        check_fits(embedder.selection, clip.path, len(samples), rate)
    cutting = _Cutting(embedders, policy, clip.path, rate, samples.shape[1])
    blocks: dict[str, NDArray[np.float32]] = {
        embedder.preparation.sample_format: samples for embedder in embedders
    }
    windows = cutting.push(blocks, last=True)
    peak = float(np.abs(samples).max())
    yield LoadedBlock(windows, ClipFacts(len(samples) / rate, rate, peak, cutting.peak, digest))


def _sha256(samples: NDArray[np.float32], rate: int) -> str:
    """A hash of samples in memory, which differs from that of any file."""
    digest = hashlib.sha256(f"samples {rate} {samples.shape}".encode())
    digest.update(np.ascontiguousarray(samples).data)
    return digest.hexdigest()


class _Cutting:
    """Resamples blocks of one clip once per rate, and cuts them into windows once per network."""

    def __init__(
        self, embedders: Sequence[Embedder], policy: Policy, path: str, rate: int, channels: int
    ) -> None:
        self._preparations = [embedder.preparation for embedder in embedders]
        # Models that share a key take the same samples.
        self._shared = {one.before_windows: one for one in self._preparations}
        self._resamplers = {
            key: one.resample(rate, channels, path) for key, one in self._shared.items()
        }
        self._cutters = [embedder.windower(policy.short, path) for embedder in embedders]

    def push(
        self, blocks: Mapping[str, NDArray[np.float32]], last: bool
    ) -> tuple[list[Window], ...]:
        """The new windows of each network, from a block in each sample format."""
        samples = {
            key: self._resamplers[key].push(blocks[one.sample_format], last)
            for key, one in self._shared.items()
        }
        return tuple(
            cutter.push(samples[one.before_windows], last)
            for one, cutter in zip(self._preparations, self._cutters, strict=True)
        )

    @property
    def peak(self) -> float:
        """The lowest peak after mixing, over all rates."""
        return min(resampler.peak for resampler in self._resamplers.values())


def _in_order(groups: Sequence[Group]) -> Iterator[Embedder]:
    """The models as they were given."""
    placed = (zip(group.places, group.members, strict=True) for group in groups)
    every = dict(pair for pairs in placed for pair in pairs)
    yield from (every[place] for place in sorted(every))


def _decode(
    blob: Blob, embedders: Sequence[Embedder], policy: Policy, digest: str | None
) -> Iterator[LoadedBlock]:
    with ExitStack() as stack:
        decoders = {
            one: stack.enter_context(Decoder(blob, one))
            for one in dict.fromkeys(e.preparation.sample_format for e in embedders)
        }
        decoder = next(iter(decoders.values()))
        rate = decoder.sample_rate_hz
        for embedder in embedders:
            if grows(embedder.selection):
                check_fits(embedder.selection, blob.name, decoder.length(), rate)
        cutting = _Cutting(embedders, policy, blob.name, rate, decoder.channels)
        for steps in zip(*map(with_last, decoders.values()), strict=True):
            blocks = dict(zip(decoders, (block for block, _ in steps), strict=True))
            last = steps[0][1]
            windows, facts = cutting.push(blocks, last), None
            if last:
                seconds = decoder.frames / rate
                facts = ClipFacts(seconds, rate, decoder.peak, cutting.peak, digest)
            yield LoadedBlock(windows, facts)


def stamp(path: str) -> tuple[int, int, int] | None:
    """Size, time of change (ns) and inode; None for a URL.

    Raises AudioError unless it is an existing regular file.
    """
    if is_url(path):
        return None
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:
        raise AudioError(path, f"cannot be opened: {why(error)}") from error
    if not stat.S_ISREG(found.st_mode):
        # Checked before opening, because opening a FIFO would block.
        raise AudioError(path, "not a regular file")
    return found.st_size, found.st_mtime_ns, found.st_ino
