"""Turn paths into scores: find clips, embed them, accumulate moments, compare."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from typing import Any

from ..errors import OptionError
from ..files.archives import check_comparable
from ..metrics.registry import FIRST
from ..pipeline.datasets import Dataset
from ..pipeline.options import PathLike, RunOptions
from ..pipeline.run import ModelName, Run, check_single
from ..weights.prepare import Progress as FetchProgress
from . import inputs
from .inputs import Source
from .measure import (
    Against,
    Progress,
    Wanted,
    clip_scores,
    embeddings_of,
    made_differently,
    protocol_of,
)
from .results import Score, Scores

NOTHING = Wanted()

logger = logging.getLogger("fad_onnx")


def score(
    reference: Source,
    evaluation: Source,
    model: ModelName = None,
    wanted: Wanted = NOTHING,
    *,
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
) -> Score:
    """The Frechet audio distance of an evaluation dataset to a reference dataset.

    Parameters
    ----------
    reference, evaluation : path, list of paths, Dataset, Moments, or array (n, width)
        A folder, audio file, list or archive, or several by a pattern (see
        `fad_onnx.audio.sources.find`), several paths as one dataset, a file that `stats` or `embed`
        wrote, a dataset that they returned, or embeddings. For `Moments` and arrays, a warning says
        that nothing is known about how they were made.
    model : str, ModelSpec or Embedder, optional
        A name with options, as in "vggish:use_pca=true", or a loaded model. By default the model
        that a file or dataset was made with, else the default model.
    wanted : Wanted
        Further metrics, as in ``Wanted(kad=True)``.
    options, weights, ..., key
        See `RunOptions`.

    Returns
    -------
    Score
        ``float(score)`` is the distance.

    Raises
    ------
    FadError
        One of its subclasses, such as NoAudioError, AudioError, TooShortError,
        TooFewEmbeddingsError, IncompatibleStatisticsError, StatisticsError, OptionError or
        UnknownModelError.

    References
    ----------
    Kilgour et al. 2019, "Frechet Audio Distance: A Reference-Free Metric for Evaluating Music
    Enhancement Algorithms", arXiv:1812.08466.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> round(float(score(noise, noise + 1)), 3)
    4.0
    """
    run = RunOptions.of(locals())
    check_single(model)
    return _compare(reference, [evaluation], model, wanted, run)[0]


def compare(
    reference: Source,
    evaluations: Source | Sequence[Source],
    model: ModelName = None,
    wanted: Wanted = NOTHING,
    *,
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
) -> Scores:
    """Scores of evaluation datasets to one reference, model by model.

    The reference is embedded once.

    Parameters
    ----------
    reference : path, list of paths, Dataset, Moments, or array (n, width)
        As in `score`.
    evaluations : one of these, or a sequence of them
        A list of paths means several datasets; a list within it is one dataset.
    model : str, ModelSpec, Embedder, or a sequence of these, optional
        As in `score`; with several models, both sides must be audio.
    wanted : Wanted
        Further metrics, as in ``Wanted(kad=True)``.
    options, weights, ..., key
        See `RunOptions`.

    Returns
    -------
    Scores
        A list of `Score`: all datasets of the first model, then of the next.

    Raises
    ------
    FadError
        As `score`.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> [round(float(one), 3) for one in compare(noise, [noise + 1, noise + 2])]
    [4.0, 16.0]
    """
    run = RunOptions.of(locals())
    every: Any = [evaluations] if inputs.single(evaluations) else evaluations
    return Scores(_compare(reference, list(every), model, wanted, run))


def _compare(
    reference: Source, evaluations: Sequence[Source], model: ModelName, wanted: Wanted,
    run: RunOptions,
) -> list[Score]:  # fmt: skip
    sources = [reference, *evaluations]
    names = ["evaluation"] if len(evaluations) == 1 else _numbered(len(evaluations))
    sides = zip(sources, ["reference", *names], strict=True)
    held = [inputs.made(source, name, run.key) for source, name in sides]
    inputs.check_key(run.key, sources)
    inputs.check_distinct(evaluations)
    runner = Run(model, run, keep_embeddings=bool(wanted))
    for dataset in filter(None, held):
        runner.assume(dataset)
    if any(held_one is not None for held_one in held) and len(runner.specs) > 1:
        raise OptionError("model", "several models need audio on both sides")
    _check_clips(held, wanted)
    audio = {inputs.audio_key(source): inputs.paths_of(source)
             for source, one in zip(sources, held, strict=True) if one is None}  # fmt: skip
    if not audio and (run.weights or run.options or run.protocol):
        problem = "both datasets are made already; nothing is embedded"
        raise OptionError("weights, options, protocol", problem)
    for dataset in filter(None, held if not audio else ()):
        runner.check_fits(dataset)
    embedded = dict(zip(audio, runner.sides(list(audio.values())) if audio else (), strict=True))
    first, *others = [
        [one] if one is not None else embedded[inputs.audio_key(source)]
        for source, one in zip(sources, held, strict=True)
    ]
    return [
        score
        for index, one in enumerate(first)
        for score in _scores(one, [other[index] for other in others], wanted, run.tell)
    ]


def _numbered(count: int) -> list[str]:
    return [f"evaluation {number}" for number in range(1, count + 1)]


def _check_clips(held: Sequence[Dataset | None], wanted: Wanted) -> None:
    """StatisticsError, before anything is embedded, if needed embeddings are missing."""
    reference, *evaluations = held
    for one in evaluations if wanted else ():
        if one is not None:
            embeddings_of(one, "what was asked for")
    for metric in wanted.metrics if reference is not None else ():
        if metric.needs.reference == "clips":
            assert reference is not None
            embeddings_of(reference, metric.name)


def _scores(
    reference: Dataset, evaluations: Sequence[Dataset], wanted: Wanted, progress: Progress | None
) -> Iterator[Score]:
    protocol = protocol_of(*evaluations, reference)
    against = Against(reference, wanted.metrics, wanted.options, protocol)
    for one in evaluations:
        check_comparable(reference, one)
        yield _score(reference, one, against, wanted, progress)


def _score(
    reference: Dataset, evaluation: Dataset, against: Against, wanted: Wanted,
    progress: Progress | None,
) -> Score:  # fmt: skip
    values = against.values(evaluation, progress)
    value = values[FIRST].value
    assert value is not None and against.arrays is not None
    gaussian = against.arrays.gaussian
    files = clip_scores(gaussian, evaluation, progress) if wanted.per_file else ()
    name = _label(evaluation) or _label(reference) or "unknown"
    remarks = [text for one in values.values() for text in one.remarks]
    pair = made_differently(reference, evaluation)
    warnings = dict.fromkeys((*reference.warnings, *evaluation.warnings, *pair, *remarks))
    return Score(value, name, reference, evaluation, values, files, tuple(warnings))


def _label(one: Dataset) -> str | None:
    return one.metadata.label or one.metadata.model
