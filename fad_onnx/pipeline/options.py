"""Models and settings of one call: what to load, how to run it, and the sets that come of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import Any, TypedDict

from ..audio.sources import AudioFile
from ..cache import root
from ..errors import CacheError, IncompatibleStatisticsError, KeywordError, OptionError
from ..networks import machine, table
from ..networks.embedder import Embedder
from ..networks.runtime import Settings
from ..networks.selection import Selection, select
from ..networks.spec import ModelSpec
from ..weights import prepare
from . import datasets
from .clip_windows import Policy
from .datasets import AudioSet
from .executors import FileSummary, Job

logger = logging.getLogger("fad_onnx")

PathLike = str | os.PathLike[str]
ModelName = str | ModelSpec | Sequence[str | ModelSpec] | None


class RunOptions(TypedDict, total=False):
    """Keyword arguments that score, stats and embed share; all are optional.

    options: of the model, as in {"use_pca": True}, for calls with one model. weights: a
    checkpoint in place of the official one, a path or {"MODEL:NAME": path}, in which MODEL: may
    be left out for one model, and :NAME for the main file; folders: where official files may lie.
    provider, threads, device, memory_limit_mb: see fad_onnx.networks.runtime.Settings.
    workers: threads that decode, resample and run networks side by side; default all cores that
    this process may use.
    short: "error", "skip" or "pad"; skip_errors: go on after an unusable file and list it.
    sample_format: how PCM is read, "float32" or as the original's dtype.
    cache: False keeps no embeddings; cache_dir: where to keep them.
    offline: no network, as with FAD_ONNX_OFFLINE.
    executor: any concurrent.futures.Executor, in place of the workers.
    progress: called with (set, files done just now, files in all), or of what is computed of a
    set beside its score.
    key: which statistics of a foreign file with several.
    """

    options: Mapping[str, Any]
    weights: PathLike | Mapping[str, PathLike]
    folders: Sequence[PathLike]
    provider: str
    threads: int
    device: int
    memory_limit_mb: int | None
    workers: int | None
    short: str
    skip_errors: bool
    sample_format: str
    cache: bool
    cache_dir: PathLike | None
    offline: bool
    executor: Executor | None
    progress: Callable[[str, int, int], None] | None
    download_progress: prepare.Progress | None
    key: str | None


class Run:
    """Models and settings, loaded when first needed and used for every set."""

    def __init__(self, model: ModelName, kwargs: RunOptions, keep_rows: bool = False) -> None:
        check_keywords(kwargs)
        self._kwargs, self._keep_rows = absolute(kwargs), keep_rows
        files = self._kwargs.get("weights", {})
        self.specs = specs_of(model, kwargs.get("options", {}), files)
        self._named = model is not None
        self.policy = Policy(
            kwargs.get("short", "error"),
            kwargs.get("skip_errors", False),
        )

    def assume(self, archive: AudioSet) -> None:
        """Where the user named no model, the one that a statistics file was made with.

        Raises IncompatibleStatisticsError if only others were named: before they are loaded.
        """
        made = archive.metadata.get("model")
        if made and self._named and made not in [spec.name for spec in self.specs]:
            named = " -m ".join(map(str, self.specs))
            raise IncompatibleStatisticsError(
                archive.path, f"-m {named}", f"it was made with {made}"
            )
        if not self._named and made in table.models():
            (given,) = self.specs
            options = {**(archive.metadata.get("options") or {}), **given.options}
            output = archive.metadata.get("output")
            self.specs = (ModelSpec(made, options, output, weights=given.weights),)

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """What was decided of each model; OptionError, UnknownModelError."""
        form = self._kwargs.get("sample_format", "float32")
        return tuple(select(spec).decoding(form) for spec in self.specs)

    @cached_property
    def requests(self) -> tuple[prepare.Request, ...]:
        """What is asked of each model."""
        kwargs = self._kwargs
        settings = Settings(
            kwargs.get("provider", "auto"),
            kwargs.get("threads", 1),
            kwargs.get("device", 0),
            kwargs.get("memory_limit_mb"),
        )
        return tuple(
            prepare.Request(
                spec,
                tuple(os.fspath(folder) for folder in kwargs.get("folders", ())),
                settings,
                kwargs.get("sample_format", "float32"),
                kwargs.get("offline", False),
            )
            for spec in self.specs
        )

    @cached_property
    def embedders(self) -> list[Embedder]:
        """The loaded models."""
        return prepare.load_all(self.requests, self._kwargs.get("download_progress"))

    @cached_property
    def job(self) -> Job:
        """What workers must know."""
        return Job(
            self.requests,
            tuple(embedder.fingerprint for embedder in self.embedders),
            self.policy,
            workers(self._kwargs),
            self._cache_folder(),
            self._keep_rows,
        )

    def _cache_folder(self) -> Path | None:
        """Where embeddings are kept; None, with a warning, where there is no place to keep them."""
        if not self._kwargs.get("cache", True):
            return None
        if folder := self._kwargs.get("cache_dir"):
            return Path(folder)
        try:
            return cache_folder().absolute()
        except CacheError as error:
            logger.warning("embeddings are not kept: %s", error)
            return None

    def embed(
        self,
        name: str,
        files: Sequence[AudioFile],
        keep: Callable[[FileSummary], object] | None = None,
        may_be_empty: bool = False,
    ) -> list[AudioSet]:
        """The set of these files for each model; `keep` is handed every file, with its rows."""
        return self._sets([(name, files)], keep, may_be_empty)[0]

    def sides(self, paths: Sequence[PathLike]) -> list[list[AudioSet]]:
        """The set of each path for each model; all paths are listed before any is embedded."""
        return self._sets([(os.fspath(path), datasets.list_files([path])) for path in paths])

    def _sets(
        self,
        sides: Sequence[tuple[str, Sequence[AudioFile]]],
        keep: Callable[[FileSummary], object] | None = None,
        may_be_empty: bool = False,
    ) -> list[list[AudioSet]]:
        executor, progress = self._kwargs.get("executor"), self._kwargs.get("progress")
        return datasets.embed_sets(
            sides, self.job, self.embedders, executor, progress, keep, may_be_empty
        )


def specs_of(
    model: ModelName, options: Mapping[str, Any], weights: PathLike | Mapping[str, PathLike]
) -> tuple[ModelSpec, ...]:
    """What is asked of each model, from the arguments of a call.

    Parameters
    ----------
    model : str, ModelSpec, a sequence of these, or None
        None is the default model.
    options : mapping
        Options of the one model of the call.
    weights : path or mapping of "MODEL:NAME", "NAME" or "MODEL" to path
        Files in place of the official ones.

    Raises
    ------
    OptionError
        If options or weights do not say which of several models they are for.
    """
    asked = [model] if isinstance(model, str | ModelSpec | None) else list(model)
    if not asked:
        raise OptionError("model", "an empty list; name at least one, or give None")
    specs = [ModelSpec.parse(one or table.model().name) if isinstance(one, str | None) else one
             for one in asked]  # fmt: skip
    if options and len(specs) > 1:
        raise OptionError("options", "for one model; for several write NAME:KEY=VALUE")
    files = weights if isinstance(weights, Mapping) else {"main": weights}
    found = [
        replace(spec, options={**spec.options, **options}, weights=_own(spec, files, len(specs)))
        for spec in specs
    ]
    unknown = {key.partition(":")[0] for key in files if ":" in key} - {one.name for one in found}
    if unknown:
        raise OptionError("weights", f"{min(unknown)!r} is no model of this call")
    return tuple(found)


def _own(spec: ModelSpec, files: Mapping[str, PathLike], models: int) -> dict[str, str]:
    """The files that are meant for one model, by the names of its checkpoints."""
    found = dict(spec.weights)
    for key, path in files.items():
        name, colon, file = key.rpartition(":")
        if not colon and models > 1:
            raise OptionError("weights", f"{key!r}: say for which model, as {spec.name}:{key}")
        if name in ("", spec.name):
            found[file] = os.fspath(path)
    return {file: os.path.abspath(path) for file, path in found.items()}


# What a value must be an instance of, and how to say so.
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "options": ((Mapping,), "a mapping, as {'use_pca': True}"),
    "weights": ((str, os.PathLike, Mapping), "a path or a mapping of names to paths"),
    "folders": ((list, tuple), "a list of folders"),
    "provider": ((str,), "a name, as 'cuda'"),
    "threads": ((Integral,), "a whole number"),
    "device": ((Integral,), "the index of the card; for a GPU give provider='cuda'"),
    "memory_limit_mb": ((Integral, NoneType), "a whole number"),
    "workers": ((Integral, NoneType), "a whole number"),
    "executor": ((Executor, NoneType), "a concurrent.futures.Executor"),
}


def check_keywords(kwargs: Mapping[str, Any], others: Iterable[str] = ("model",)) -> None:
    """KeywordError for a keyword that is no RunOptions: a misspelt one must not be ignored.

    others: what the function takes beside them. OptionError for a value of the wrong kind.
    """
    for name in kwargs.keys() - RunOptions.__annotations__.keys():
        raise KeywordError(name, {*RunOptions.__annotations__, *others} - {"run"})
    for name, (kinds, wanted) in KINDS.items():
        if name in kwargs and not isinstance(kwargs[name], kinds):
            raise OptionError(name, f"{kwargs[name]!r} is not {wanted}")
    workers = kwargs.get("workers")
    if workers is not None and workers < 1:
        raise OptionError("workers", f"{workers} is not a positive number")


def workers(kwargs: RunOptions) -> int:
    """How many threads work side by side."""
    # Within a worker of an executor one thread a chunk: the executor knows its own cores.
    default = 1 if kwargs.get("executor") is not None else machine.cores()
    return kwargs.get("workers") or default


def given_weights(kwargs: RunOptions) -> list[PathLike]:
    """The files that are given in place of the official ones."""
    return list(_named_weights(kwargs).values())


def _named_weights(kwargs: RunOptions) -> Mapping[str, PathLike]:
    given = kwargs.get("weights", {})
    return given if isinstance(given, Mapping) else {"main": given}


def absolute(kwargs: RunOptions) -> RunOptions:
    """The same with paths that hold in any folder: that of a worker, or of a copy."""
    found = kwargs.copy()
    if "weights" in kwargs:
        given = _named_weights(kwargs)
        found["weights"] = {name: os.path.abspath(path) for name, path in given.items()}
    if "folders" in kwargs:
        found["folders"] = [os.path.abspath(folder) for folder in kwargs["folders"]]
    if folder := kwargs.get("cache_dir"):
        found["cache_dir"] = os.path.abspath(folder)
    return found


def cache_folder() -> Path:
    """Where embeddings are kept unless the caller says otherwise."""
    return root.part("embeddings")
