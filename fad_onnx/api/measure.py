"""The metrics and clips of evaluation datasets against one reference."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from inspect import Parameter, Signature
from operator import attrgetter
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..errors import KeywordError, shown
from ..metrics import registry
from ..metrics.frechet import Gaussian, file_distance
from ..metrics.influence import influences
from ..metrics.moments import Moments
from ..metrics.registry import FIRST, Arrays, Measured, Metric, Value
from ..metrics.with_intervals import with_interval
from ..networks import table
from ..networks.spec import NATIVE, ModelSpec
from ..pipeline import provenance
from ..pipeline.datasets import Dataset

Embeddings = NDArray[np.float32]
Progress = Callable[[str, int, int], None]
Paired = Callable[[Arrays], tuple[Arrays, Sequence[str]]]


class Wanted:
    """What to compute with a score.

    Parameters
    ----------
    per_file : bool
        Whether to compute the influence of every clip.
    **given
        Switches and options of metrics: `inf=True`, `kad=True`, `ci=0.95`, `seed=1`,
        `inf_draw="embeddings"`.

    Raises
    ------
    KeywordError
        For a keyword that no metric has.
    OptionError
        For a value that an option cannot have.
    NoEffectError
        For an option of metrics that are not asked for, if it does not have its default.

    Examples
    --------
    >>> [metric.name for metric in Wanted(inf=True, ci=0.9).metrics]
    ['fad', 'fad-inf']
    """

    def __init__(self, *, per_file: bool = False, **given: Any) -> None:
        switches = registry.switches()
        known = [registry.metric(FIRST), *switches.values()]
        options = registry.options(known)
        for keyword in given.keys() - switches.keys() - options.keys():
            raise KeywordError(keyword, {*switches, *options, "per_file"})
        asked = (metric for switch, metric in switches.items() if given.get(switch))
        self.per_file = per_file
        self.metrics = (registry.metric(FIRST), *asked)
        own = {key: one for key, one in options.items() if key in given}
        self.options = {key: one.check(given[key]) for key, one in own.items()}
        decided = [key for key, one in own.items() if given[key] != one.default]
        registry.check_effect(decided, self.metrics, attrgetter("switch"))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Wanted) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash((self.per_file, self.metrics, *self.options.values()))

    def __repr__(self) -> str:
        names = [metric.name for metric in self.metrics]
        return f"Wanted({names}, {self.options}, per_file={self.per_file})"

    def __bool__(self) -> bool:
        """Whether the embeddings of each evaluation clip are needed."""
        chosen = ((metric, metric.chosen(self.options)) for metric in self.metrics)
        return self.per_file or any(metric.by_clip(options) for metric, options in chosen)


def _signature() -> Signature:
    """Every keyword of `Wanted`, for editors and notebooks."""
    switches = registry.switches()
    options = registry.options([registry.metric(FIRST), *switches.values()])
    defaults = {"per_file": False, **dict.fromkeys(switches, False)}
    defaults |= {key: one.default for key, one in options.items()}
    return Signature(
        [Parameter(key, Parameter.KEYWORD_ONLY, default=one) for key, one in defaults.items()]
    )


Wanted.__signature__ = _signature()  # type: ignore[attr-defined]


@dataclass(frozen=True)
class FileScore:
    """How one clip differs from the reference.

    Parameters
    ----------
    name : str
        The clip's path relative to its dataset.
    path : str or None
        The file; None for a clip of an embeddings file.
    embeddings : int
        The number of its embeddings.
    seconds : float or None
        Its length; None if it is not recorded.
    influence : float
        The dataset's FAD minus its FAD without this clip: positive for a clip that raises the FAD.
        It is the whole FAD if fewer than two embeddings would be left.
    fad : float
        The Frechet distance of the clip's own embeddings to the reference; for a single embedding
        x, |x - mu|^2 + Tr(S). Fewer embeddings give a larger number, so compare it only among
        clips of the same length.
    mean_distance : float
        The Euclidean distance from the clip's mean embedding to that of the reference.

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> wanted = fad_onnx.Wanted(per_file=True)
    >>> score = fad_onnx.score(noise, noise + 1, wanted=wanted)
    >>> len(score.files), round(score.files[0].mean_distance, 3)
    (1, 2.0)
    """

    name: str
    path: str | None
    embeddings: int
    seconds: float | None
    influence: float
    fad: float
    mean_distance: float


class Compared(Protocol):
    """An evaluation dataset under one model, as tables and the report show it."""

    @property
    def model(self) -> str: ...
    @property
    def reference(self) -> Dataset | None: ...
    @property
    def evaluation(self) -> Dataset: ...
    @property
    def metrics(self) -> Mapping[str, Value]: ...
    @property
    def files(self) -> Sequence[FileScore]: ...
    @property
    def warnings(self) -> Sequence[str]: ...
    @property
    def path(self) -> str: ...
    @property
    def skipped(self) -> Sequence[tuple[str, str]]: ...


class Against:
    """One reference, prepared once for all the evaluation datasets compared with it.

    Parameters
    ----------
    reference : Dataset or None
    metrics : sequence of Metric
    options : mapping
        The options of the user, by keyword; they override the protocol.
    protocol : str
        The protocol with which the datasets were made.
    partial : bool
        Whether metrics of pairs leave out clips without a partner.
    captions : callable, optional
        Returns the part of a dataset that has captions, with their embeddings, and remarks.
    """

    def __init__(
        self, reference: Dataset | None, metrics: Sequence[Metric], options: Mapping[str, Any],
        protocol: str = NATIVE, partial: bool = False, captions: Paired | None = None,
    ) -> None:  # fmt: skip
        self._level, self._partial = registry.CI.check(options.get("ci")), partial
        self._captions = captions if any(one.needs.captions for one in metrics) else None
        self.arrays = None if reference is None else arrays(reference)
        defined = None if protocol == NATIVE else table.protocol(protocol)
        self._computes = {
            metric.name: metric.against(
                self.arrays if metric.needs.reference else None,
                metric.chosen({**(defined.options_of(metric.name) if defined else {}), **options}),
            )
            for metric in metrics
        }

    def values(self, evaluation: Dataset, progress: Progress | None = None) -> dict[str, Value]:
        """The value of each metric.

        `progress` is called with the name of the computation, the newly finished steps, and the
        total. Raises StatisticsError if embeddings are needed and there are only statistics.
        """

        def tell(what: str, done: int, steps: int) -> None:
            if progress:
                progress(f"{what} of {evaluation.path}", done, steps)

        held = arrays(evaluation, self._partial)
        spoken, remarks = self._captions(held) if self._captions else (held, ())
        found = {}
        for name, compute in self._computes.items():
            captions = registry.metric(name).needs.captions
            value = compute(spoken if captions else held, tell)
            more = remarks if captions else ()
            found[name] = replace(value, remarks=(*value.remarks, *more)) if more else value
        if self._level is not None:
            found = {
                name: with_interval(
                    registry.metric(name), value, self._level, tell, shown(evaluation.path)
                )
                for name, value in found.items()
            }
        # Intervals and blame that are computed later hold on to the arrays.
        held.forget()
        return found


def made_differently(reference: Dataset, evaluation: Dataset) -> tuple[str, ...]:
    """The warning about two datasets whose provenance differs beyond their fingerprints."""
    differing = provenance.differences(reference.provenance, evaluation.provenance)
    pair = f"{reference.path} and {evaluation.path} were made differently: {'; '.join(differing)}"
    return (pair,) if differing else ()


def protocol_of(*datasets: Dataset | None) -> str:
    """The protocol of the first dataset whose model is known."""
    labels = (one.metadata.label for one in datasets if one is not None)
    label = next(filter(None, labels), None)
    return (ModelSpec.parse(label).protocol if label else None) or NATIVE


def silent(what: str, done: int, steps: int) -> None:
    """A progress function that does nothing."""


def arrays(one: Dataset, partial: bool = False) -> Arrays:
    """The arrays that metrics receive of a dataset."""
    return Arrays(one.path, one.moments, one.embeddings_by_file, one.names, partial)


def measured(found: Iterable[Compared]) -> list[Measured]:
    """Every metric of every dataset and model."""
    return [
        Measured(one.path, one.model, registry.metric(name), value)
        for one in found
        for name, value in one.metrics.items()
    ]


def clip_scores(
    reference: Gaussian, evaluation: Dataset, progress: Progress | None
) -> tuple[FileScore, ...]:
    """Every clip, highest influence first."""
    embeddings, moments = embeddings_of(evaluation, "the influence of a clip"), evaluation.moments
    assert isinstance(moments, Moments)

    def tell(count: int) -> None:
        if progress:
            progress(f"clips of {evaluation.path}", count, len(embeddings))

    moved = influences(embeddings, moments, reference, tell)
    scores = []
    for file, own, influence in zip(evaluation.files, embeddings, moved, strict=True):
        found = file_distance(reference, Moments.of(own, file.name))
        scores.append(
            FileScore(
                file.name, file.path, found.embeddings, file.seconds, float(influence),
                found.fad, found.mean_distance,
            )
        )  # fmt: skip
    return tuple(sorted(scores, key=lambda score: (-score.influence, score.name)))


def embeddings_of(one: Dataset, what: str) -> Sequence[Embeddings]:
    """The embeddings of every clip; StatisticsError if the dataset has only statistics."""
    return arrays(one).by_clip(what)
