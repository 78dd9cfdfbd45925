"""Several metrics of several datasets under several models, in one pass over the audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from typing import Any

from ..pipeline.options import PathLike, Progress, RunOptions
from ..weights.prepare import Progress as FetchProgress
from . import inputs
from .asked import asked_for, options_of
from .comparison import LEVEL
from .evaluated import Evaluation
from .gathering import Datasets
from .inputs import Source
from .text import Captions

UNUSED = "the reference is not used: none of the requested metrics needs one"


def evaluate(
    evaluations: Source | Sequence[Source],
    reference: Source | None = None,
    metrics: str | Sequence[str] | None = None,
    *,
    compare: Sequence[tuple[PathLike, PathLike]] = (),
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
        Each one is what `score` accepts: a folder, audio file, list or archive, a file written by
        `stats` or `embed`, what these return, Moments, or an array of embeddings.
    reference : dataset, optional
        As above; all metrics except `isc` and `clap-score` need one. Statistics and embeddings are
        used as they are; give a list of them for several models, one for each model.
    metrics : str or sequence of str, optional
        ``METRIC`` or ``METRIC:MODEL``, as in ``["fad:vggish", "prdc:clap"]``; without a model, that
        of the files or datasets that are given, else the default model. By default FAD; with a
        protocol, every metric of that harness, as it defines them.
    compare : sequence of pairs of paths
        Pairs of evaluation datasets, as they are named above, to answer whether the first is
        better than the second; see `Evaluation.compare`.
    captions : path, optional
        Captions of the evaluation's clips, for `clap-score`: .csv or .tsv with the columns `file`
        and `caption`, or .jsonl with these keys. `file` is a clip's path relative to its dataset,
        with or without suffix.
    per_file : bool
        Whether to compute the influence of each clip on FAD.
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
        As `score` does; UnpairedError for clips without a partner if pairs are compared,
        UncaptionedError for clips without a caption and captions without a clip, CaptionError for
        a file of captions that cannot be read.

    Examples
    --------
    >>> import numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> [round(one.value.value, 3) for one in evaluate(noise + 1, noise).measured]
    [4.0]
    """
    run = RunOptions.of(locals())
    asked = asked_for(metrics, protocol, captions is not None)
    chosen = options_of(asked, metric_options or {})
    every = [evaluations] if inputs.single(evaluations) else list(evaluations)  # type: ignore[arg-type]
    said = None if captions is None else Captions.read(captions)
    found = Datasets(asked, every, reference, chosen, run, compare, said)  # type: ignore[arg-type]
    results = found.every(chosen, per_file)
    if reference is not None and not any(one.metric.needs.reference for one in asked):
        results = tuple(replace(one, warnings=(*one.warnings, UNUSED)) for one in results)
    made = Evaluation(results)
    level = chosen.get("ci") or LEVEL
    compared = [one for pair in compare for one in made.compare(*pair, level)]
    return replace(made, differences=tuple(compared))
