"""One table of all datasets and all metrics."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ..api.measure import Compared, measured
from ..metrics.registry import Measured
from ..metrics.with_intervals import bounds_of
from .text import number, plain


@dataclass(frozen=True)
class Column:
    """A metric under a model; `better` is "lower" or "higher"."""

    title: str
    model: str
    better: str


@dataclass(frozen=True)
class Cell:
    """A value in full and as text, with its interval, and whether it is the best of its column."""

    exact: str
    text: str
    interval: str
    best: bool


@dataclass(frozen=True)
class Row:
    """One dataset: a cell for each column."""

    name: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Overview:
    """All datasets and all metrics."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]


def overview(scores: Sequence[Compared]) -> Overview:
    """The table, with datasets and metrics in the order given."""
    found = measured(scores)
    by_label: dict[str, dict[str, Measured]] = {}
    for one in found:
        by_label.setdefault(one.label, {})[one.path] = one
    columns = tuple(_column(next(iter(own.values()))) for own in by_label.values())
    best = [_best(list(own.values())) for own in by_label.values()]
    rows = tuple(
        Row(plain(path), tuple(_cell(own.get(path), most)
                               for own, most in zip(by_label.values(), best, strict=True)))
        for path in dict.fromkeys(one.path for one in found)
    )  # fmt: skip
    return Overview(columns, rows)


def _column(one: Measured) -> Column:
    return Column(one.metric.title, plain(one.model), one.metric.better)


def _best(alike: Sequence[Measured]) -> float | None:
    """The best value of one metric and model, if there are several values."""
    values = [one.value.value for one in alike if one.value.value is not None]
    if len(values) < 2:
        return None
    return min(values) if alike[0].metric.better == "lower" else max(values)


def _cell(one: Measured | None, best: float | None) -> Cell:
    if one is None or one.value.value is None:
        return Cell("", "–", "", best=False)
    value, bounds = one.value.value, bounds_of(one)
    text = f"{number(bounds[0])} to {number(bounds[1])}" if bounds else ""
    return Cell(repr(value), number(value), text, best=value == best)
