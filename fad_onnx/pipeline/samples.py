"""Clips outside a dataset: samples or a file in memory, or one file, through the engine of
datasets.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import closing, nullcontext

import numpy as np
from numpy.typing import ArrayLike

from ..audio.sources import AudioFile
from ..cache.embeddings import EmbeddingCache
from ..cache.root import part
from ..errors import OptionError
from ..networks.embedder import Embedder, Embeddings
from .batching import Engine
from .clip_windows import BytesClip, Policy, SamplesClip
from .options import RunOptions


def embed_many(
    embedder: Embedder,
    clips: Iterable[tuple[ArrayLike, int]],
    workers: int | None,
    short: str,
    cache: bool,
) -> Iterator[Embeddings]:
    """The embeddings of each clip; see `Embedder.embed_many`."""
    count = RunOptions(workers=workers).worker_count
    return _embedded(embedder, _named(clips), count, short, cache)


def embed_file(
    embedder: Embedder, file: str | os.PathLike[str] | bytes, short: str, cache: bool
) -> Embeddings:
    """The embeddings of one file; see `Embedder.embed_file`."""
    clip: AudioFile
    if isinstance(file, bytes):
        clip = BytesClip("bytes", "bytes", data=file)
    elif isinstance(file, str | os.PathLike):
        clip = AudioFile(os.fspath(file), os.path.basename(file))
    else:
        raise OptionError("path", f"{type(file).__name__} is neither a path nor bytes")
    (found,) = _embedded(embedder, [clip], 1, short, cache)
    return found


def _embedded(
    embedder: Embedder, clips: Iterable[AudioFile], workers: int, short: str, cache: bool
) -> Iterator[Embeddings]:
    with EmbeddingCache(part("embeddings")) if cache else nullcontext() as kept:
        engine = Engine([embedder], Policy("error" if short == "skip" else short), workers, kept)
        with closing(engine.embed(clips)) as results:
            for result in results:
                (embeddings,) = result.embeddings
                yield embeddings


def _named(clips: Iterable[tuple[ArrayLike, int]]) -> Iterator[SamplesClip]:
    for index, clip in enumerate(clips):
        name = f"clip {index}"
        try:
            samples, rate = clip
        except (TypeError, ValueError) as error:
            raise OptionError("clips", f"{name} is not (samples, sample_rate)") from error
        yield SamplesClip(name, name, samples=_copied(samples), sample_rate=rate)


def _copied(samples: ArrayLike) -> ArrayLike:
    """A copy, because the caller may reuse its buffer before the clip is read."""
    try:
        return np.array(samples)
    except ValueError:  # ragged lists: the error is raised when the clip is read
        return samples
