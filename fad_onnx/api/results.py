"""Scores, as values, as JSON and as tables of a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import Any

from ..errors import shown
from ..metrics import registry
from ..metrics.registry import Value
from ..pipeline import provenance
from ..pipeline.datasets import Dataset
from .measure import FileScore

SCHEMA = 2


@dataclass(frozen=True)
class Score:
    """A Frechet audio distance with everything that it depends on; `float(score)` is the number.

    Parameters
    ----------
    value : float
        The distance, in squared units of the embedding.
    model : str
        The model with the options that differ from its defaults.
    reference, evaluation : Dataset
    metrics : mapping of str to Value
        The values, by the name of the metric; FAD is one of them.
    files : tuple of FileScore
        The clips, highest influence first, if they were requested.
    warnings : tuple of str
        What a reader of the number should know.

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> score = fad_onnx.score(noise, noise + 1)
    >>> f"{score:.2f}", list(score.metrics)
    ('4.00', ['fad'])
    """

    value: float
    model: str
    reference: Dataset
    evaluation: Dataset
    metrics: Mapping[str, Value] = field(default_factory=dict)
    files: tuple[FileScore, ...] = ()
    warnings: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.value

    def __format__(self, spec: str) -> str:
        return format(self.value, spec) if spec else repr(self)

    def __repr__(self) -> str:
        sides = (f"{one.path} ({one.metadata.embeddings or 'unknown'} embeddings)"
                 for one in (self.evaluation, self.reference))  # fmt: skip
        return f"<Score {self.value:.6g}, {self.model}: {' against '.join(sides)}>"

    @property
    def path(self) -> str:
        """The evaluation dataset, as the caller named it."""
        return self.evaluation.path

    @property
    def protocol(self) -> dict[str, dict[str, Any]]:
        """How the embeddings of the `reference` and of the `evaluation` were made.

        {} if that is unknown, as for statistics of another tool.
        """
        sides = {"reference": self.reference, "evaluation": self.evaluation}
        return {side: one.provenance for side, one in sides.items()}

    @property
    def skipped(self) -> tuple[tuple[str, str], ...]:
        """(path, reason) of every file of either dataset that gave no embeddings."""
        return self.reference.skipped + self.evaluation.skipped

    def to_dict(self) -> dict[str, Any]:
        """The object of `fad-onnx score --json` for this score alone, of plain JSON values.

        Returns
        -------
        dict
            `schema`, `models`, `results` (one), `skipped` and `warnings`.
        """
        return as_object([self])

    def _repr_html_(self) -> str:
        """A table in a notebook."""
        return html_table([self])


class Scores(list[Score]):
    """A list of scores, which a notebook shows as a table.

    Parameters
    ----------
    iterable : iterable of Score

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> scores = fad_onnx.compare(noise, [noise + 1, noise + 2])
    >>> [one["fad"] for one in scores.to_dict()["results"]] == [float(one) for one in scores]
    True
    """

    def to_dict(self) -> dict[str, Any]:
        """The object of `fad-onnx score --json`, of plain JSON values.

        Returns
        -------
        dict
            `schema`, `models`, `results`, `skipped` and `warnings`.
        """
        return as_object(self)

    def _repr_html_(self) -> str:
        """A table in a notebook, with one line for each score."""
        return html_table(self)


def as_object(scores: Sequence[Score]) -> dict[str, Any]:
    """The JSON object of --json for all scores."""
    by_model: dict[str, list[Score]] = {}
    for score in scores:
        by_model.setdefault(score.model, []).append(score)
    skipped = dict.fromkeys(pair for score in scores for pair in score.skipped)
    return {
        "schema": SCHEMA,
        "models": {model: _model_of(own) for model, own in by_model.items()},
        "results": [
            {
                "model": s.model,
                **s.evaluation.counts,
                **metric_fields(s.metrics),
                "protocol": s.protocol,
            }
            for s in scores
        ],
        "skipped": [{"path": shown(path), "reason": reason} for path, reason in skipped],
        "warnings": list(warnings_of(scores)),
    }


def _model_of(scores: Sequence[Score]) -> dict[str, Any]:
    """The recorded settings that all datasets of a model share, and their reference."""
    made = [side for score in scores for side in score.protocol.values()]
    common = provenance.shared(made)
    return {
        "weights": common.pop("weights", {}),
        "fingerprint": common.pop("fingerprint", None),
        "protocol": common,
        "reference": scores[0].reference.counts,
    }


def metric_fields(found: Mapping[str, Value]) -> dict[str, Any]:
    """The fields of each metric; null if it cannot be computed."""
    return {
        key: one
        for name, value in found.items()
        for key, one in {registry.metric(name).column: value.value, **value.fields}.items()
    }


def warnings_of(scores: Iterable[Score]) -> list[str]:
    """All warnings, each one once."""
    return list(dict.fromkeys(text for score in scores for text in score.warnings))


def html_table(scores: Sequence[Score]) -> str:
    """A table of scores with their metrics, and the warnings below it."""
    found = [metric_fields(score.metrics) for score in scores]
    numbers = (registry.metric(name).column for score in scores for name in score.metrics)
    columns = list(dict.fromkeys(numbers))
    heads = ["model", "reference", "evaluation", *columns, "embeddings"]
    lines = [
        [score.model, score.reference.path, score.path, *(cell(fields.get(c)) for c in columns),
         str(score.evaluation.counts["embeddings"])]
        for score, fields in zip(scores, found, strict=True)
    ]  # fmt: skip
    return html_of(heads, lines, warnings_of(scores))


def html_of(heads: Iterable[str], lines: Iterable[Iterable[str]], warnings: Iterable[str]) -> str:
    """A table of texts, and the warnings below it."""
    said = "".join(f"<li>{escape(shown(text))}</li>" for text in warnings)
    body = "".join(_line("td", line) for line in lines)
    table = f"<table><thead>{_line('th', heads)}</thead><tbody>{body}</tbody></table>"
    return table + (f"<ul>{said}</ul>" if said else "")


def cell(value: float | None) -> str:
    return "–" if value is None else f"{value:.6g}"


def _line(tag: str, cells: Iterable[str]) -> str:
    return f"<tr>{''.join(f'<{tag}>{escape(shown(cell))}</{tag}>' for cell in cells)}</tr>"
