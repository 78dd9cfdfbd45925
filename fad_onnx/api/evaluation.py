"""Several metrics of several datasets under several models, in one pass over the audio."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import OptionError, StatisticsError, shown
from ..files.archives import check_comparable
from ..metrics import registry
from ..metrics.registry import Measured, Metric, Value
from ..networks import table
from ..networks.spec import ModelSpec
from ..pipeline.datasets import Dataset, list_files
from ..pipeline.options import PathLike, Progress, Run, RunOptions
from ..weights.prepare import Progress as FetchProgress
from ..weights.prepare import load_text, tower_of
from . import inputs
from .comparison import LEVEL, Difference, compared
from .harness import metrics_of
from .inputs import Source
from .measure import Against, FileScore, clip_scores, measured, protocol_of, rows_of
from .text import CaptionedClips, Captions


@dataclass(frozen=True)
class Asked:
    """A metric and the model that it is computed with; None for the default model."""

    metric: Metric
    spec: ModelSpec | None  # with the output that the metric needs
    implied: bool = False  # whether the metric, not the user, names the output

    @classmethod
    def parse(cls, text: str) -> Asked:
        """Read ``METRIC`` or ``METRIC:MODEL``.

        Raises
        ------
        OptionError
            For a metric that is none, or a model without the output that the metric needs; with
            the names of those that there are.
        """
        name, colon, model = text.partition(":")
        metric = registry.metric(name)
        spec = ModelSpec.parse(model) if colon else None
        plain = metric.needs.output == registry.EMBEDDING and not metric.needs.captions
        if spec is None and plain:
            return cls(metric, None)
        spec = spec or ModelSpec(table.model().name)
        found = _with_output(metric, spec)
        return cls(metric, found, found != spec)


def _with_output(metric: Metric, spec: ModelSpec) -> ModelSpec:
    output = metric.needs.output
    if metric.needs.captions:
        tower_of(spec)  # raises OptionError if it has none
    if output == registry.EMBEDDING or spec.output == output:
        return spec
    known = [one.name for one in table.models().values() if output in one.network.outputs]
    if spec.output is not None or table.model(spec.name).name not in known:
        raise OptionError(
            "metric", f"{metric.name} needs {output}, which {spec} does not give; models that do:"
            f" {', '.join(known) or 'none of this release'}",
        )  # fmt: skip
    return replace(spec, output=output)


@dataclass(frozen=True)
class Result:
    """The metrics of one evaluation dataset under one model."""

    model: str
    reference: Dataset | None
    evaluation: Dataset
    metrics: Mapping[str, Value]
    files: tuple[FileScore, ...] = ()
    warnings: tuple[str, ...] = ()
    captions: Mapping[str, Any] = field(default_factory=dict)  # by their file: what made them

    @property
    def path(self) -> str:
        """The evaluation dataset, as it was named."""
        return self.evaluation.path

    @property
    def sides(self) -> tuple[Dataset, ...]:
        """The evaluation dataset, and the reference where there is one."""
        return tuple(one for one in (self.evaluation, self.reference) if one is not None)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(path, reason) of every file of either dataset that gave no embeddings."""
        return tuple(pair for one in self.sides for pair in one.skipped)


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found."""

    results: tuple[Result, ...] = field(default=())
    differences: tuple[Difference, ...] = ()  # of the datasets that were to be compared

    @property
    def measured(self) -> list[Measured]:
        """Every number."""
        return measured(self.results)

    def compare(self, first: str, second: str, level: float = LEVEL) -> tuple[Difference, ...]:
        """Whether the first dataset is better than the second, by each metric and model.

        Clips of one name are compared with each other.

        Parameters
        ----------
        first, second : str
            Evaluation datasets, as they were named.
        level : float
            Of the intervals.

        Returns
        -------
        tuple of Difference

        Raises
        ------
        OptionError
            For a dataset that was not evaluated.
        StatisticsError
            For a dataset that is statistics alone.
        """
        return compared(self.results, first, second, level)

    @property
    def warnings(self) -> list[str]:
        """Each once."""
        return list(dict.fromkeys(text for one in self.results for text in one.warnings))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of each file once."""
        return list(dict.fromkeys(pair for one in self.results for pair in one.skipped))

    def to_dict(self) -> dict[str, float | None]:
        """``{"fad:vggish": 1.2}`` for a logger; of several datasets "PATH fad:vggish"."""
        found = self.measured
        several = len({one.path for one in found}) > 1
        return {
            f"{one.path} {one.label}" if several else one.label: one.value.value for one in found
        }

    def to_json(self) -> dict[str, Any]:
        """The object of `fad-onnx evaluate --json`."""
        results = [
            {
                "path": one.path, "metric": one.metric.name, "model": one.model,
                "value": one.value.value, **one.value.fields,
            }
            for one in self.measured
        ]  # fmt: skip
        protocols: dict[str, dict[str, Any]] = {}
        for result in self.results:
            made = {one.path: one.provenance for one in result.sides} | dict(result.captions)
            protocols.setdefault(result.model, {}).update(made)
        skipped = [{"path": shown(path), "reason": reason} for path, reason in self.skipped]
        found = {
            "schema": 2, "results": results, "protocols": protocols, "skipped": skipped,
            "warnings": self.warnings,
        }  # fmt: skip
        if self.differences:
            found["comparisons"] = [one.to_json() for one in self.differences]
        return found


def evaluate(
    evaluations: Source | Sequence[Source],
    reference: Source | None = None,
    metrics: str | Sequence[str] | None = None,
    *,
    compare: Sequence[tuple[str, str]] = (),
    captions: PathLike | None = None,
    per_file: bool = False,
    metric_options: Mapping[str, Any] | None = None,
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
    key: str | None = None,
) -> Evaluation:
    """Metrics of datasets, in one pass over the audio.

    Parameters
    ----------
    evaluations : dataset or sequence of datasets
        Each one as either side of `score`: a folder, audio file, list or archive, a file
        written by `stats` or `embed`, what these return, Moments, or an array of embeddings.
    reference : dataset, optional
        Likewise; needed by all metrics but `isc` and `clap-score`. Statistics and embeddings are
        not made again.
    metrics : str or sequence of str, optional
        ``METRIC`` or ``METRIC:MODEL``, as in ``["fad:vggish", "prdc:clap"]``. By default FAD; with
        a protocol, every metric of that harness, as it defines them.
    compare : sequence of pairs of str
        Evaluation datasets, as they are named: is the first better than the second? See
        `Evaluation.compare`.
    captions : path, optional
        Captions of the evaluation's clips, for `clap-score`: .csv or .tsv with the columns `file`
        and `caption`, or .jsonl with these keys. `file` is a clip's path relative to its dataset,
        with or without suffix.
    per_file : bool
        The influence of each clip on FAD.
    metric_options : mapping, optional
        Options of metrics by keyword: ``{"prdc_k": 3, "ci": 0.9}``.
    options, weights, ..., key
        See `fad_onnx.pipeline.options.RunOptions`.

    Returns
    -------
    Evaluation
        ``evaluate(...).to_dict()`` is ``{"fad:vggish": 1.2}``.

    Raises
    ------
    FadError
        As `score` does; UnpairedError for clips without a partner where pairs are compared,
        UncaptionedError for clips without a caption and captions without a clip, CaptionError for
        a file of captions that cannot be read.
    """
    run = RunOptions.of(locals())
    asked = asked_for(metrics, protocol, captions is not None)
    chosen = _options(asked, metric_options or {})
    every = [evaluations] if inputs.single(evaluations) else list(evaluations)  # type: ignore[arg-type]
    said = None if captions is None else Captions.read(captions)
    found = _Datasets(asked, every, reference, chosen, run, compare, said)  # type: ignore[arg-type]
    results: dict[tuple[str, str], Result] = {}
    for spec, implied in dict.fromkeys((one.spec, one.implied) for one in asked):
        for result in found.results(spec, implied, chosen, per_file):
            place = result.model, result.path
            held = results.get(place)
            results[place] = _joined(held, result) if held else result
    made = Evaluation(tuple(results.values()))
    level = chosen.get("ci") or LEVEL
    compared = [one for pair in compare for one in made.compare(*pair, level)]
    return replace(made, differences=tuple(compared))


def asked_for(
    metrics: str | Sequence[str] | None, protocol: str | None, captions: bool = False
) -> list[Asked]:
    """The metrics that are named; by default FAD, or those of the protocol, of which some need
    captions.
    """
    if metrics is None:
        metrics = metrics_of(protocol, captions) if protocol else [registry.FIRST]
    return _named(
        [Asked.parse(text) for text in ([metrics] if isinstance(metrics, str) else metrics)]
    )


def _named(asked: list[Asked]) -> list[Asked]:
    """The default model by its name where other metrics name theirs."""
    if all(one.spec is None for one in asked):
        return asked
    spec = ModelSpec(table.model().name)
    return [one if one.spec else replace(one, spec=spec) for one in asked]


def _options(asked: Iterable[Asked], given: Mapping[str, Any]) -> Mapping[str, Any]:
    known = registry.options(one.metric for one in asked)
    for keyword in given.keys() - known.keys():
        names = ", ".join(known) or "none"
        raise OptionError(keyword, f"is no option of these metrics; their options: {names}")
    return given


def _joined(first: Result, second: Result) -> Result:
    """Of two outputs of one model."""
    warnings = dict.fromkeys((*first.warnings, *second.warnings))
    return replace(
        first, metrics={**first.metrics, **second.metrics}, files=first.files or second.files,
        reference=first.reference or second.reference, warnings=tuple(warnings),
        captions={**first.captions, **second.captions},
    )  # fmt: skip


class _Datasets:
    """Every dataset of an evaluation by model, each clip decoded once."""

    def __init__(
        self, asked: Sequence[Asked], evaluations: Sequence[Source], reference: Source | None,
        options: Mapping[str, Any], run: RunOptions, compare: Sequence[tuple[str, str]] = (),
        captions: Captions | None = None,
    ) -> None:  # fmt: skip
        if not asked or not evaluations:
            raise OptionError("metrics, evaluations", "an empty list; name at least one")
        needing = [one.metric.name for one in asked if one.metric.needs.reference]
        if reference is None and needing:
            raise OptionError("reference", f"{needing[0]} compares with one; name it")
        self.asked, self.run, self.captions = asked, run, captions
        self._check_captions()
        self.specs = list(dict.fromkeys(one.spec for one in asked))
        names = [f"evaluation {number}" for number in range(1, len(evaluations) + 1)]
        held = [inputs.made(*pair, run.key) for pair in zip(evaluations, names, strict=True)]
        fixed = None if reference is None else inputs.made(reference, "reference", run.key)
        self._check(held, fixed, options, by_clip=bool(compare))
        self.runner = Run(None if self.specs == [None] else list(filter(None, self.specs)), run,
                          keep_rows=True)  # fmt: skip
        for dataset in filter(None, (*held, fixed)):
            self.runner.assume(dataset)
        self.texts = self._texts(evaluations, held)
        sources = [*evaluations, *([] if reference is None else [reference])]
        found = self._embedded(sources, [*held, *([] if reference is None else [fixed])])
        self.evaluations = found[: len(evaluations)]
        self.reference = None if reference is None else found[-1]

    def _check_captions(self) -> None:
        """OptionError for captions that are missing, or that nothing needs."""
        needing = [one.metric.name for one in self.asked if one.metric.needs.captions]
        if self.captions is None and needing:
            raise OptionError("captions", f"{needing[0]} compares clips with these; name a file")
        if self.captions is not None and not needing:
            raise OptionError("captions", "no metric that was asked for compares clips with these")

    def _texts(
        self, evaluations: Sequence[Source], held: Sequence[Dataset | None]
    ) -> dict[ModelSpec | None, CaptionedClips]:
        """The captions for each model that needs them, before any audio is embedded."""
        if self.captions is None:
            return {}
        for source, one in zip(evaluations, held, strict=True):
            paths = inputs.paths_of(source) if one is None else []
            names = [file.name for file in (list_files(paths) if one is None else one.files)]
            where = ", ".join(os.fspath(path) for path in paths) if one is None else one.path
            self.captions.of(names, where, self.run.skip_errors)
        needing = dict.fromkeys(one.spec for one in self.asked if one.metric.needs.captions)
        towers = {
            spec: load_text(
                self.runner.requests[self.specs.index(spec)], self.run.download_progress
            )
            for spec in needing
        }
        run = self.run
        return {
            spec: CaptionedClips(self.captions, tower, run.worker_count, run.tell)
            for spec, tower in towers.items()
        }

    def _check(
        self, held: Sequence[Dataset | None], fixed: Dataset | None, options: Mapping[str, Any],
        by_clip: bool,
    ) -> None:  # fmt: skip
        """An error, before anything is embedded, for datasets without what a metric needs."""
        ready = [one for one in held if one is not None]
        if (ready or fixed) and len(self.specs) > 1:
            raise OptionError("metrics", "metrics of several models need audio on both sides")
        for metric in [one.metric for one in self.asked]:
            if by_clip or metric.by_clip(metric.chosen(options)):
                for one in ready:
                    rows_of(one, metric.name)
            if fixed is not None and metric.needs.reference == "clips":
                rows_of(fixed, metric.name)
            for one in (*ready, *([fixed] if fixed is not None else [])):
                _check_output(metric, one)

    def _embedded(
        self, sources: Sequence[Source], held: Sequence[Dataset | None]
    ) -> list[list[Dataset]]:
        """Each source for each model; equal audio is embedded once."""
        audio = {inputs.audio_key(source): inputs.paths_of(source)
                 for source, one in zip(sources, held, strict=True) if one is None}  # fmt: skip
        made = dict(
            zip(audio, self.runner.sides(list(audio.values())) if audio else (), strict=True)
        )
        return [
            [one] if one is not None else made[inputs.audio_key(source)]
            for source, one in zip(sources, held, strict=True)
        ]

    def results(
        self, spec: ModelSpec | None, implied: bool, options: Mapping[str, Any],
        per_file: bool,
    ) -> Iterable[Result]:  # fmt: skip
        """The results of one model, dataset by dataset."""
        index = self.specs.index(spec)
        metrics = [one.metric for one in self.asked if (one.spec, one.implied) == (spec, implied)]
        needed = any(metric.needs.reference for metric in metrics)
        reference = self.reference[index] if self.reference and needed else None
        protocol = protocol_of(*(own[index] for own in self.evaluations), reference)
        texts = self.texts.get(spec)
        against = Against(reference, metrics, options, protocol, self.run.skip_errors, texts)
        for own in self.evaluations:
            found = self._result(implied, own[index], reference, against, per_file)
            yield replace(found, captions=texts.made) if texts else found

    def _result(
        self, implied: bool, evaluation: Dataset, reference: Dataset | None,
        against: Against, per_file: bool,
    ) -> Result:  # fmt: skip
        if reference is not None:
            check_comparable(reference, evaluation)
        values = against.values(evaluation, self.run.tell)
        held = against.arrays
        clips = per_file and registry.FIRST in values and held is not None
        files = clip_scores(held.gaussian, evaluation, None) if clips and held else ()
        sides = [one for one in (reference, evaluation) if one is not None]
        said = [text for one in sides for text in one.warnings]
        said += [text for value in values.values() for text in value.remarks]
        name = _label(evaluation, implied)
        return Result(name, reference, evaluation, values, files, tuple(dict.fromkeys(said)))


def _check_output(metric: Metric, held: Dataset) -> None:
    """StatisticsError for embeddings where a metric needs another output."""
    output, found = metric.needs.output, held.metadata.get("output") or registry.EMBEDDING
    if output not in (registry.EMBEDDING, found):
        raise StatisticsError(
            held.path, f"holds the output {found}, {metric.name} needs {output}: give audio, or a"
            f" file that embed wrote with MODEL:output={output}",
        )  # fmt: skip


def _label(evaluation: Dataset, implied: bool) -> str:
    """The model with its options, without an output that the name of the metric implies."""
    made = evaluation.metadata.get("label") or evaluation.metadata.get("model") or "unknown"
    return str(replace(ModelSpec.parse(made), output=None)) if implied else made
