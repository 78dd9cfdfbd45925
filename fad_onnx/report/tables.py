"""What the tables of the page say, from scores: plain values, ready for the template."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..api.functions import Score
from ..pipeline.datasets import AudioSet
from .text import count, duration, flattened, number, plain


@dataclass(frozen=True)
class Row:
    """One evaluation set under one model; `exact` is the distance in full."""

    name: str
    exact: str
    fad: str
    interval: str
    infinity: str
    kad: str
    files: str
    rows: str
    audio: str


@dataclass(frozen=True)
class ScoreTable:
    """One model's scores, nearest set first; a column that nobody asked for is left out."""

    model: str
    note: str
    level: str  # of the intervals; empty if there are none
    sampling: str  # how the intervals took the two sets
    infinity_draw: str  # what FAD-infinity is drawn from; empty if there is none
    has_kad: bool
    reference: Row
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Setting:
    """One thing on record: a value for all datasets, or one each in the order of the heads."""

    key: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Protocol:
    """Everything on record about how the embeddings of one model were made.

    heads: the datasets, those that were made alike under one head. unknown: those of which
    nothing is on record.
    """

    model: str
    heads: tuple[str, ...]
    settings: tuple[Setting, ...]
    unknown: tuple[str, ...]


def by_model(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Scores of each model, in order."""
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.model, []).append(score)
    return found


def by_set(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """Scores of each evaluation set, in order: one a model."""
    found: dict[str, list[Score]] = {}
    for score in scores:
        found.setdefault(score.path, []).append(score)
    return found


def score_table(model: str, scores: Sequence[Score]) -> ScoreTable:
    """The table of one model."""
    ranked = sorted(scores, key=lambda score: score.value)
    intervals = [score.detail.interval for score in scores]
    levels = [one.level for one in intervals if one is not None]
    notes = (one.metadata.get("note") for one in (scores[0].evaluation, scores[0].reference))
    return ScoreTable(
        plain(model),
        plain(next(filter(None, notes), "")),
        f"{100 * levels[0]:g} %" if levels else "",
        _sampling(scores),
        next((score.detail.inf.draw for score in scores if score.detail.inf), ""),
        any(score.detail.kad for score in scores),
        _counted(scores[0].reference),
        tuple(_row(score) for score in ranked),
    )


def _row(score: Score) -> Row:
    detail, counted = score.detail, _counted(score.evaluation)
    return Row(
        counted.name,
        repr(score.value),
        number(score.value),
        _interval(score),
        number(detail.inf.value) if detail.inf else "–",
        number(detail.kad.value) if detail.kad else "–",
        counted.files,
        counted.rows,
        counted.audio,
    )


def _counted(one: AudioSet) -> Row:
    counts = one.counts
    published = ", ".join(counts[key] for key in ("name", "licence") if key in counts)
    name = f"{plain(one.path)} ({plain(published)})" if published else plain(one.path)
    return Row(
        name, "", "", "", "", "", count(counts.get("files")), count(counts.get("embeddings")),
        duration(counts.get("seconds")),
    )  # fmt: skip


def _interval(score: Score) -> str:
    found = score.detail.interval
    if found is None or found.low is None or found.high is None:
        return "–"
    return f"{number(found.low)} to {number(found.high)}"


def _sampling(scores: Sequence[Score]) -> str:
    """How the intervals of one model took the two sets; by set where that differs."""
    kinds = {plain(one.path): one.detail.interval.sampling for one in scores if one.detail.interval}
    if len(set(kinds.values())) == 1:
        return next(iter(kinds.values()))
    return "; ".join(f"{name}: {kind}" for name, kind in kinds.items())


def protocol(model: str, scores: Sequence[Score]) -> Protocol:
    """The protocol, weights and fingerprint on record for the datasets of one model."""
    alike: dict[tuple[tuple[str, str], ...], list[str]] = {}
    unknown: list[str] = []
    for one in (scores[0].reference, *(score.evaluation for score in scores)):
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


def warnings(scores: Iterable[Score]) -> tuple[str, ...]:
    """Every warning once."""
    return tuple(dict.fromkeys(plain(text) for score in scores for text in score.warnings))


def skipped(scores: Iterable[Score]) -> tuple[tuple[str, str], ...]:
    """(path, reason) of every skipped file once."""
    pairs = dict.fromkeys(pair for score in scores for pair in score.skipped)
    return tuple((plain(path), plain(reason)) for path, reason in pairs)
