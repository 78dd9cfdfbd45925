"""Models and settings of one call: what to load, and the datasets that are made with them."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from ..audio.sources import AudioFile, Listing
from ..cache import root
from ..errors import CacheError, IncompatibleStatisticsError, OptionError
from ..networks import table
from ..networks.embedder import Embedder
from ..networks.selection import Selection, select
from ..networks.spec import NATIVE, ModelSpec, as_text
from ..weights import prepare
from . import datasets
from .clip_windows import Policy
from .datasets import Dataset
from .executors import Job
from .metadata import Metadata
from .options import NO_OPTIONS, OF_A_MODEL, PathLike, RunOptions
from .summaries import FileSummary

logger = logging.getLogger("fad_onnx")

Model = str | ModelSpec | Embedder
ModelName = Model | Sequence[Model] | None


class Run:
    """Models and settings, loaded when first needed and used for every dataset."""

    def __init__(
        self, model: ModelName, options: RunOptions = NO_OPTIONS, keep_embeddings: bool = False
    ) -> None:
        self._options, self._keep_embeddings = options, keep_embeddings
        self._listings: dict[tuple[str, ...], Listing] = {}
        self._models = _asked(model)
        if any(isinstance(one, Embedder) for one in self._models):
            for name in OF_A_MODEL:
                if getattr(options, name) != getattr(NO_OPTIONS, name):
                    raise OptionError(name, "the model is loaded already; load it with this option")
        self.specs = specs_of(model, options.options or {}, options.checkpoints, options.protocol)
        self._named = model is not None
        self.policy = Policy(options.short, options.skip_errors)

    def assume(self, archive: Dataset) -> None:
        """Take the model of a statistics file if the user named none.

        Raises IncompatibleStatisticsError, before models are loaded, if only others were named.
        """
        said = archive.metadata
        made = said.model
        if made and self._named and made not in [spec.name for spec in self.specs]:
            named = " -m ".join(map(str, self.specs))
            raise IncompatibleStatisticsError(
                archive.path, f"-m {named}", f"it was made with {made}"
            )
        if not self._named and made:
            (given,) = self.specs
            options = {**said.options, **given.options}
            protocol = given.protocol or said.harness
            self.specs = (ModelSpec(made, options, said.output, protocol, given.weights),)

    def check_fits(self, archive: Dataset) -> None:
        """Check that a file is what was named, if nothing is embedded to compare it with.

        Raises IncompatibleStatisticsError if it was made with another protocol or other options.
        """
        said = archive.metadata
        alike = [spec for spec in self.specs if spec.name == said.model]
        if alike and not any(_fits(spec, said) for spec in alike):
            named = " -m ".join(map(str, alike))
            problem = f"it was made with {said.label or said.model}"
            raise IncompatibleStatisticsError(archive.path, f"-m {named}", problem)

    @cached_property
    def selections(self) -> tuple[Selection, ...]:
        """Each model with its options resolved; OptionError, UnknownModelError."""
        return tuple(
            one.selection
            if isinstance(one, Embedder)
            else select(spec).decoding(self._options.sample_format)
            for one, spec in zip(self._models, self.specs, strict=True)
        )

    @cached_property
    def requests(self) -> tuple[prepare.Request, ...]:
        """The request for each model."""
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
        """The job description for workers."""
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
        """The folder of cached embeddings; None, with a warning, if there is none."""
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
        """The dataset of these files for each model; `keep` is called with every file's result."""
        return self._sets([(name, files)], keep, may_be_empty)[0]

    def listing(self, paths: Sequence[PathLike]) -> Listing:
        """The clips of these paths, listed once."""
        key = tuple(os.fspath(one) for one in paths)
        if key not in self._listings:
            self._listings[key] = datasets.list_files(paths, self._options.offline)
        return self._listings[key]

    def sides(self, sides: Sequence[Sequence[PathLike]]) -> list[list[Dataset]]:
        """The dataset of each list of paths for each model; all are listed first."""
        return self._sets(
            [(", ".join(os.fspath(one) for one in paths), self.listing(paths)) for paths in sides]
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


def _fits(spec: ModelSpec, said: Metadata) -> bool:
    """Whether a dataset was made with the protocol and options of a spec, if they are known."""
    if spec.protocol and said.harness and spec.protocol != said.harness:
        return False
    known = table.models()[spec.name].options if spec.name in table.models() else {}
    made = {key: option.default for key, option in known.items() if said.harness == NATIVE}
    made |= said.options
    return all(
        as_text(value) == made.get(key, as_text(value)) for key, value in spec.options.items()
    )


def _asked(model: ModelName) -> list[Model | None]:
    """Every model of a call; None is the default one."""
    if isinstance(model, str | ModelSpec | Embedder | None):
        return [model]
    if not isinstance(model, Iterable):
        raise OptionError("model", f"{model!r} is not a name, ModelSpec or loaded model")
    asked: list[Model | None] = list(model)
    if not asked:
        raise OptionError("model", "an empty list; name at least one, or give None")
    return asked


def check_single(model: ModelName) -> None:
    """OptionError for several models."""
    if len(_asked(model)) > 1:
        raise OptionError("model", "several models; only compare takes more than one")


def _spec(model: Model | None) -> ModelSpec:
    """The ModelSpec of a model given in any form."""
    if isinstance(model, Embedder):
        made = model.selection
        plain = ModelSpec(model.name, made.changed_options, made.output_name, made.protocol)
        return model.request.spec if model.request else plain
    if isinstance(model, str | None):
        return ModelSpec.parse(table.model().name if model is None else model)
    if not isinstance(model, ModelSpec):
        raise OptionError("model", f"{model!r} is not a name, ModelSpec or loaded model")
    return model


def _request(model: Model | None, spec: ModelSpec, options: RunOptions) -> prepare.Request:
    """The request for a model, from which a worker loads it."""
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
    """The ModelSpec of each model, from the arguments of a call.

    Parameters
    ----------
    model : str, ModelSpec, Embedder, a sequence of these, or None
        None is the default model.
    options : mapping
        Options of the one model of the call.
    weights : path or mapping of "MODEL:NAME", "NAME" or "MODEL" to path
        Files to use instead of the official ones.
    protocol : str, optional
        The protocol of models that name none.

    Raises
    ------
    OptionError
        If it is unclear to which of several models options or weights belong.
    """
    specs = [_spec(one) for one in _asked(model)]
    names = {one.name for one in specs}
    if options and len(specs) > 1:
        raise OptionError("options", "for one model; for several write NAME:KEY=VALUE")
    files = weights if isinstance(weights, Mapping) else {"main": weights}
    found = [
        replace(
            spec,
            options={**spec.options, **options},
            protocol=spec.protocol or protocol,
            weights=_own(spec, files, names),
        )
        for spec in specs
    ]
    unknown = {key.partition(":")[0] for key in files if ":" in key} - names
    if unknown:
        raise OptionError("weights", f"{min(unknown)!r} is not a model of this call")
    return tuple(_with_own_files(found))


def _with_own_files(specs: Sequence[ModelSpec]) -> Iterator[ModelSpec]:
    """Each spec without the files that only others of the same model use."""
    for spec in specs:
        alike = [other for other in specs if other.name == spec.name]
        if len(alike) == 1 or not spec.weights:
            yield spec
            continue
        used = {name for other in alike for name in select(other).output.checkpoints}
        not_own = used - set(select(spec).output.checkpoints)
        kept = {name: path for name, path in spec.weights.items() if name not in not_own}
        yield replace(spec, weights=kept)


def _own(spec: ModelSpec, files: Mapping[str, PathLike], models: Set[str]) -> dict[str, str]:
    """The files for one model, by the names of its checkpoints."""
    found: dict[str, str] = {}
    for key, path in files.items():
        name, colon, file = (key, ":", "main") if key in models else key.rpartition(":")
        if not colon and len(models) > 1:
            raise OptionError("weights", f"{key!r}: say for which model, as {spec.name}:{key}")
        if name not in ("", spec.name):
            continue
        if file in found:
            raise OptionError("weights", f"{spec.name}:{file} is given twice")
        found[file] = os.fspath(path)
    return {file: os.path.abspath(path) for file, path in {**spec.weights, **found}.items()}


def cache_folder() -> Path:
    """The default folder of cached embeddings."""
    return root.part("embeddings")
