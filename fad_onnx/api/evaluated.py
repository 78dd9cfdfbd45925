"""The results of `evaluate`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ..errors import shown
from ..metrics.registry import FIRST, Measured, Value
from ..pipeline.datasets import Dataset
from ..pipeline.options import PathLike
from .comparison import LEVEL, Difference, compared
from .measure import FileScore, measured
from .results import cell, html_of


@dataclass(frozen=True)
class Result:
    """The metrics of one evaluation dataset under one model.

    Parameters
    ----------
    model : str
        The model with the options that differ from its defaults.
    reference : Dataset or None
        None if no metric needs a reference.
    evaluation : Dataset
    metrics : mapping of str to Value
        The values, by the name of the metric.
    files : tuple of FileScore
        The clips, highest influence first, if they were requested.
    warnings : tuple of str
        What a reader of the numbers should know.
    captions : mapping
        For each file of captions, how the embeddings of its captions were made.
    others : mapping of str to Result
        The result with the datasets of a metric that needs another output of the model, by the name
        of the metric.

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> (result,) = fad_onnx.evaluate(noise + 1, noise).results
    >>> round(result.metrics["fad"].value, 3)
    4.0
    """

    model: str
    reference: Dataset | None
    evaluation: Dataset
    metrics: Mapping[str, Value]
    files: tuple[FileScore, ...] = ()
    warnings: tuple[str, ...] = ()
    captions: Mapping[str, Any] = field(default_factory=dict)
    others: Mapping[str, Result] = field(default_factory=dict)

    def of(self, metric: str) -> Result:
        """The result with the datasets that a metric was computed from.

        Parameters
        ----------
        metric : str
            The name of the metric.

        Returns
        -------
        Result
            This one, or that of another output of the model.
        """
        return self.others.get(metric, self)

    @property
    def outputs(self) -> tuple[Result, ...]:
        """This result, and those of other outputs of the model, which `model` then names."""
        if not self.others:
            return (self,)
        every = {id(one): one for one in (self, *self.others.values())}.values()
        return tuple(
            replace(one, model=one.evaluation.metadata.label or one.model) for one in every
        )

    @property
    def path(self) -> str:
        """The evaluation dataset, as it was named."""
        return self.evaluation.path

    @property
    def sides(self) -> tuple[Dataset, ...]:
        """The evaluation dataset, and the reference if there is one."""
        return tuple(one for one in (self.evaluation, self.reference) if one is not None)

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(path, reason) of every file of either dataset that gave no embeddings."""
        return tuple(pair for one in self.sides for pair in one.skipped)


@dataclass(frozen=True)
class Evaluation:
    """The results of `evaluate`.

    Parameters
    ----------
    results : tuple of Result
        One for each evaluation dataset and model.
    differences : tuple of Difference
        The differences between the pairs of datasets in `compare`.

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> evaluation = fad_onnx.evaluate(noise + 1, noise, ["fad", "kad"])
    >>> list(evaluation.to_dict())  # no model is known of arrays
    ['fad:unknown', 'kad:unknown']
    """

    results: tuple[Result, ...] = field(default=())
    differences: tuple[Difference, ...] = ()

    @property
    def measured(self) -> list[Measured]:
        """Every metric of every dataset under every model."""
        return measured(self.results)

    def compare(
        self, first: PathLike, second: PathLike, level: float = LEVEL
    ) -> tuple[Difference, ...]:
        """Whether the first dataset is better than the second, for each metric and model.

        Clips with the same name are compared with each other.

        Parameters
        ----------
        first, second : path
            Evaluation datasets, as they were named.
        level : float
            Confidence level of the intervals, between 0 and 1.

        Returns
        -------
        tuple of Difference
            One for each metric and model that both datasets have.

        Raises
        ------
        OptionError
            For a dataset that was not evaluated.
        StatisticsError
            For a dataset that has statistics but no embeddings.
        """
        return compared(self.results, first, second, level)

    @property
    def warnings(self) -> list[str]:
        """All warnings, each one once."""
        return list(dict.fromkeys(text for one in self.results for text in one.warnings))

    @property
    def skipped(self) -> list[tuple[str, str]]:
        """(path, reason) of every file that gave no embeddings, once."""
        return list(dict.fromkeys(pair for one in self.results for pair in one.skipped))

    def to_dict(self) -> dict[str, float | None]:
        """The numbers by name, for a logger.

        Returns
        -------
        dict of str to float or None
            ``{"fad:vggish": 1.2}``; with several datasets, ``{"PATH fad:vggish": 1.2}``.
        """
        found = self.measured
        several = len({one.path for one in found}) > 1
        return {
            f"{one.path} {one.label}" if several else one.label: one.value.value for one in found
        }

    def _repr_html_(self) -> str:
        """A table in a notebook, with one line for each dataset."""
        found = {(one.path, one.label): cell(one.value.value) for one in self.measured}
        labels = dict.fromkeys(label for _, label in found)
        lines = (
            [path, *(found.get((path, label), "") for label in labels)]
            for path in dict.fromkeys(path for path, _ in found)
        )
        return html_of(["dataset", *labels], lines, self.warnings)

    def to_json(self) -> dict[str, Any]:
        """The object of `fad-onnx evaluate --json`.

        Returns
        -------
        dict
            `schema`, `results`, `protocols`, `skipped` and `warnings`, of plain JSON values;
            `comparisons` where datasets were compared.
        """
        results = [
            {
                "path": one.path, "metric": one.metric.name, "model": one.model,
                "value": one.value.value, **_counts(result.of(one.metric.name)), **one.value.fields,
            }
            for result in self.results
            for one in measured([result])
        ]  # fmt: skip
        protocols: dict[str, dict[str, Any]] = {}
        for result in self.results:
            for own in result.outputs:
                made = {one.path: one.provenance for one in own.sides} | dict(own.captions)
                protocols.setdefault(own.model, {}).update(made)
        skipped = [{"path": shown(path), "reason": reason} for path, reason in self.skipped]
        found = {
            "schema": 2, "results": results, "protocols": protocols, "skipped": skipped,
            "warnings": self.warnings,
        }  # fmt: skip
        if self.differences:
            found["comparisons"] = [one.to_json() for one in self.differences]
        return found


def _counts(result: Result) -> dict[str, Any]:
    """The numbers of files, embeddings and seconds of the evaluation dataset."""
    counts = result.evaluation.counts
    return {key: counts[key] for key in ("files", "embeddings", "seconds")}


def joined(first: Result, second: Result) -> Result:
    """Join the results of two outputs of one model.

    The datasets are from the one with FAD, whose figures the report draws, or with a reference.
    """
    main, other = (second, first) if _rank(second) > _rank(first) else (first, second)
    warnings = dict.fromkeys((*first.warnings, *second.warnings))
    others = {**main.others, **dict.fromkeys(other.metrics, other), **other.others}
    return replace(
        main, metrics={**first.metrics, **second.metrics}, files=first.files or second.files,
        warnings=tuple(warnings), others=others,
    )  # fmt: skip


def _rank(one: Result) -> tuple[bool, bool]:
    return FIRST in one.metrics, one.reference is not None
