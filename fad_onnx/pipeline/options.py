"""Models and settings of one call: what to load, how to run it, and the sets that come of it."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from functools import cached_property
from numbers import Integral
from pathlib import Path
from types import NoneType
from typing import Any

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
from .datasets import Dataset
from .executors import FileSummary, Job
from .progress import Bars, Downloads

logger = logging.getLogger("fad_onnx")

PathLike = str | os.PathLike[str]
Model = str | ModelSpec | Embedder
ModelName = Model | Sequence[Model] | None
Progress = Callable[[str, int, int], None]


# What a value must be an instance of, and how to say so.
KINDS: Mapping[str, tuple[tuple[type, ...], str]] = {
    "options": ((Mapping, NoneType), "a mapping, as {'use_pca': True}"),
    "protocol": ((str, NoneType), "a name, as 'gudgud96'"),
    "weights": ((str, os.PathLike, Mapping, NoneType), "a path or a mapping of names to paths"),
    "folders": ((list, tuple), "a list of folders"),
    "provider": ((str,), "a name, as 'cuda'"),
    "threads": ((Integral,), "a whole number"),
    "device": ((Integral,), "the index of the card; for a GPU give provider='cuda'"),
    "memory_limit_mb": ((Integral, NoneType), "a whole number"),
    "workers": ((Integral, NoneType), "a whole number"),
    "executor": ((Executor, NoneType), "a concurrent.futures.Executor"),
}


@dataclass(frozen=True)
class RunOptions:
    """The keyword arguments that the functions of the package share.

    Parameters
    ----------
    options : mapping of str to value, optional
        Options of the model, as in ``{"use_pca": True}``, for calls with one model.
    protocol : str, optional
        The published harness whose preparation is used, such as "gudgud96"; a protocol in the name
        of a model comes first.
    weights : path, or mapping of str to path, optional
        Checkpoints in place of the official ones: a path for the main checkpoint, or
        ``{"MODEL:NAME": path}``; "MODEL:" may be left out for one model, ":NAME" for the main
        checkpoint.
    folders : sequence of paths
        Folders to search for official checkpoints before a download.
    provider : str
        Execution provider, such as "auto", "cpu" or "cuda".
    threads : int
        Threads within one run of a network.
    device : int
        Index of the GPU.
    memory_limit_mb : int, optional
        Limit of the GPU memory that ONNX Runtime uses, in MB.
    workers : int, optional
        Threads that decode, resample and run networks at the same time; by default one for each
        core that this process may use, and one in a worker of an executor.
    short : {"error", "skip", "pad"}
        What to do with a clip below the model's minimum length.
    skip_errors : bool
        Skip unusable files, and list them.
    sample_format : str
        The type to which PCM is decoded: "float32", "float64", "int16" or "int32".
    cache : bool
        Whether to read and store cached embeddings.
    cache_dir : path, optional
        Where to cache embeddings.
    offline : bool
        Use no network, as with the environment variable FAD_ONNX_OFFLINE.
    executor : concurrent.futures.Executor, optional
        An executor that computes instead of the worker threads.
    progress : bool or callable, optional
        True draws bars. A function is called with the name of a dataset or step, the newly
        finished count, and the total.
    download_progress : callable, optional
        Called with the name of a file, the bytes so far, and the total bytes or None.
    key : str, optional
        Which statistics to read from a file of another tool that holds several.

    Raises
    ------
    OptionError
        If a value is of the wrong type.

    Examples
    --------
    >>> RunOptions(workers=2, provider="cpu").worker_count
    2
    """

    options: Mapping[str, Any] | None = None
    protocol: str | None = None
    weights: PathLike | Mapping[str, PathLike] | None = None
    folders: Sequence[PathLike] = ()
    provider: str = "auto"
    threads: int = 1
    device: int = 0
    memory_limit_mb: int | None = None
    workers: int | None = None
    short: str = "error"
    skip_errors: bool = False
    sample_format: str = "float32"
    cache: bool = True
    cache_dir: PathLike | None = None
    offline: bool = False
    executor: Executor | None = None
    progress: bool | Progress | None = None
    download_progress: prepare.Progress | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        for name, (kinds, wanted) in KINDS.items():
            if not isinstance(getattr(self, name), kinds):
                raise OptionError(name, f"{getattr(self, name)!r} is not {wanted}")
        if self.workers is not None and self.workers < 1:
            raise OptionError("workers", f"{self.workers} is not a positive number")
        for name, value in self._settled().items():
            object.__setattr__(self, name, value)

    def _settled(self) -> dict[str, Any]:
        """Paths that hold in any folder, that of a worker or of a copy; bars for True."""
        given: Mapping[str, PathLike] = {}
        if isinstance(self.weights, Mapping):
            given = self.weights
        elif self.weights is not None:
            given = {"main": self.weights}
        found: dict[str, Any] = {
            "weights": {name: os.path.abspath(path) for name, path in given.items()},
            "folders": tuple(os.path.abspath(folder) for folder in self.folders),
            "cache_dir": self.cache_dir and os.path.abspath(self.cache_dir),
        }
        if self.progress is True:
            found["download_progress"] = self.download_progress or Downloads().update
        if isinstance(self.progress, bool):
            found["progress"] = Bars().update if self.progress else None
        return found

    @classmethod
    def of(cls, given: Mapping[str, Any]) -> RunOptions:
        """Take the shared keywords from the arguments of a call.

        Parameters
        ----------
        given : mapping of str to value
            The arguments by name, as `locals()` returns them.

        Returns
        -------
        RunOptions
        """
        return cls(**{one.name: given[one.name] for one in fields(cls) if one.name in given})

    def of_files(self) -> RunOptions:
        """The options that concern files; those that a loaded model fixes have their defaults.

        Returns
        -------
        RunOptions
        """
        held = {name: getattr(NO_OPTIONS, name) for name in OF_A_MODEL}
        return replace(self, **held)

    @property
    def tell(self) -> Progress | None:
        """The function to call with progress."""
        return None if isinstance(self.progress, bool) else self.progress

    @property
    def checkpoints(self) -> Mapping[str, str]:
        """The checkpoints that are given in place of the official ones, by name."""
        assert isinstance(self.weights, Mapping)
        return {name: os.fspath(path) for name, path in self.weights.items()}

    @property
    def settings(self) -> Settings:
        """How to run a network."""
        return Settings(self.provider, self.threads, self.device, self.memory_limit_mb)

    @property
    def worker_count(self) -> int:
        """How many workers there are."""
        # Within a worker of an executor one thread a chunk: the executor knows its own cores.
        return self.workers or (1 if self.executor is not None else machine.cores())


NO_OPTIONS = RunOptions()
# What a loaded model has been given already.
OF_A_MODEL = (
    "options", "protocol", "weights", "folders", "provider", "threads", "device",
    "memory_limit_mb", "sample_format", "offline",
)  # fmt: skip


class Run:
    """Models and settings, loaded when first needed and used for every set."""

    def __init__(
        self, model: ModelName, options: RunOptions = NO_OPTIONS, keep_embeddings: bool = False
    ) -> None:
        self._options, self._keep_embeddings = options, keep_embeddings
        self._models = _asked(model)
        if any(isinstance(one, Embedder) for one in self._models):
            for name in OF_A_MODEL:
                if getattr(options, name) != getattr(NO_OPTIONS, name):
                    raise OptionError(name, "the model is loaded already; load it with this option")
        self.specs = specs_of(model, options.options or {}, options.checkpoints, options.protocol)
        self._named = model is not None
        self.policy = Policy(options.short, options.skip_errors)

    def assume(self, archive: Dataset) -> None:
        """Where the user named no model, the one that a statistics file was made with.

        Raises IncompatibleStatisticsError if only others were named: before they are loaded.
        """
        said = archive.metadata
        made = said.model
        if made and self._named and made not in [spec.name for spec in self.specs]:
            named = " -m ".join(map(str, self.specs))
            raise IncompatibleStatisticsError(
                archive.path, f"-m {named}", f"it was made with {made}"
            )
        if not self._named and made in table.models():
            (given,) = self.specs
            options = {**said.options, **given.options}
            protocol = given.protocol or said.harness
            self.specs = (ModelSpec(made, options, said.output, protocol, given.weights),)

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """What was decided of each model; OptionError, UnknownModelError."""
        return tuple(
            one.selection
            if isinstance(one, Embedder)
            else select(spec).decoding(self._options.sample_format)
            for one, spec in zip(self._models, self.specs, strict=True)
        )

    @cached_property
    def requests(self) -> tuple[prepare.Request, ...]:
        """What is asked of each model."""
        return tuple(
            _request(one, spec, self._options)
            for one, spec in zip(self._models, self.specs, strict=True)
        )

    @cached_property
    def embedders(self) -> list[Embedder]:
        """The loaded models."""
        asked = list(zip(self._models, self.requests, strict=True))
        missing = [request for one, request in asked if not isinstance(one, Embedder)]
        loaded = iter(prepare.load_all(missing, self._options.download_progress))
        return [one if isinstance(one, Embedder) else next(loaded) for one, _ in asked]

    def for_samples(self) -> Embedder:
        """The one model, with the rule for short clips."""
        (asked,), (loaded,) = self._models, self.embedders
        return loaded if isinstance(asked, Embedder) else replace(loaded, short=self.policy.short)

    @cached_property
    def job(self) -> Job:
        """What workers must know."""
        return Job(
            self.requests,
            tuple(embedder.fingerprint for embedder in self.embedders),
            self.policy,
            self._options.worker_count,
            self.cache_folder,
            self._keep_embeddings,
        )

    @cached_property
    def cache_folder(self) -> Path | None:
        """Where embeddings are kept; None, with a warning, where there is no place to keep them."""
        if not self._options.cache:
            return None
        if folder := self._options.cache_dir:
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
    ) -> list[Dataset]:
        """The set of these files for each model; `keep` is called with every file's result."""
        return self._sets([(name, files)], keep, may_be_empty)[0]

    def sides(self, sides: Sequence[Sequence[PathLike]]) -> list[list[Dataset]]:
        """The dataset of each of these lists of paths for each model; all are listed first."""
        return self._sets(
            [
                (
                    ", ".join(os.fspath(one) for one in paths),
                    datasets.list_files(paths, self._options.offline),
                )
                for paths in sides
            ]
        )

    def _sets(
        self,
        sides: Sequence[tuple[str, Sequence[AudioFile]]],
        keep: Callable[[FileSummary], object] | None = None,
        may_be_empty: bool = False,
    ) -> list[list[Dataset]]:
        options = self._options
        return datasets.embed_sets(
            sides, self.job, self.embedders, options.executor, options.tell, keep, may_be_empty
        )


def _asked(model: ModelName) -> list[Model | None]:
    """Every model of a call; None is the default one."""
    if isinstance(model, str | ModelSpec | Embedder | None):
        return [model]
    if not isinstance(model, Iterable):
        raise OptionError("model", f"{model!r} is no name, ModelSpec or loaded model")
    asked: list[Model | None] = list(model)
    if not asked:
        raise OptionError("model", "an empty list; name at least one, or give None")
    return asked


def check_single(model: ModelName) -> None:
    """OptionError for several models."""
    if len(_asked(model)) > 1:
        raise OptionError("model", "several models; only compare takes more than one")


def _spec(model: Model | None) -> ModelSpec:
    """What was asked for, whatever form it has."""
    if isinstance(model, Embedder):
        made = model.selection
        plain = ModelSpec(model.name, made.changed_options, made.output_name, made.protocol)
        return model.request.spec if model.request else plain
    if isinstance(model, str | None):
        return ModelSpec.parse(model or table.model().name)
    if not isinstance(model, ModelSpec):
        raise OptionError("model", f"{model!r} is no name, ModelSpec or loaded model")
    return model


def _request(model: Model | None, spec: ModelSpec, options: RunOptions) -> prepare.Request:
    """What a worker has to load."""
    if isinstance(model, Embedder):
        made = model.request or prepare.Request(spec, settings=model.session.settings)
        return replace(made, sample_format=model.preparation.sample_format)
    folders = tuple(os.fspath(folder) for folder in options.folders)
    return prepare.Request(spec, folders, options.settings, options.sample_format, options.offline)


def specs_of(
    model: ModelName,
    options: Mapping[str, Any],
    weights: PathLike | Mapping[str, PathLike],
    protocol: str | None = None,
) -> tuple[ModelSpec, ...]:
    """What is asked of each model, from the arguments of a call.

    Parameters
    ----------
    model : str, ModelSpec, Embedder, a sequence of these, or None
        None is the default model.
    options : mapping
        Options of the one model of the call.
    weights : path or mapping of "MODEL:NAME", "NAME" or "MODEL" to path
        Files in place of the official ones.
    protocol : str, optional
        Of the models that name none.

    Raises
    ------
    OptionError
        If options or weights do not say which of several models they are for.
    """
    specs = [_spec(one) for one in _asked(model)]
    if options and len(specs) > 1:
        raise OptionError("options", "for one model; for several write NAME:KEY=VALUE")
    files = weights if isinstance(weights, Mapping) else {"main": weights}
    found = [
        replace(
            spec,
            options={**spec.options, **options},
            protocol=spec.protocol or protocol,
            weights=_own(spec, files, len(specs)),
        )
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


def check_keywords(given: Iterable[str], others: Iterable[str]) -> None:
    """KeywordError for a keyword that is neither one of RunOptions nor one of these others."""
    known = {one.name for one in fields(RunOptions)} | set(others) - {"run"}
    for name in given:
        if name not in known:
            raise KeywordError(name, known)


def cache_folder() -> Path:
    """Where embeddings are kept unless the caller says otherwise."""
    return root.part("embeddings")
