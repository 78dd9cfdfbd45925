"""Datasets: moments with their metadata, made from clips or read from files."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
from typing import Any

from ..audio.decoding import LOUD, SILENT
from ..audio.remote import is_url
from ..audio.sources import AudioFile, Listing, check_apart, find, joined, left_out
from ..errors import NoAudioError, OptionError, shown
from ..metrics.frechet import Gaussian
from ..metrics.moments import Moments, MomentsAccumulator
from ..networks.embedder import Embedder, Embeddings
from . import provenance
from .executors import Chunk, Job, chunks, count_parts, cut, versions
from .held import Held
from .metadata import Largest, Loudest, Metadata
from .remarks import warnings
from .summaries import FileSummary, StoredClip, StoredClips, Summaries


@dataclass(frozen=True, eq=False)
class Dataset:
    """The statistics of a dataset under one model, and how they were made.

    Parameters
    ----------
    path : str
        The dataset, as the caller named it.
    moments : Moments or Gaussian
        Count, mean and scatter of the embeddings; a Gaussian if the count is unknown.
    metadata : Metadata
        What a statistics file records.
    files : sequence
        The clips that gave embeddings, each with `name`, `path` and `seconds`.
    skipped : tuple of (path, reason)
        The files that gave no embeddings.
    warnings : tuple of str
        What a reader of the numbers should know.
    embeddings_by_file : sequence of ndarray of float32, shape (n, width), or None
        The embeddings of each clip, in the order of `files`; None if they were not kept.

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> reference = fad_onnx.score(noise, noise + 1).reference
    >>> reference.moments.count, reference.moments.dim, reference.warnings
    (100, 4, ('reference: given in memory, nothing says how it was made',))
    """

    path: str
    moments: Moments | Gaussian = field(repr=False)
    metadata: Metadata = field(repr=False)
    files: Sequence[FileSummary | StoredClip] = field(default=(), repr=False)
    skipped: tuple[tuple[str, str], ...] = ()
    warnings: tuple[str, ...] = ()
    embeddings_by_file: Sequence[Embeddings] | None = field(default=None, repr=False)

    @property
    def names(self) -> Sequence[str]:
        """The names of the clips."""
        held = self.files
        return held.names if isinstance(held, Summaries | StoredClips) else [x.name for x in held]

    @property
    def embedded(self) -> bool:
        """Whether the dataset was made from audio in this process, not read from a file."""
        return isinstance(next(iter(self.files), None), FileSummary)

    @property
    def provenance(self) -> dict[str, Any]:
        """How the embeddings were made: protocol, fingerprint, weights; {} if that is unknown."""
        return self.metadata.provenance

    @property
    def counts(self) -> dict[str, Any]:
        """`path`, `files`, `embeddings` and `seconds`; `name` and `licence` if it has them."""
        said = self.metadata
        published = {"name": said.name, "licence": said.licence}
        counts = {"files": said.files, "embeddings": said.embeddings, "seconds": said.seconds}
        return {"path": self.path, **counts, **{k: v for k, v in published.items() if v}}


@dataclass(frozen=True, eq=False)
class EmbeddedDataset(Dataset, Mapping[str, Embeddings]):
    """A dataset with its embeddings: a mapping from a clip's name to its embeddings (n, width).

    Parameters
    ----------
    path, moments, ..., embeddings_by_file
        See `Dataset`; `embeddings_by_file` is always there.

    Examples
    --------
    >>> import fad_onnx, tempfile, numpy, soundfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     soundfile.write(f"{folder}/a.wav", numpy.full(32000, 0.1), 16000)
    ...     made = fad_onnx.embed(folder, "logmel", cache=False)
    >>> list(made), made["a.wav"].shape
    (['a.wav'], (2, 128))
    """

    @cached_property
    def _index(self) -> dict[str, int]:
        return {file.name: i for i, file in enumerate(self.files)}

    def __getitem__(self, name: str) -> Embeddings:
        assert self.embeddings_by_file is not None
        return self.embeddings_by_file[self._index[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self.files)


def list_files(paths: Sequence[str | os.PathLike[str]], offline: bool = False) -> Listing:
    """The clips of all these sources in order.

    Raises the errors of `find`, SourceError for a clip in two sources, and OptionError for a URL if
    the network must not be used.
    """
    if offline:
        _check_local(os.fspath(path) for path in paths)
    sources = [(os.fspath(path), find(path)) for path in paths]
    check_apart(sources)
    files = joined(listing for _, listing in sources)
    if offline:
        _check_local(file.path for file in files)
    if not files:
        raise NoAudioError("no path", "name at least one file or folder")
    return files


def _check_local(paths: Iterable[str]) -> None:
    for path in filter(is_url, paths):
        raise OptionError("offline", f"{shown(path)} is a URL")


def protocol(embedder: Embedder, short: str) -> dict[str, Any]:
    """Everything a reader must know to repeat a number."""
    return {
        "model": embedder.name,
        "options": embedder.selection.changed_options,
        "protocol": embedder.selection.protocol,
        **embedder.selection.describe(),
        "short_clips": short,
        **versions(embedder),
    }


def embed_sets(
    sides: Sequence[tuple[str, Sequence[AudioFile]]],
    job: Job,
    embedders: Sequence[Embedder],
    executor: Executor | None = None,
    progress: Callable[[str, int, int], None] | None = None,
    keep: Callable[[FileSummary], object] | None = None,
    may_be_empty: bool = False,
) -> list[list[Dataset]]:
    """The datasets of each model for each named list of files, in one pass over all of them.

    progress: called with the dataset's name, the newly finished files and the number of files. With
    `keep`, embeddings are passed to it file by file, in order, and not held here.

    Raises NoAudioError if every file of a dataset was skipped, unless it may be empty, and the
    error of the first unusable file, unless the policy is to skip it.
    """
    done = ((name, 1, len(files)) for name, files in sides for _ in files)

    def tell(count: int) -> None:
        for step in islice(done, count):
            if progress:
                progress(*step)

    parts = chain.from_iterable(cut(files) for _, files in sides)
    with closing(chunks(job, embedders, parts, executor, tell)) as made:
        return [
            gather(
                name, islice(made, count_parts(files)), job, embedders, keep, may_be_empty,
                left_out(files),
            )
            for name, files in sides
        ]  # fmt: skip


def gather(
    name: str,
    made: Iterable[Chunk],
    job: Job,
    embedders: Sequence[Embedder],
    keep: Callable[[FileSummary], object] | None = None,
    may_be_empty: bool = False,
    omitted: str = "",
) -> list[Dataset]:
    """The dataset of these chunks for each model; see `embed_sets`."""
    totals = [MomentsAccumulator(embedder.width) for embedder in embedders]
    made_by: list[dict[str, Any]] = [{} for _ in embedders]
    held = [Held(embedder.width) for embedder in embedders]
    used, skipped = Summaries(len(embedders)), []
    for chunk in made:
        for total, moments in zip(totals, chunk.moments, strict=True):
            total.add(moments)
        made_by = [provenance.together(pair) for pair in zip(made_by, chunk.versions, strict=True)]
        for summary in chunk.files:
            if keep is not None:
                keep(summary)
            else:
                for one, embeddings in zip(held, summary.embeddings or (), strict=False):
                    one.add(embeddings)
            if summary.skipped is None:
                used.append(summary)
            else:
                skipped.append((summary.path, summary.skipped))
    if not used and not may_be_empty:
        reason = f"; the first: {skipped[0][0]}: {skipped[0][1]}" if skipped else ""
        problem = f"none of {len(skipped)} files could be used{reason}"
        raise NoAudioError(name, problem if skipped else "there is no clip yet")
    described = [
        replace(
            _metadata(embedder, used, len(skipped), i),
            protocol=protocol(embedder, job.policy.short) | by,
            left_out=omitted,
        )
        for i, (embedder, by) in enumerate(zip(embedders, made_by, strict=True))
    ]
    return [
        Dataset(
            name,
            totals.pop(0).result(),  # frees the accumulator of one model before the next result
            metadata,
            used,
            tuple(skipped),
            (*_why_not_cuda(embedder), *warnings(name, metadata)),
            held[i].result() if job.keep_embeddings and keep is None else None,
        )
        for i, (embedder, metadata) in enumerate(zip(embedders, described, strict=True))
    ]


def _metadata(embedder: Embedder, used: Summaries, skipped: int, i: int) -> Metadata:
    preparation = embedder.preparation
    rate, counts = preparation.sample_rate_hz, used.counts[i]
    lengths = zip(used.seconds, used.source_hz, strict=True)
    return Metadata(
        model=embedder.name,
        label=embedder.label,
        options=embedder.selection.changed_options,
        output=embedder.selection.output_name,
        fingerprint=embedder.fingerprint,
        tensors_sha256=embedder.tensors_sha256,
        weights={name: dict(facts) for name, facts in embedder.weights.items()},
        note=embedder.selection.note,
        files=len(used),
        embeddings=sum(counts),
        seconds=round(sum(used.seconds), 3),
        files_skipped=skipped,
        files_padded=sum(
            _samples(seconds, hz, rate) < preparation.minimum_samples for seconds, hz in lengths
        ),
        files_below_rate=sum(hz < rate for hz in used.source_hz),
        lowest_source_hz=min(used.source_hz, default=None),
        largest_file=Largest(*_most(used, counts)) if used else None,
        files_silent=sum(peak <= SILENT for peak in used.mixed_peaks),
        files_loud=sum(peak > LOUD for peak in used.peaks),
        loudest_file=Loudest(*_most(used, used.peaks)) if used else None,
    )


def _most(used: Summaries, column: Sequence[Any]) -> tuple[str, Any]:
    """The name of the first clip with the highest value, and the value."""
    highest = max(column)
    return shown(used.files[column.index(highest)].name), highest


def _samples(seconds: float, source_hz: int, rate: int) -> int:
    """The samples of a clip at a model's rate; see Resampler."""
    return round(seconds * source_hz) * rate // source_hz


def _why_not_cuda(embedder: Embedder) -> tuple[str, ...]:
    reason = embedder.session.why_not_cuda
    return (f"computed on the CPU, because CUDA failed: {reason}",) if reason else ()
