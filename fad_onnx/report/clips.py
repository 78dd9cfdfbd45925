"""The clips that raise FAD most, to hear and to see."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ..api.measure import Compared, FileScore
from ..errors import AudioError
from . import excerpt, plots
from .text import count, duration, number, plain

CLIPS_OF_A_SET = 10
# With more than four sets, each shows fewer: a clip weighs about 150 kB.
CLIPS_OF_A_PAGE = 40


@dataclass(frozen=True)
class Standing:
    """What one model says of a clip."""

    model: str
    place: str
    influence: str
    mean_distance: str
    embeddings: str


@dataclass(frozen=True)
class Clip:
    """One clip; `ogg` in base64 and `picture` as SVG, or the `problem` that left it without."""

    name: str
    path: str
    length: str
    standings: tuple[Standing, ...]
    ogg: str = ""
    picture: str = ""
    problem: str = ""


def shown_of_a_set(sets: int) -> int:
    """How many clips of each dataset a page holds, by the number of datasets."""
    return max(1, min(CLIPS_OF_A_SET, CLIPS_OF_A_PAGE // sets))


def worst(scores: Sequence[Compared], limit: int) -> list[FileScore]:
    """The clips of one evaluation set that raise FAD most, by their mean rank over the models.

    Influences of different models have no common unit; ranks do.
    """
    places: dict[tuple[str | None, str], list[int]] = {}
    files: dict[tuple[str | None, str], FileScore] = {}
    for score in scores:
        for place, file in enumerate(score.files):
            places.setdefault((file.path, file.name), []).append(place)
            files.setdefault((file.path, file.name), file)
    ordered = sorted(files, key=lambda file: sum(places[file]) / len(places[file]))
    return [files[file] for file in ordered[:limit]]


def clips(scores: Sequence[Compared], limit: int, key: str) -> Iterable[Clip]:
    """The worst clips of one evaluation set under all models."""
    for index, file in enumerate(worst(scores, limit)):
        yield clip(file, tuple(_standings(scores, file)), f"{key}-{index}")


def clip(file: FileScore, standings: tuple[Standing, ...], key: str) -> Clip:
    """One clip with its sound and picture, or with the reason why there is none."""
    name, path = plain(file.name), plain(file.path or "")
    if file.path is None:
        unheard = "an embeddings file holds no audio"
        return Clip(name, path, duration(file.seconds), standings, problem=unheard)
    try:
        heard = excerpt.read(file.clip.blob() if file.clip else file.path)
    except AudioError as error:
        return Clip(name, path, duration(file.seconds), standings, problem=plain(error.reason))
    length = duration(file.seconds)
    if file.seconds is not None and file.seconds > heard.seconds + 0.1:
        length = f"the first {heard.seconds:.0f} s of {length}"
    picture = plots.log_mel(key, excerpt.log_mel(heard), heard.seconds)
    sound = base64.b64encode(excerpt.ogg(heard)).decode("ascii")
    return Clip(name, path, length, standings, sound, picture)


def _standings(scores: Sequence[Compared], clip: FileScore) -> Iterable[Standing]:
    for score in scores:
        for place, file in enumerate(score.files, 1):
            if (file.path, file.name) == (clip.path, clip.name):
                yield Standing(
                    plain(score.model),
                    f"{count(place)} of {count(len(score.files))}",
                    number(file.influence),
                    number(file.mean_distance),
                    count(file.embeddings),
                )
