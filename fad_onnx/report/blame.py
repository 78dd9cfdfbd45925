"""Rankings of single clips by each metric, worst first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

from ..api.measure import Compared
from ..metrics import registry
from ..metrics.registry import FIRST
from .text import count, number, plain


@dataclass(frozen=True)
class Verdict:
    """The number of one metric and model for a clip."""

    metric: str
    model: str
    head: str
    place: str
    number: str


@dataclass(frozen=True)
class Ranking:
    """The clips of one evaluation dataset by one metric and model, worst first."""

    metric: str
    model: str
    head: str
    clips: tuple[tuple[str, float], ...]
    of_files: bool = False  # whether this is the influence on FAD, which has its own table
    texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The clips."""
        return tuple(name for name, _ in self.clips)

    def verdict(self, name: str) -> Verdict | None:
        """The verdict on this clip, if there is one."""
        for place, (own, value) in enumerate(self.clips, 1):
            if own == name:
                where = f"{count(place)} of {count(len(self.clips))}"
                return Verdict(self.metric, plain(self.model), self.head, where, number(value))
        return None


def rankings(scores: Iterable[Compared], *, every: bool = True) -> list[Ranking]:
    """The rankings of one evaluation dataset under all models, by every metric or FAD alone."""
    return [ranking for score in scores for ranking in _of(score, every)]


def _of(score: Compared, every: bool) -> Iterator[Ranking]:
    for name, value in score.metrics.items():
        title = registry.metric(name).title
        if name == FIRST and score.files:
            clips = tuple((file.name, file.influence) for file in score.files)
            yield Ranking(title, score.model, "influence on FAD", clips, of_files=True)
        elif every and value.blame is not None:
            found = value.blame()
            yield Ranking(title, score.model, found.head, found.clips, texts=found.texts)


def chosen(found: Sequence[Ranking], limit: int) -> list[str]:
    """The clips to show: the worst of each metric in turn, each once.

    If a metric has several models, clips are ranked by their mean place, because the numbers of
    different models have no common unit.
    """
    by_metric: dict[str, list[Ranking]] = {}
    for one in found:
        by_metric.setdefault(one.metric, []).append(one)
    orders = [_by_mean_place(own) for own in by_metric.values()]
    turns = (name for turn in zip_longest(*orders) for name in turn if name is not None)
    return list(dict.fromkeys(turns))[:limit]


def _by_mean_place(alike: Sequence[Ranking]) -> list[str]:
    places: dict[str, list[int]] = {}
    for ranking in alike:
        for place, name in enumerate(ranking.names):
            places.setdefault(name, []).append(place)
    return sorted(places, key=lambda name: sum(places[name]) / len(places[name]))
