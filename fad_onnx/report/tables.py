"""The tables of the page, from scores: plain values, ready for the template."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..api.evaluated import Result
from ..api.measure import Compared, measured
from ..metrics import registry, with_intervals
from ..metrics.registry import Measured, Range
from ..pipeline.datasets import Dataset
from .text import count, duration, flattened, number, plain


@dataclass(frozen=True)
class Head:
    """One column of numbers; `better` is "lower", "higher" or empty."""

    title: str
    better: str


@dataclass(frozen=True)
class Row:
    """One dataset under one model: a cell for each head; `exact` is the first number in full."""

    name: str
    exact: str
    cells: tuple[str, ...]
    files: str
    embeddings: str
    audio: str


@dataclass(frozen=True)
class ScoreTable:
    """One model's numbers, best dataset first, with a column for each requested number."""

    model: str
    note: str
    heads: tuple[Head, ...]
    rows: tuple[Row, ...]
    reference: Row | None


@dataclass(frozen=True)
class Setting:
    """One recorded setting: a value for all datasets, or one each in the order of the heads."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """Everything recorded about how the embeddings of one model were made.

    `heads` are the datasets; datasets that were made alike share a head. `unknown` are the
    datasets without a record.
    """

    model: str
    heads: tuple[str, ...]
    settings: tuple[Setting, ...]
    unknown: tuple[str, ...]


def by_model(scores: Iterable[Compared]) -> dict[str, list[Compared]]:
    """Scores of each model, in order."""
    found: dict[str, list[Compared]] = {}
    for score in scores:
        found.setdefault(score.model, []).append(score)
    return found


def by_output(scores: Iterable[Compared]) -> dict[str, list[Compared]]:
    """Scores of each output of each model, in order."""
    return by_model(
        own for one in scores for own in (one.outputs if isinstance(one, Result) else (one,))
    )


def by_set(scores: Iterable[Compared]) -> dict[str, list[Compared]]:
    """Scores of each evaluation dataset, in order: one per model."""
    found: dict[str, list[Compared]] = {}
    for score in scores:
        found.setdefault(score.path, []).append(score)
    return found


def score_table(model: str, scores: Sequence[Compared]) -> ScoreTable:
    """The table of one model."""
    ranked = sorted(scores, key=_place)
    reference = scores[0].reference
    sides = filter(None, (scores[0].evaluation, reference))
    heads = list(dict.fromkeys(head for score in ranked for head, _ in _cells(score)))
    return ScoreTable(
        plain(model),
        plain(next(filter(None, (one.metadata.note for one in sides)), "")),
        tuple(heads),
        tuple(_row(score, heads) for score in ranked),
        None if reference is None else _counted(reference),
    )


def _place(score: Compared) -> tuple[bool, float]:
    """Best first by the first metric; without a number last."""
    name, found = next(iter(score.metrics.items()))
    sign = 1.0 if registry.metric(name).better == "lower" else -1.0
    return found.value is None, sign * (found.value or 0.0)


def _cells(score: Compared) -> Iterator[tuple[Head, str]]:
    for name, found in score.metrics.items():
        metric = registry.metric(name)
        yield Head(metric.title, metric.better), number(found.value)
        for cell in found.cells:
            yield Head(cell.title, cell.better), _text(cell.value)


def _text(value: float | Range | None) -> str:
    if isinstance(value, tuple):
        return f"{number(value[0])} to {number(value[1])}"
    return number(value)


def _row(score: Compared, heads: Sequence[Head]) -> Row:
    first, cells = next(iter(score.metrics.values())), dict(_cells(score))
    exact = "" if first.value is None else repr(first.value)
    texts = tuple(cells.get(head, "–") for head in heads)
    return replace(_counted(score.evaluation), exact=exact, cells=texts)


def _counted(one: Dataset) -> Row:
    counts = one.counts
    published = ", ".join(counts[key] for key in ("name", "licence") if key in counts)
    name = f"{plain(one.path)} ({plain(published)})" if published else plain(one.path)
    return Row(
        name, "", (), count(counts.get("files")), count(counts.get("embeddings")),
        duration(counts.get("seconds")),
    )  # fmt: skip


def readings(scores: Iterable[Compared]) -> tuple[tuple[str, str], ...]:
    """The meaning of each number, by metric."""
    by_metric: dict[str, list[Measured]] = {}
    for one in measured(scores):
        shown = replace(one, path=plain(one.path), model=plain(one.model))
        by_metric.setdefault(one.metric.name, []).append(shown)
    own = [pair for found in by_metric.values() for pair in found[0].metric.reading(found)]
    every = [one for found in by_metric.values() for one in found]
    return (*own, *with_intervals.reading(every))


def protocol(model: str, scores: Sequence[Compared]) -> Protocol:
    """The protocol, weights and fingerprint on record for the datasets of one model."""
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    unknown: list[str] = []
    for one in filter(None, (scores[0].reference, *(score.evaluation for score in scores))):
        made = tuple(flattened(one.provenance))
        names = alike.setdefault(made, []) if made else unknown
        if plain(one.path) not in names:
            names.append(plain(one.path))
    heads = tuple(", ".join(names) for names in alike.values())
    return Protocol(plain(model), heads, tuple(_settings(list(map(dict, alike)))), tuple(unknown))


def _settings(made: Sequence[Mapping[str, str]]) -> Iterable[Setting]:
    for key in dict.fromkeys(key for one in made for key in one):
        values = tuple(one.get(key, "–") for one in made)
        yield Setting(key, values[:1] if len(set(values)) == 1 else values)


def warnings(scores: Iterable[Compared]) -> tuple[str, ...]:
    """All warnings, each one once."""
    return tuple(dict.fromkeys(plain(text) for score in scores for text in score.warnings))


def skipped(scores: Iterable[Compared]) -> tuple[tuple[str, str], ...]:
    """(path, reason) of every skipped file, each one once."""
    pairs = dict.fromkeys(pair for score in scores for pair in score.skipped)
    return tuple((plain(path), plain(reason)) for path, reason in pairs)
