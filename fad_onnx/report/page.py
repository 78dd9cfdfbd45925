"""The page: parts made from scores, rendered by a template that escapes all values."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from .._version import __version__
from ..api.comparison import Difference
from ..api.measure import Compared
from ..metrics import registry
from . import blame, clips, plots, tables
from .overview import overview
from .projection import DEVIATIONS, Cloud, project
from .text import count, number, plain

RANKED = 5


@dataclass(frozen=True)
class Drawn:
    """One figure with its caption, or a note on why there is none."""

    picture: Markup
    title: str
    caption: str


@dataclass(frozen=True)
class Figures:
    """The figures of one evaluation dataset under one model; some may be empty."""

    model: str
    projection: Markup
    drawn: str
    curves: tuple[Drawn, ...]
    distribution: Markup


@dataclass(frozen=True)
class Shown:
    """The top of a ranking: place, name, number, and the clip's anchor on the page."""

    metric: str
    model: str
    head: str
    rows: tuple[tuple[str, str, str, str], ...]


@dataclass(frozen=True)
class Part:
    """One evaluation dataset."""

    key: str
    name: str
    figures: tuple[Figures, ...]
    rankings: tuple[Shown, ...]
    clips: tuple[clips.Clip, ...]
    models: int


def render(
    scores: Sequence[Compared], seed: int, made: datetime, differences: Sequence[Difference] | None
) -> str:
    """The whole page as HTML; StatisticsError for an evaluation dataset without embeddings.

    With `differences`, which may be empty, it begins with a sortable table of all numbers.
    """
    full = differences is not None
    models = tables.by_model(scores)
    sets = tables.by_set(scores)
    reference = scores[0].reference
    limit, script = clips.shown_of_a_set(len(sets)), _resource("sort.js")
    parts = [
        part(f"set{index}", name, found, limit, seed, full)
        for index, (name, found) in enumerate(sets.items(), 1)
    ]
    return _template().render(
        css=Markup(_resource("style.css")),
        script=Markup(script) if full else None,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        overview=overview(scores) if full else None,
        differences=[plain(str(one)) for one in differences or ()],
        readings=tables.readings(scores),
        reference="" if reference is None else plain(reference.path),
        parts=parts,
        tables=[tables.score_table(*item) for item in models.items()],
        protocols=[tables.protocol(*item) for item in tables.by_output(scores).items()],
        warnings=tables.warnings(scores),
        skipped=tables.skipped(scores),
        clip_limit=limit,
        clip_most=clips.CLIPS_OF_A_SET,
        deviations=f"{DEVIATIONS:g}",
        seed=seed,
        made=f"{made:%Y-%m-%d %H:%M} UTC",
        made_iso=made.isoformat(timespec="seconds"),
        version=__version__,
    )


def part(
    key: str, name: str, scores: Sequence[Compared], limit: int, seed: int, full: bool
) -> Part:
    """One evaluation dataset under all models."""
    found = blame.rankings(scores, every=full)
    heard = tuple(clips.clips(scores, found, limit, f"{key}-clip"))
    return Part(
        key,
        plain(name),
        tuple(figures(f"{key}-{i}", score, limit, seed) for i, score in enumerate(scores)),
        tuple(_beginnings(found, heard)) if full else (),
        heard,
        len(scores),
    )


def _beginnings(found: Sequence[blame.Ranking], heard: Sequence[clips.Clip]) -> Iterator[Shown]:
    """The worst clips of each metric, with links to those that can be heard."""
    places = {clip.name: clip.key for clip in heard}
    for one in found:
        rows = (
            (str(place), plain(name), number(value), places.get(plain(name), ""))
            for place, (name, value) in enumerate(one.clips[:RANKED], 1)
        )
        yield Shown(one.metric, plain(one.model), one.head, tuple(rows))


def figures(key: str, score: Compared, limit: int, seed: int) -> Figures:
    """The figures of one evaluation dataset under one model."""
    projection, drawn = Markup(""), ""
    if score.reference is not None:
        found = project(score.reference, score.evaluation, seed)
        projection = Markup(plots.projection(f"{key}-plane", found))
        drawn = f"{_drawn(found.reference, 'reference')}, {_drawn(found.evaluation, 'evaluation')}"
    return Figures(
        plain(score.model), projection, drawn, tuple(_curves(key, score)),
        Markup(_distribution(f"{key}-files", score, limit)),
    )  # fmt: skip


def _curves(key: str, score: Compared) -> Iterator[Drawn]:
    for name, found in score.metrics.items():
        metric, curve = registry.metric(name), found.curve
        if curve is not None:
            picture = plots.curve(f"{key}-{metric.column}", metric.title, curve)
            yield Drawn(Markup(picture), curve.title, curve.caption)
        elif found.value is None:
            yield Drawn(Markup(""), f"No {metric.title}", plain("; ".join(found.remarks)))


def _distribution(key: str, score: Compared, limit: int) -> str:
    values = [file.influence for file in score.files]
    return plots.distribution(key, values, min(limit, len(values))) if values else ""


def _drawn(cloud: Cloud, name: str) -> str:
    if not len(cloud.points):
        return f"no {name} embeddings (only statistics)"
    if cloud.count == len(cloud.points):
        return f"all {count(cloud.count)} {name} embeddings"
    return f"{count(len(cloud.points))} of {count(cloud.count)} {name} embeddings"


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("page.html"))


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
