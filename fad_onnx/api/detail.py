"""What goes beside a score: its limit, its interval, a second metric, its files one by one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import NDArray

from ..errors import NoBandwidthError, OptionError, StatisticsError
from ..metrics.confidence_interval import Interval, Side, interval, pairs_by_name
from ..metrics.fad_infinity import DRAWS, Infinity, fad_infinity
from ..metrics.frechet import Gaussian, file_distance
from ..metrics.influence import influences
from ..metrics.kad import Kad, KernelReference
from ..metrics.moments import Moments
from ..pipeline.datasets import AudioSet

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class Wanted:
    """What to compute with the score.

    ci: a level, such as 0.95. seed: of everything that is drawn. inf_draw: what the subsets of
    FAD-infinity are made of, whole "clips" or single "embeddings" as published.

    Raises OptionError for a level, a seed or a draw that is none.
    """

    inf: bool = False
    ci: float | None = None
    kad: bool = False
    per_file: bool = False
    seed: int = 0
    inf_draw: str = DRAWS[0]

    def __post_init__(self) -> None:
        if self.ci is not None and not 0.0 < self.ci < 1.0:
            raise OptionError("--ci", f"the level must be between 0 and 1, is {self.ci}")
        if not isinstance(self.seed, Integral) or not 0 <= self.seed < 2**32:
            raise OptionError("--seed", f"{self.seed} is not a whole number from 0 to 2^32 - 1")
        if self.inf_draw not in DRAWS:
            raise OptionError("--inf-draw", f"{self.inf_draw!r} is neither clips nor embeddings")

    def __bool__(self) -> bool:
        return self.inf or self.kad or self.per_file or self.ci is not None


@dataclass(frozen=True)
class FileScore:
    """One clip and the reference.

    influence: the dataset's FAD minus its FAD without this clip, above zero for a clip that
    raises it; the whole FAD where fewer than two embeddings would be left. fad: the Frechet
    distance of the clip's own embeddings to the reference (of a single one |x - mu|^2 + Tr(S)),
    which is the larger, the fewer they are. mean_distance: Euclidean, of the clip's mean to the
    reference's.
    """

    name: str
    path: str | None  # None for a clip of an embeddings file: its audio is not known
    embeddings: int
    seconds: float | None
    influence: float
    fad: float
    mean_distance: float


@dataclass(frozen=True)
class Detail:
    """What was asked for, None for what was not."""

    inf: Infinity | None = None
    interval: Interval | None = None
    kad: Kad | None = None
    files: tuple[FileScore, ...] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why something could not be computed, and what was computed from a part of the rows."""
        found = [one.reason for one in (self.inf, self.interval, self.kad) if one and one.reason]
        if self.kad and self.kad.subsampled:
            used, given = self.kad.rows, self.kad.rows_given
            found.append(
                f"KAD is of {used[0]} of {given[0]} reference embeddings"
                f" and {used[1]} of {given[1]} evaluation embeddings, drawn by the seed"
            )
        return tuple(found)


class Reference:
    """One reference, prepared once for all the evaluation sets compared with it."""

    def __init__(self, reference: AudioSet, gaussian: Gaussian, wanted: Wanted) -> None:
        self.set, self.gaussian, self._wanted = reference, gaussian, wanted
        self._kernel: KernelReference | Kad | None = None
        if wanted.kad:
            self._kernel = _kernel(np.concatenate(rows_of(reference, "--kad")), wanted, reference)

    def detail(
        self, evaluation: AudioSet, progress: Callable[[str, int, int], None] | None = None
    ) -> Detail:
        """The detail of one evaluation set; StatisticsError if it has no rows to compute from.

        progress: told what is computed, how many steps are done just now, and how many there are.
        """
        wanted = self._wanted
        if not wanted:
            return Detail()
        rows = rows_of(evaluation, "what was asked for")
        joined = np.concatenate(rows)
        return Detail(
            self._infinity(evaluation, rows, joined, progress) if wanted.inf else None,
            self._interval(evaluation, rows, wanted.ci, progress)
            if wanted.ci is not None
            else None,
            self._kad(joined, evaluation.path),
            self._files(evaluation, rows, progress) if wanted.per_file else (),
        )

    def _kad(self, rows: Rows, where: str) -> Kad | None:
        kernel = self._kernel
        return kernel.distance(rows, where) if isinstance(kernel, KernelReference) else kernel

    def _infinity(
        self, evaluation: AudioSet, rows: Sequence[Rows], joined: Rows,
        progress: Callable[[str, int, int], None] | None,
    ) -> Infinity:  # fmt: skip
        def tell(_: int, steps: int) -> None:
            if progress:
                progress(f"limit of {evaluation.path}", 1, steps)

        by_clip = [len(own) for own in rows] if self._wanted.inf_draw == "clips" else None
        return fad_infinity(
            self.gaussian, joined, self._wanted.seed, by_clip, tell, evaluation.path
        )

    def _interval(
        self, evaluation: AudioSet, rows: Sequence[Rows], level: float,
        progress: Callable[[str, int, int], None] | None,
    ) -> Interval:  # fmt: skip
        """Over files of both sets; a reference given as statistics stays fixed."""
        fixed, moments = self.set.moments, evaluation.moments
        assert isinstance(moments, Moments)
        held = self.set.rows_by_file
        reference = Side(held, fixed) if held and isinstance(fixed, Moments) else self.gaussian
        files = len(rows) + (len(reference.files) if isinstance(reference, Side) else 0)

        def tell(count: int) -> None:
            if progress:
                progress(f"interval of {evaluation.path}", count, files)

        pairs: tuple[tuple[int, int], ...] = ()
        if isinstance(reference, Side):
            names = ([file.name for file in one.files] for one in (evaluation, self.set))
            pairs = pairs_by_name(*names)
        return interval(Side(rows, moments), reference, level, tell, pairs)

    def _files(
        self, evaluation: AudioSet, rows: Sequence[Rows],
        progress: Callable[[str, int, int], None] | None,
    ) -> tuple[FileScore, ...]:  # fmt: skip
        """Every clip, highest influence first."""
        assert isinstance(evaluation.moments, Moments)

        def tell(count: int) -> None:
            if progress:
                progress(f"clips of {evaluation.path}", count, len(rows))

        moved = influences(rows, evaluation.moments, self.gaussian, tell)
        scores = []
        for file, own, influence in zip(evaluation.files, rows, moved, strict=True):
            found = file_distance(self.gaussian, Moments.of(own, file.name))
            scores.append(
                FileScore(
                    file.name, file.path, found.rows, file.seconds, float(influence),
                    found.fad, found.mean_distance,
                )
            )  # fmt: skip
        return tuple(sorted(scores, key=lambda score: (-score.influence, score.name)))


def _kernel(rows: Rows, wanted: Wanted, reference: AudioSet) -> KernelReference | Kad:
    """Without a bandwidth there is no KAD, and the FAD is as good as ever."""
    try:
        return KernelReference(rows, wanted.seed, reference.path)
    except NoBandwidthError as error:
        return Kad(None, 0.0, (0, 0), (0, 0), str(error))


def rows_of(one: AudioSet, what: str) -> Sequence[Rows]:
    """The rows of every file; StatisticsError for a set that is statistics alone."""
    if one.rows_by_file is None:
        raise StatisticsError(
            one.path, f"holds statistics without rows, and {what} needs rows: give audio or"
            " a file written by embed",
        )  # fmt: skip
    return one.rows_by_file
