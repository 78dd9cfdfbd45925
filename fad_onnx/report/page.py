"""The page: parts from scores, put together by a template that escapes everything it is given."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from .._version import __version__
from ..api.functions import Score
from . import clips, plots, tables
from .projection import DEVIATIONS, Cloud, project
from .text import count, number, plain


@dataclass(frozen=True)
class Figures:
    """One evaluation set under one model; a figure is empty where there is nothing to draw."""

    model: str
    projection: Markup
    drawn: str
    infinity: Markup
    r2: str
    infinity_problem: str
    distribution: Markup


@dataclass(frozen=True)
class Part:
    """One evaluation set."""

    key: str
    name: str
    figures: tuple[Figures, ...]
    clips: tuple[clips.Clip, ...]
    models: int


def render(scores: Sequence[Score], seed: int, made: datetime) -> str:
    """The whole page as HTML. Raises StatisticsError for an evaluation set without rows."""
    models = tables.by_model(scores)
    sets = tables.by_set(scores)
    limit = clips.shown_of_a_set(len(sets))
    parts = [
        part(f"set{index}", name, found, limit, seed)
        for index, (name, found) in enumerate(sets.items(), 1)
    ]
    return _template().render(
        css=Markup(_resource("style.css")),
        reference=plain(scores[0].reference.path),
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


def part(key: str, name: str, scores: Sequence[Score], limit: int, seed: int) -> Part:
    """One evaluation set under all models."""
    return Part(
        key,
        plain(name),
        tuple(figures(f"{key}-{i}", score, limit, seed) for i, score in enumerate(scores)),
        tuple(clips.clips(scores, limit, f"{key}-clip")),
        len(scores),
    )


def figures(key: str, score: Score, limit: int, seed: int) -> Figures:
    """The figures of one evaluation set under one model."""
    found = project(score.reference, score.evaluation, seed)
    fit = score.detail.inf
    fitted = fit is not None and fit.value is not None
    return Figures(
        plain(score.model),
        Markup(plots.projection(f"{key}-plane", found)),
        f"{_drawn(found.reference, 'reference')}, {_drawn(found.evaluation, 'evaluation')}",
        Markup(plots.infinity(f"{key}-inf", fit) if fit and fitted else ""),
        number(fit.r2, 2) if fit and fit.r2 is not None else "",
        plain(fit.reason or "") if fit and not fitted else "",
        Markup(_distribution(f"{key}-files", score, limit)),
    )


def _distribution(key: str, score: Score, limit: int) -> str:
    values = [file.influence for file in score.detail.files]
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
