"""The worst clips, with sound and picture."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..api.measure import Compared
from ..audio.sources import AudioFile
from ..errors import AudioError
from ..metrics.intervals import pairs_by_name
from ..pipeline.summaries import FileSummary, StoredClip
from . import blame, excerpt, plots
from .text import count, duration, number, plain

CLIPS_OF_A_SET = 10
# With more than four datasets, each shows fewer clips: a clip takes about 150 kB.
CLIPS_OF_A_PAGE = 40


@dataclass(frozen=True)
class Standing:
    """The numbers of one model for a clip."""

    model: str
    place: str
    influence: str
    mean_distance: str
    embeddings: str


@dataclass(frozen=True)
class Partner:
    """The reference clip of the same name, as `ogg` in base64, or a `problem`."""

    name: str
    ogg: str = ""
    problem: str = ""


@dataclass(frozen=True)
class Clip:
    """One clip: `ogg` in base64 and `picture` as SVG, or the `problem` that prevented them."""

    key: str
    name: str
    path: str
    length: str
    standings: tuple[Standing, ...]
    ogg: str = ""
    picture: str = ""
    problem: str = ""
    verdicts: tuple[blame.Verdict, ...] = ()
    captions: tuple[str, ...] = ()
    partner: Partner | None = None


def shown_of_a_set(sets: int) -> int:
    """How many clips of each dataset a page shows, given the number of datasets."""
    return max(1, min(CLIPS_OF_A_SET, CLIPS_OF_A_PAGE // sets))


def clips(
    scores: Sequence[Compared], found: Sequence[blame.Ranking], limit: int, key: str
) -> Iterable[Clip]:
    """The worst clips of one evaluation dataset by these rankings."""
    files = {file.name: file for file in scores[0].evaluation.files}
    for index, name in enumerate(blame.chosen(found, limit)):
        file, own = files[name], f"{key}-{index}"
        verdicts = filter(None, (one.verdict(name) for one in found if not one.of_files))
        yield replace(
            clip(file, tuple(_standings(scores, name)), own), verdicts=tuple(verdicts),
            captions=_captions(found, name), partner=_partner(scores, file),
        )  # fmt: skip


def _captions(found: Iterable[blame.Ranking], name: str) -> tuple[str, ...]:
    """The texts that metrics compared the clip with, without duplicates."""
    return tuple(dict.fromkeys(plain(one.texts[name]) for one in found if name in one.texts))


def _partner(scores: Sequence[Compared], file: FileSummary | StoredClip) -> Partner | None:
    """The reference clip of the same name, if the audio of both is available."""
    for reference in filter(None, (one.reference for one in scores)):
        for _, place in pairs_by_name([file.name], reference.names):
            other = reference.files[place]
            if not isinstance(other, FileSummary) or other.path == file.path:
                return None
            return _heard(plain(other.name), other.file)
    return None


def _heard(name: str, file: AudioFile) -> Partner:
    try:
        heard = excerpt.read(file.blob())
    except AudioError as error:
        return Partner(name, problem=plain(error.reason))
    return Partner(name, base64.b64encode(excerpt.ogg(heard)).decode("ascii"))


def clip(file: FileSummary | StoredClip, standings: tuple[Standing, ...], key: str) -> Clip:
    """One clip with its sound and picture, or with the reason why there is none."""
    name, path = plain(file.name), plain(file.path or "")
    if not isinstance(file, FileSummary):
        unheard = "an embeddings file holds no audio"
        return Clip(key, name, path, duration(file.seconds), standings, problem=unheard)
    try:
        heard = excerpt.read(file.file.blob())
    except AudioError as error:
        problem = plain(error.reason)
        return Clip(key, name, path, duration(file.seconds), standings, problem=problem)
    length = duration(file.seconds)
    if file.seconds is not None and file.seconds > heard.seconds + 0.1:
        length = f"the first {heard.seconds:.0f} s of {length}"
    picture = plots.log_mel(key, excerpt.log_mel(heard), heard.seconds)
    sound = base64.b64encode(excerpt.ogg(heard)).decode("ascii")
    return Clip(key, name, path, length, standings, sound, picture)


def _standings(scores: Sequence[Compared], name: str) -> Iterable[Standing]:
    for score in scores:
        for place, file in enumerate(score.files, 1):
            if file.name == name:
                yield Standing(
                    plain(score.model),
                    f"{count(place)} of {count(len(score.files))}",
                    number(file.influence),
                    number(file.mean_distance),
                    count(file.embeddings),
                )
