"""The inputs of a comparison: audio, a file, or a dataset in memory."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable, Sequence
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from ..audio.remote import is_url
from ..errors import NoEffectError, OptionError, shown
from ..files.archives import is_archive, read_set
from ..metrics.moments import Moments
from ..pipeline.datasets import Dataset
from ..pipeline.metadata import Metadata
from ..pipeline.options import PathLike
from ..pipeline.summaries import StoredClips

Source = PathLike | Sequence[PathLike] | Dataset | Sequence[Dataset] | Moments | NDArray[Any]


def single(source: object) -> bool:
    """Whether this is a single dataset; a list may be several."""
    return isinstance(source, str | os.PathLike | Dataset | Moments | np.ndarray)


def made(source: Source, side: str, key: str | None) -> Dataset | None:
    """The dataset that is in a file or in memory; None for audio.

    Raises OptionError for an invalid source, StatisticsError for a file that cannot be read.
    """
    if isinstance(source, Dataset):
        return source
    if isinstance(source, Moments):
        return _unknown(source, side)
    if isinstance(source, np.ndarray):
        if source.ndim != 2 or source.dtype.kind not in "fiu":
            problem = f"{source.dtype} {source.shape}; embeddings are numbers (n, width)"
            raise OptionError(side, f"{problem}; samples go to StreamingFAD or load_model().embed")
        return _unknown(Moments.of(source, side), side, (np.asarray(source, np.float32),))
    if isinstance(source, str | os.PathLike):
        return read_set(source, key) if is_archive(source) else None
    paths = source if isinstance(source, list | tuple) else [source]
    for path in paths:
        if not isinstance(path, str | os.PathLike):
            raise OptionError(
                side,
                f"{type(path).__name__} is not a path, dataset, Moments or array of embeddings",
            )
        if is_archive(path):
            raise OptionError(side, f"{shown(path)} in a list of paths: only audio can be joined")
    if not paths:
        raise OptionError(side, "an empty list; name at least one path")
    return None


def check_distinct(evaluations: Iterable[Source]) -> None:
    """OptionError for an evaluation dataset that is named twice."""
    seen: dict[Hashable, str] = {}
    for source in evaluations:
        paths = [os.fspath(one) for one in paths_of(source) if isinstance(one, str | os.PathLike)]
        key = tuple(path if is_url(path) else os.path.abspath(path) for path in paths)
        name = ", ".join(shown(path) for path in paths)
        if key and key in seen:
            other = f", also as {seen[key]}" if seen[key] != name else ""
            raise OptionError("evaluations", f"{name} is named twice{other}; name it once")
        seen[key] = name


def check_key(key: str | None, sources: Iterable[object]) -> None:
    """NoEffectError for a key if no source is a file of statistics."""
    every = (one for source in sources for one in (source if _several(source) else [source]))
    if key is not None and not any(
        isinstance(one, str | os.PathLike) and is_archive(one) for one in every
    ):
        raise NoEffectError("key", "without", ["an .npz of statistics"])


def _several(source: object) -> TypeGuard[Sequence[object]]:
    return isinstance(source, list | tuple)


def of_models(source: object, key: str | None) -> list[Dataset]:
    """The datasets of a list of files or datasets, one for each model; empty for anything else."""
    if not isinstance(source, list | tuple) or len(source) < 2:
        return []
    ready = [isinstance(one, Dataset) or (isinstance(one, str | os.PathLike) and is_archive(one))
             for one in source]  # fmt: skip
    if not all(ready):
        return []
    return [one if isinstance(one, Dataset) else read_set(one, key) for one in source]


def _unknown(moments: Moments, side: str, by_clip: Sequence[NDArray[np.float32]] = ()) -> Dataset:
    """A dataset without any metadata; its embeddings count as those of one clip."""
    clips = StoredClips([side] * len(by_clip), [None] * len(by_clip))
    return Dataset(
        side, moments, Metadata(embeddings=moments.count), clips,
        warnings=(f"{side}: given in memory, nothing says how it was made",),
        embeddings_by_file=by_clip or None,
    )  # fmt: skip


def audio_key(source: Source) -> Hashable:
    """A key of the audio, so that equal sources are embedded once."""
    return tuple(paths_of(source))


def paths_of(source: Source) -> list[PathLike]:
    """The folders and files of a dataset of audio."""
    return list(source) if isinstance(source, list | tuple) else [source]  # type: ignore[list-item]
