"""Make datasets from audio, as statistics or embeddings, and load models."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import fields, replace
from typing import Any

import numpy as np

from ..audio.sources import Listing
from ..errors import DuplicateNameError, StatisticsError
from ..files import embeddings, outputs, shards, statistics
from ..files.archives import is_archive
from ..metrics.definitions.fad import few
from ..metrics.moments import Moments
from ..networks.embedder import Embedder, Embeddings
from ..pipeline import datasets
from ..pipeline.datasets import Dataset, EmbeddedDataset
from ..pipeline.options import PathLike, Progress, RunOptions
from ..pipeline.progress import Downloads
from ..pipeline.run import Model, Run, check_single
from ..weights.prepare import Progress as FetchProgress

logger = logging.getLogger("fad_onnx")


def stats(
    audio: PathLike | Sequence[PathLike],
    output: PathLike | None = None,
    model: Model | None = None,
    *,
    shard: str | None = None,
    name: str | None = None,
    licence: str | None = None,
    options: Mapping[str, Any] | None = None,
    protocol: str | None = None,
    weights: PathLike | Mapping[str, PathLike] | None = None,
    folders: Sequence[PathLike] = (),
    provider: str = "auto",
    threads: int = 1,
    device: int = 0,
    memory_limit_mb: int | None = None,
    workers: int | None = None,
    short: str = "error",
    skip_errors: bool = False,
    sample_format: str = "float32",
    cache: bool = True,
    cache_dir: PathLike | None = None,
    offline: bool = False,
    executor: Executor | None = None,
    progress: bool | Progress | None = None,
    download_progress: FetchProgress | None = None,
) -> Dataset:
    """The statistics of a dataset of audio.

    Parameters
    ----------
    audio : path or sequence of paths
        Folders, audio files, lists, archives, and patterns; see `fad_onnx.audio.sources.find`.
    output : path, optional
        A file (.npz) to write the statistics to.
    model : str, ModelSpec or Embedder, optional
        As in `score`.
    shard : str, optional
        "I/N" takes part I of N of the sorted files, which may be empty; see `merge`.
    name, licence : str, optional
        The name and licence of the dataset, which are stored in the file.
    options, weights, ..., download_progress
        See `RunOptions`.

    Returns
    -------
    Dataset
        With `moments`, `counts`, `provenance`, `skipped` and `warnings`; `score` accepts it.

    Raises
    ------
    FadError
        One of its subclasses, such as NoAudioError, AudioError, TooShortError or OutputError.

    Examples
    --------
    >>> import tempfile, numpy, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     noise = numpy.random.RandomState(0).uniform(-1, 1, 32000)
    ...     soundfile.write(f"{folder}/a.wav", noise, 16000)
    ...     stats(folder, model="logmel").counts["embeddings"]
    2
    """
    run, paths = RunOptions.of(locals()), _paths(audio)
    check_single(model)
    if output is not None:
        outputs.check([output], [*paths, *run.checkpoints.values()])
    listed, files = _listed(paths, run.offline)
    part = None
    if shard is not None:
        own, part = shards.cut(files, shard), shards.part_of(paths, files, shard)
        files = own
    (result,) = Run(model, run).embed(listed, files, may_be_empty=shard is not None)
    said = replace(result.metadata, name=name, licence=licence, shard=part)
    warned = (*result.warnings, *few(listed, result.moments))
    result = replace(result, metadata=said, warnings=warned)
    if output is not None and isinstance(result.moments, Moments):
        statistics.save(output, result.moments, said.to_json())
    return result


def embed(
    audio: PathLike | Sequence[PathLike],
    model: Model | None = None,
    *,
    output: PathLike | None = None,
    options: Mapping[str, Any] | None = None,
    protocol: str | None = None,
    weights: PathLike | Mapping[str, PathLike] | None = None,
    folders: Sequence[PathLike] = (),
    provider: str = "auto",
    threads: int = 1,
    device: int = 0,
    memory_limit_mb: int | None = None,
    workers: int | None = None,
    short: str = "error",
    skip_errors: bool = False,
    sample_format: str = "float32",
    cache: bool = True,
    cache_dir: PathLike | None = None,
    offline: bool = False,
    executor: Executor | None = None,
    progress: bool | Progress | None = None,
    download_progress: FetchProgress | None = None,
) -> EmbeddedDataset:
    """The embeddings of a dataset of audio.

    Parameters
    ----------
    audio : path or sequence of paths
        Folders, audio files, lists, archives, and patterns; see `fad_onnx.audio.sources.find`.
    model : str, ModelSpec or Embedder, optional
        As in `score`.
    output : path, optional
        A file (.npz) to write the embeddings to as they are made, so that memory stays bounded.
    options, weights, ..., download_progress
        See `RunOptions`.

    Returns
    -------
    EmbeddedDataset
        A mapping from a clip's path relative to its folder to its embeddings, float32
        (n, width); `score` takes it.

    Raises
    ------
    FadError
        One of its subclasses, such as NoAudioError, AudioError, TooShortError or
        DuplicateNameError.

    Examples
    --------
    >>> import tempfile, numpy, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     noise = numpy.random.RandomState(0).uniform(-1, 1, 32000)
    ...     soundfile.write(f"{folder}/a.wav", noise, 16000)
    ...     embed(folder, "logmel")["a.wav"].shape
    (2, 128)
    """
    run = RunOptions.of(locals())
    if output is not None:
        made = embed_into(output, audio, model, run)
        clips, _ = embeddings.read(output)
        return _with_embeddings(made, clips.by_clip)
    held: dict[str, Embeddings] = {}

    def keep(name: str, embeddings: Embeddings) -> None:
        held[name] = np.require(embeddings, requirements="W")  # those in a file are read-only

    made = _embed(audio, model, run, keep)
    for text in made.warnings:
        logger.warning("%s", text)
    return _with_embeddings(made, list(held.values()))


def embed_into(
    output: PathLike, audio: PathLike | Sequence[PathLike], model: Model | None, run: RunOptions
) -> Dataset:
    """Write embeddings to a file; return the dataset without them."""
    made: list[Dataset] = []
    outputs.check([output], [*_paths(audio), *run.checkpoints.values()])

    def fill(writer: embeddings.Writer) -> None:
        made.append(_embed(audio, model, run, writer.add))
        seconds = [file.seconds and round(file.seconds, 3) for file in made[0].files]
        writer.metadata(replace(made[0].metadata, file_seconds=tuple(seconds)).to_json())

    embeddings.write(output, fill)
    return made[0]


def _with_embeddings(made: Dataset, embeddings: Sequence[Embeddings]) -> EmbeddedDataset:
    parts = {one.name: getattr(made, one.name) for one in fields(made)}
    return EmbeddedDataset(**{**parts, "embeddings_by_file": embeddings})


def _embed(
    audio: PathLike | Sequence[PathLike],
    model: Model | None,
    run: RunOptions,
    keep: Callable[[str, Embeddings], object],
) -> Dataset:
    """Embed a dataset; `keep` is called with the name and embeddings of each clip, in order."""
    check_single(model)
    name, files = _listed(audio, run.offline)
    _check_names(files.names)
    (made,) = Run(model, run, keep_embeddings=True).embed(
        name, files, lambda done: done.embeddings and keep(done.file.name, done.embeddings[0])
    )
    return made


def _check_names(names: Iterable[str]) -> None:
    """DuplicateNameError, before anything is embedded, if two clips have the same name."""
    seen: set[str] = set()
    for name in filter(None, names):  # what cannot be read of an archive has no name
        if name in seen:
            raise DuplicateNameError(name)
        seen.add(name)


def _listed(audio: PathLike | Sequence[PathLike], offline: bool) -> tuple[str, Listing]:
    paths = _paths(audio)
    for path in filter(is_archive, paths):
        raise StatisticsError(path, "statistics or embeddings already; audio is needed")
    return ", ".join(paths), datasets.list_files(paths, offline)


def _paths(audio: PathLike | Sequence[PathLike]) -> list[str]:
    paths = [audio] if isinstance(audio, str | os.PathLike) else audio
    return [os.fspath(path) for path in paths]


def load_model(
    model: Model | None = None,
    *,
    options: Mapping[str, Any] | None = None,
    protocol: str | None = None,
    weights: PathLike | Mapping[str, PathLike] | None = None,
    folders: Sequence[PathLike] = (),
    provider: str = "auto",
    threads: int = 1,
    device: int = 0,
    memory_limit_mb: int | None = None,
    short: str = "error",
    sample_format: str = "float32",
    offline: bool = False,
    progress: bool | FetchProgress | None = None,
) -> Embedder:
    """A model that is ready to embed samples.

    Parameters
    ----------
    model : str, ModelSpec or Embedder, optional
        As in `score`.
    options, weights, ..., offline
        See `RunOptions`.
    progress : bool or callable, optional
        True draws a bar for each download. A function is called with the name of a file, the
        bytes so far, and the total bytes or None.

    Returns
    -------
    Embedder
        Safe to use from several threads; copies share it, a pickle loads it again.

    Raises
    ------
    FadError
        One of its subclasses, such as UnknownModelError, DownloadError, CheckpointError or
        ProviderError.

    Examples
    --------
    >>> load_model("logmel").embed([0.0] * 32000, sample_rate=16000).shape
    (2, 128)
    """
    given = {**locals(), "progress": None}
    fetched = Downloads().update if progress is True else progress or None
    check_single(model)
    return Run(model, RunOptions.of({**given, "download_progress": fetched})).for_samples()
