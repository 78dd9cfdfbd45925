"""The straight line from paths to a score: find, embed, fold, compare."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from ..audio.sources import AudioFile
from ..errors import DuplicateNameError, OptionError, StatisticsError
from ..files import embeddings, outputs, shards, statistics
from ..files.archives import check_comparable, is_archive, read_set
from ..metrics.moments import Moments
from ..metrics.registry import FIRST, Value
from ..networks.embedder import Embedder
from ..pipeline import datasets, provenance
from ..pipeline.datasets import AudioSet
from ..pipeline.options import ModelName, PathLike, Run, RunOptions, given_weights
from .measure import Against, FileScore, Progress, Wanted, clip_scores, rows_of

NOTHING = Wanted()

logger = logging.getLogger("fad_onnx")


@dataclass(frozen=True)
class Score:
    """A Frechet audio distance with everything that it depends on; `float(score)` is the number."""

    value: float
    model: str
    reference: AudioSet
    evaluation: AudioSet
    metrics: Mapping[str, Value] = field(default_factory=dict)  # by name; FAD is one of them
    files: tuple[FileScore, ...] = ()  # the clips, highest influence first, where asked for
    warnings: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.value

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else repr(self)

    def __repr__(self) -> str:
        sides = (f"{one.path} ({one.metadata.get('embeddings', 'unknown')} embeddings)"
                 for one in (self.evaluation, self.reference))  # fmt: skip
        return f"<Score {self.value:.6g}, {self.model}: {' against '.join(sides)}>"

    @property
    def path(self) -> str:
        """The evaluation set, as it was named."""
        return self.evaluation.path

    @property
    def protocol(self) -> dict[str, dict[str, Any]]:
        """How the embeddings of the `reference` and of the `evaluation` were made.

        {} for foreign statistics, of which nothing is known.
        """
        sides = {"reference": self.reference, "evaluation": self.evaluation}
        return {side: one.provenance for side, one in sides.items()}

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(path, reason) of every file of either set that gave no rows."""
        return self.reference.skipped + self.evaluation.skipped


def score(
    reference: PathLike, evaluation: PathLike, model: str | None = None,
    wanted: Wanted = NOTHING, **run: Unpack[RunOptions],
) -> Score:  # fmt: skip
    """The Frechet audio distance of an evaluation set to a reference set.

    reference, evaluation: a folder, an audio file, or a file written by `stats` or `embed`.
    model: a name of `fad-onnx models`; by default what a statistics file was made with, else
    the default row. Keyword arguments: see RunOptions. Raises FadError.

    Kilgour et al. 2019, "Frechet Audio Distance: A Reference-Free Metric for Evaluating Music
    Enhancement Algorithms", arXiv:1812.08466.
    """
    return compare(reference, [evaluation], model, wanted, **run)[0]


def compare(
    reference: PathLike, evaluations: Sequence[PathLike], model: ModelName = None,
    wanted: Wanted = NOTHING, **run: Unpack[RunOptions],
) -> list[Score]:  # fmt: skip
    """Scores of every evaluation set to one reference, for each model; model by model.

    The reference is embedded and factored once. wanted: what to compute beside the scores.
    """
    one = isinstance(evaluations, str | os.PathLike)
    evaluations = [evaluations] if one else list(evaluations)  # type: ignore[list-item]
    for path in (reference, *evaluations):
        if not isinstance(path, str | os.PathLike):
            raise OptionError(
                "reference, evaluation", f"{type(path).__name__} is no path; samples in memory go"
                " to load_model().embed or FrechetAudioDistance.update",
            )  # fmt: skip
    runner = Run(model, run, keep_rows=bool(wanted))
    archives = {path: read_set(path, run.get("key"))
                for path in [reference, *evaluations] if is_archive(path)}  # fmt: skip
    for archive in archives.values():
        runner.assume(archive)
    if archives and len(runner.requests) > 1:
        raise OptionError("--model", "several models need audio on both sides")
    if wanted:
        for path in evaluations:
            if path in archives:
                rows_of(archives[path], "what was asked for")
        for metric in wanted.metrics:
            if metric.needs.reference == "clips" and reference in archives:
                rows_of(archives[reference], f"--{metric.name}")
    audio = [path for path in dict.fromkeys([reference, *evaluations]) if path not in archives]
    if not audio and (run.get("weights") or run.get("options")):
        raise OptionError("--weights, --option", "both sets are made already; nothing is embedded")
    found = {path: [archive] for path, archive in archives.items()}
    found |= zip(audio, runner.sides(audio) if audio else (), strict=True)
    return [
        score
        for model, one in enumerate(found[reference])
        for score in _scores(
            one, [found[path][model] for path in evaluations], wanted, run.get("progress")
        )
    ]


def _scores(
    reference: AudioSet, evaluations: Sequence[AudioSet], wanted: Wanted, progress: Progress | None
) -> Iterator[Score]:
    against = Against(reference, wanted.metrics, wanted.options)
    for one in evaluations:
        check_comparable(reference, one)
        yield _score(reference, one, against, wanted, progress)


def _score(
    reference: AudioSet, evaluation: AudioSet, against: Against, wanted: Wanted,
    progress: Progress | None,
) -> Score:  # fmt: skip
    values = against.values(evaluation, progress)
    value = values[FIRST].value
    assert value is not None and against.arrays is not None
    gaussian = against.arrays.gaussian
    files = clip_scores(gaussian, evaluation, progress) if wanted.per_file else ()
    name = _label(evaluation) or _label(reference) or "unknown"
    remarks = [text for one in values.values() for text in one.remarks]
    differing = provenance.differences(reference.provenance, evaluation.provenance)
    pair = f"{reference.path} and {evaluation.path} were made differently: {'; '.join(differing)}"
    warnings = dict.fromkeys(
        (*reference.warnings, *evaluation.warnings, *([pair] if differing else []),
         *remarks)
    )  # fmt: skip
    return Score(value, name, reference, evaluation, values, files, tuple(warnings))


def _label(one: AudioSet) -> str | None:
    return one.metadata.get("label") or one.metadata.get("model")


def stats(
    audio: PathLike | Sequence[PathLike], output: PathLike | None = None,
    model: str | None = None, *, shard: str | None = None, name: str | None = None,
    licence: str | None = None, **run: Unpack[RunOptions],
) -> AudioSet:  # fmt: skip
    """The statistics of a set of audio, written to `output` if it is given.

    shard: "I/N" takes part I of N of the sorted files, which may be empty. name, licence: what to
    publish the set as; they travel in the file. Raises FadError.
    """
    paths = _paths(audio)
    if output is not None:
        outputs.check([output], [*paths, *given_weights(run)])
    listed, files = _listed(paths)
    published: dict[str, Any] = {"name": name, "licence": licence}
    if shard is not None:
        own = shards.cut(files, shard)
        published["shard"] = shards.part_of(paths, files, shard)
        files = own
    (result,) = Run(model, run).embed(listed, files, may_be_empty=shard is not None)
    result = replace(result, metadata={**result.metadata, **published})
    if output is not None and isinstance(result.moments, Moments):
        statistics.save(output, result.moments, result.metadata)
    return result


def embed(
    audio: PathLike | Sequence[PathLike], model: str | None = None, **run: Unpack[RunOptions]
) -> dict[str, NDArray[np.float32]]:
    """Rows float32 (n, dim) of every file, by its path relative to its folder. Raises FadError."""
    found: dict[str, NDArray[np.float32]] = {}

    def keep(name: str, rows: NDArray[np.float32]) -> None:
        if name in found:
            raise DuplicateNameError(name)
        found[name] = rows

    for text in _embed(audio, model, run, keep).warnings:
        logger.warning("%s", text)
    return found


def embed_to(
    audio: PathLike | Sequence[PathLike], output: PathLike, model: str | None = None,
    **run: Unpack[RunOptions],
) -> AudioSet:  # fmt: skip
    """As `embed`, into a file that is written as the rows come; see fad_onnx.files.embeddings."""
    made: list[AudioSet] = []
    outputs.check([output], [*_paths(audio), *given_weights(run)])

    def fill(writer: embeddings.Writer) -> None:
        made.append(_embed(audio, model, run, writer.add))
        seconds = [file.seconds and round(file.seconds, 3) for file in made[0].files]
        writer.metadata({**made[0].metadata, "file_seconds": seconds})

    embeddings.write(output, fill)
    return made[0]


def _embed(
    audio: PathLike | Sequence[PathLike], model: str | None, run: RunOptions,
    keep: Callable[[str, NDArray[np.float32]], object],
) -> AudioSet:  # fmt: skip
    """The set, after `keep` was handed the name and rows of every file in order."""
    name, files = _listed(audio)
    (made,) = Run(model, run, keep_rows=True).embed(
        name, files, lambda done: done.rows and keep(done.file.name, done.rows[0])
    )
    return made


def _listed(audio: PathLike | Sequence[PathLike]) -> tuple[str, tuple[AudioFile, ...]]:
    paths = _paths(audio)
    for path in filter(is_archive, paths):
        raise StatisticsError(path, "statistics or embeddings already; audio is needed")
    return ", ".join(paths), datasets.list_files(paths)


def _paths(audio: PathLike | Sequence[PathLike]) -> list[str]:
    paths = [audio] if isinstance(audio, str | os.PathLike) else audio
    return [os.fspath(path) for path in paths]


def load_model(name: str | None = None, **run: Unpack[RunOptions]) -> Embedder:
    """A model ready to embed samples: `load_model().embed(samples, sample_rate)`.

    Of the keywords, those that say how to decode, cache or skip files have no effect on samples.
    """
    one = Run(name, run)
    return replace(one.embedders[0], short=one.policy.short)
