"""The page: parts from scores, put together by a template that escapes everything it is given."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from .._version import __version__
from ..api.measure import Compared
from ..metrics import registry
from . import clips, plots, tables
from .projection import DEVIATIONS, Cloud, project
from .text import count, plain


@dataclass(frozen=True)
class Drawn:
    """One figure with its caption, or a note on why there is none."""

    picture: Markup
    title: str
    caption: str


@dataclass(frozen=True)
class Figures:
    """One evaluation set under one model; a figure is empty where there is nothing to draw."""

    model: str
    projection: Markup
    drawn: str
    curves: tuple[Drawn, ...]
    distribution: Markup


@dataclass(frozen=True)
class Part:
    """One evaluation set."""

    key: str
    name: str
    figures: tuple[Figures, ...]
    clips: tuple[clips.Clip, ...]
    models: int


def render(scores: Sequence[Compared], seed: int, made: datetime) -> str:
    """The whole page as HTML; StatisticsError for an evaluation dataset without embeddings."""
    models = tables.by_model(scores)
    sets = tables.by_set(scores)
    reference = scores[0].reference
    limit = clips.shown_of_a_set(len(sets))
    parts = [
        part(f"set{index}", name, found, limit, seed)
        for index, (name, found) in enumerate(sets.items(), 1)
    ]
    return _template().render(
        css=Markup(_resource("style.css")),
        readings=tables.readings(scores),
        reference="" if reference is None else plain(reference.path),
        parts=parts,
        tables=[tables.score_table(*item) for item in models.items()],
        protocols=[tables.protocol(*item) for item in models.items()],
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


def part(key: str, name: str, scores: Sequence[Compared], limit: int, seed: int) -> Part:
    """One evaluation set under all models."""
    return Part(
        key,
        plain(name),
        tuple(figures(f"{key}-{i}", score, limit, seed) for i, score in enumerate(scores)),
        tuple(clips.clips(scores, limit, f"{key}-clip")),
        len(scores),
    )


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
        return f"no {name} embeddings (statistics alone)"
    if cloud.rows == len(cloud.points):
        return f"all {count(cloud.rows)} {name} embeddings"
    return f"{count(len(cloud.points))} of {count(cloud.rows)} {name} embeddings"


def _template() -> Template:
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(_resource("page.html"))


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
