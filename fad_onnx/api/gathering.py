"""Embed every dataset of an evaluation with every model; each clip is decoded once."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from ..errors import OptionError, StatisticsError
from ..files.archives import check_comparable
from ..metrics import registry
from ..metrics.registry import Metric
from ..networks.spec import ModelSpec
from ..pipeline.datasets import Dataset
from ..pipeline.options import RunOptions
from ..pipeline.run import Run
from ..weights.prepare import load_text
from . import inputs
from .asked import Asked, named
from .evaluated import Result, joined
from .inputs import Source
from .measure import Against, clip_scores, embeddings_of, made_differently, protocol_of
from .text import CaptionedClips, Captions


@dataclass
class Gathered:
    """Evaluation datasets and their reference under every model.

    Parameters
    ----------
    asked : sequence of Asked
        The metrics.
    run : RunOptions
    evaluations : list of lists of Dataset
        Each evaluation dataset, for each of the models.
    reference : list of Dataset or None, or None
        One for each of the models; None for a model without metrics that need a reference.
    texts : mapping
        The captions, for each model that needs them.
    """

    asked: Sequence[Asked]
    run: RunOptions
    evaluations: list[list[Dataset]]
    reference: list[Dataset | None] | None
    texts: Mapping[ModelSpec | None, CaptionedClips]

    @property
    def specs(self) -> list[ModelSpec | None]:
        """The models."""
        return list(dict.fromkeys(one.spec for one in self.asked))

    def every(self, options: Mapping[str, Any], per_file: bool) -> tuple[Result, ...]:
        """The results of all models and datasets."""
        found: dict[tuple[str, str], Result] = {}
        for spec, implied in dict.fromkeys((one.spec, one.implied) for one in self.asked):
            for result in self.results(spec, implied, options, per_file):
                place = result.model, result.path
                held = found.get(place)
                found[place] = joined(held, result) if held else result
        return tuple(found.values())

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
        if against.arrays is not None:
            against.arrays.forget()

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
        said += () if reference is None else made_differently(reference, evaluation)
        said += [text for value in values.values() for text in value.remarks]
        name = _label(evaluation, implied)
        return Result(name, reference, evaluation, values, files, tuple(dict.fromkeys(said)))


class Datasets(Gathered):
    """Every dataset of an evaluation by model, each clip decoded once."""

    def __init__(
        self, asked: Sequence[Asked], evaluations: Sequence[Source], reference: Source | None,
        options: Mapping[str, Any], run: RunOptions, compare: Sequence[tuple[Any, Any]] = (),
        captions: Captions | None = None,
    ) -> None:  # fmt: skip
        if not asked or not evaluations:
            raise OptionError("metrics, evaluations", "an empty list; name at least one")
        needing = [one.metric.name for one in asked if one.metric.needs.reference]
        if reference is None and needing:
            raise OptionError("reference", f"{needing[0]} needs a reference; name one")
        self.asked, self.run, self.captions = asked, run, captions
        self._check_captions()
        inputs.check_distinct(evaluations)
        names = [f"evaluation {number}" for number in range(1, len(evaluations) + 1)]
        held = [inputs.made(*pair, run.key) for pair in zip(evaluations, names, strict=True)]
        inputs.check_key(run.key, [*evaluations, reference])
        fixed = inputs.of_models(reference, run.key)
        if not fixed and reference is not None:
            fixed = list(filter(None, [inputs.made(reference, "reference", run.key)]))
        self.asked = named(asked, [one.metadata for one in (*filter(None, held), *fixed)])
        self.runner = Run(None if self.specs == [None] else list(filter(None, self.specs)), run,
                          keep_embeddings=True)  # fmt: skip
        self._check(held, fixed, options, by_clip=bool(compare))
        for dataset in (*filter(None, held), *fixed):
            self.runner.assume(dataset)
        texts = self._texts(evaluations, held)
        audio = [reference] if reference is not None and needing and not fixed else []
        if not audio and None not in held:
            self._check_unused((*filter(None, held), *fixed))
        found = self._embedded([*evaluations, *audio], [*held, *(None for _ in audio)])
        theirs: list[Dataset | None] | None = None
        if reference is not None and needing:
            theirs = references(self.asked, self.runner, fixed) if fixed else [*found[-1]]
        super().__init__(self.asked, run, found[: len(evaluations)], theirs, texts)

    def _check_unused(self, made: Sequence[Dataset]) -> None:
        """Raise an error for weights or options that are ignored, because no audio is embedded."""
        if self.run.weights and self.captions is None:
            raise OptionError("weights", "all datasets are made already; nothing is embedded")
        for dataset in made:
            self.runner.check_fits(dataset)

    def _check_captions(self) -> None:
        """OptionError for missing captions, or captions that no metric needs."""
        needing = [one.metric.name for one in self.asked if one.metric.needs.captions]
        if self.captions is None and needing:
            raise OptionError("captions", f"{needing[0]} needs captions; name a file")
        if self.captions is not None and not needing:
            raise OptionError("captions", "none of the requested metrics uses captions")

    def _texts(
        self, evaluations: Sequence[Source], held: Sequence[Dataset | None]
    ) -> dict[ModelSpec | None, CaptionedClips]:
        """The captions for each model that needs them, before any audio is embedded."""
        if self.captions is None:
            return {}
        used: list[str | None] = []
        for source, one in zip(evaluations, held, strict=True):
            paths = inputs.paths_of(source) if one is None else []
            names = self.runner.listing(paths).names if one is None else one.names
            where = ", ".join(os.fspath(path) for path in paths) if one is None else one.path
            used += self.captions.of(names, where, self.run.skip_errors)
        needing = dict.fromkeys(one.spec for one in self.asked if one.metric.needs.captions)
        towers = {
            spec: load_text(
                self.runner.requests[self.specs.index(spec)], self.run.download_progress
            )
            for spec in needing
        }
        run = self.run
        found = {
            spec: CaptionedClips(
                self.captions, tower, run.worker_count, run.tell, self.runner.cache_folder
            )
            for spec, tower in towers.items()
        }
        for texts in found.values():
            texts.embed(filter(None, used))
        return found

    def _check(
        self, held: Sequence[Dataset | None], fixed: Sequence[Dataset], options: Mapping[str, Any],
        by_clip: bool,
    ) -> None:  # fmt: skip
        """Raise an error, before anything is embedded, if a dataset lacks what a metric needs."""
        ready = [one for one in held if one is not None]
        for asked, own in product(self.asked, ready):
            _check_output(asked.metric, own)
        compared = dict.fromkeys(one.spec for one in self.asked if one.metric.needs.reference)
        if (ready and len(self.specs) > 1) or (len(fixed) == 1 and len(compared) > 1):
            problem = "metrics of several models need audio on both sides, or a reference for each"
            raise OptionError("metrics", problem)
        theirs_of = dict(zip(self.specs, references(self.asked, self.runner, fixed), strict=True))
        for one in self.asked:
            metric, theirs = one.metric, theirs_of[one.spec]
            if by_clip or metric.by_clip(metric.chosen(options)):
                for own in ready:
                    embeddings_of(own, metric.name)
            if theirs is not None and metric.needs.reference == "clips":
                embeddings_of(theirs, metric.name)

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


def references(
    asked: Sequence[Asked], runner: Run, fixed: Sequence[Dataset]
) -> list[Dataset | None]:
    """The precomputed reference of each model; None if none is needed or given.

    Raises
    ------
    OptionError
        If several references are given, but none was made with one of the models.
    StatisticsError
        If a reference holds another output than the one that a metric needs.
    """
    specs = list(dict.fromkeys(one.spec for one in asked))
    needed = {one.spec for one in asked if one.metric.needs.reference}
    if len(fixed) < 2:
        found = [fixed[0] if fixed and spec in needed else None for spec in specs]
    else:
        found = [
            _made_with(one.label, fixed) if spec in needed else None
            for spec, one in zip(specs, runner.selections, strict=True)
        ]
    for one in asked:
        theirs = found[specs.index(one.spec)]
        if theirs is not None and one.metric.needs.reference:
            _check_output(one.metric, theirs)
    return found


def _made_with(label: str, fixed: Sequence[Dataset]) -> Dataset:
    found = [one for one in fixed if one.metadata.label == label]
    if len(found) != 1:
        made = ", ".join(str(one.metadata.label) for one in fixed)
        problem = f"one made with {label} is needed; these were made with {made}"
        raise OptionError("reference", problem)
    return found[0]


def _check_output(metric: Metric, held: Dataset) -> None:
    """StatisticsError if a dataset holds another output than the one that a metric needs."""
    output, found = metric.needs.output, held.metadata.output or registry.EMBEDDING
    if output not in (registry.EMBEDDING, found):
        raise StatisticsError(
            held.path, f"holds the output {found}, {metric.name} needs {output}: give audio, or a"
            f" file that embed wrote with MODEL:output={output}",
        )  # fmt: skip


def _label(evaluation: Dataset, implied: bool) -> str:
    """The model with its options, without an output that the name of the metric implies."""
    made = evaluation.metadata.label or evaluation.metadata.model or "unknown"
    return str(replace(ModelSpec.parse(made), output=None)) if implied else made
