"""Intervals of the values of metrics, and what the report says about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from .intervals import Interval, interval
from .registry import Measured, Metric
from .values import Cell, Range, Tell, Value


def with_interval(
    metric: Metric, found: Value, level: float, tell: Tell, where: str = "the evaluation"
) -> Value:
    """A result with an interval for each of its numbers; tables show the interval of the value."""
    if found.value is None or found.doubts is None:
        return found
    doubts = found.doubts(tell)
    numbers = {key: found.fields.get(key, found.value) for key in doubts}
    sides = (where, "the reference")
    every = {key: interval(numbers[key], one, level, sides) for key, one in doubts.items()}
    main, first = next(iter(every.items()))
    fields: dict[str, Any] = {f"{key}_ci": _ends(one) for key, one in every.items()}
    fields |= {
        f"{main}_ci_level": first.level,
        f"{main}_ci_files": list(first.files),
        f"{main}_ci_pairs": first.pairs,
    }
    bounds = None if first.low is None or first.high is None else (first.low, first.high)
    alone = bounds is None or metric.needs.pairs or not metric.needs.reference
    note = "" if alone else first.sampling
    cell = Cell(f"{main}_ci", f"{metric.title}, {100 * level:g} % interval", bounds, note)
    reasons = dict.fromkeys(f"{metric.name}: {one.reason}" for one in every.values() if one.reason)
    return replace(
        found, fields={**found.fields, **fields}, cells=(cell, *found.cells),
        remarks=(*found.remarks, *reasons),
    )  # fmt: skip


def _ends(one: Interval) -> list[float] | None:
    return None if one.low is None or one.high is None else [one.low, one.high]


def bounds_of(one: Measured) -> Range | None:
    """The interval of a value, or None."""
    cells = (cell for cell in one.value.cells if cell.head.endswith("_ci"))
    return next((cell.value for cell in cells if isinstance(cell.value, tuple)), None)


def reading(found: Sequence[Measured]) -> Iterable[tuple[str, str]]:
    """What the report says about intervals, if there are any."""
    notes = [(one, cell.note) for one in found for cell in one.value.cells
             if cell.head.endswith("_ci")]  # fmt: skip
    kinds: dict[str, list[str]] = {}
    for one, note in notes:
        if note:
            kinds.setdefault(note, []).append(f"{one.label} of {one.path}")
    if notes:
        yield "Interval", " ".join(_about(kinds))


def _about(kinds: Mapping[str, Sequence[str]]) -> Iterable[str]:
    together = " ".join(kinds)
    yield (
        "Where to expect the value of datasets of this size if their clips were drawn again from"
        " the same sources. In simulations, intervals of nominally 95 % contained the expected"
        " value in 90 to 100 % of the cases."
    )
    if kinds:
        several = len(kinds) > 1
        said = (f"{kind} ({', '.join(of)})" if several else kind for kind, of in kinds.items())
        yield f"Sampling: {'; '.join(said)}."
    if "fixed" in together:
        yield "The reference is given as statistics, so only the evaluation dataset is drawn again."
    if "pairs" in together:
        yield "Pairs are clips with the same name on both sides; they are drawn together."
    if "independent" in together:
        yield (
            "Independent: no clip shares its name with one of the other side. If one dataset was"
            " made from the other, give its clips the same names."
        )
    yield (
        "The interval covers neither the excess of FAD in small datasets nor any doubt about the"
        " model. If two intervals overlap widely, the order of the two datasets is not settled."
    )
