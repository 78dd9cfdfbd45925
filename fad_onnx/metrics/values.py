"""What metrics are computed from, and what they find: plain values.

Nothing here imports NumPy when it is loaded; see `registry`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ..errors import StatisticsError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from .frechet import Gaussian
    from .intervals import Doubt
    from .moments import Moments

Tell = Callable[[str, int, int], object]
Range = tuple[float, float]


@dataclass(frozen=True, eq=False)
class Arrays:
    """What a metric knows of one dataset under one model.

    Parameters
    ----------
    where : str
        What messages call it.
    moments : Moments, Gaussian or None
        Of all embeddings.
    clips : sequence of arrays (n, width), or None
        What the network gave for each clip; None where only statistics are known.
    names : sequence of str
        The clips' relative paths.
    partial : bool
        Whether clips without a partner are left out and counted; otherwise they are an error.
    captions : array (clips, width), or None
        The embedding of each clip's caption, for a metric that needs captions; then the clips are
        those with a caption.
    texts : sequence of str
        These captions.
    """

    where: str
    moments: Moments | Gaussian | None = None
    clips: Sequence[NDArray[Any]] | None = None
    names: Sequence[str] = ()
    partial: bool = False
    captions: NDArray[Any] | None = None
    texts: Sequence[str] = ()

    def by_clip(self, what: str) -> Sequence[NDArray[Any]]:
        """The array of each clip; StatisticsError for statistics alone."""
        if self.clips is None:
            raise StatisticsError(
                self.where,
                f"holds statistics without embeddings, and {what} needs embeddings: give audio or a"
                " file written by embed",
            )  # fmt: skip
        return self.clips

    @cached_property
    def gaussian(self) -> Gaussian:
        """Mean and factored covariance, computed once."""
        from .frechet import Gaussian

        assert self.moments is not None
        return Gaussian.of(self.moments, self.where)


@dataclass(frozen=True)
class Cell:
    """A number or a range that tables show next to a metric's value; None if there is none."""

    head: str  # in a table of plain text, and in Markdown
    title: str  # in the report
    value: float | Range | None
    note: str = ""


@dataclass(frozen=True)
class Curve:
    """The metric of smaller subsets, and the line through them to infinitely many embeddings."""

    title: str
    caption: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    limit: float
    r2: float | None


@dataclass(frozen=True)
class Blame:
    """What a metric says of single clips, worst first.

    Parameters
    ----------
    head : str
        What the numbers are, in a few words.
    clips : tuple of (name, number)
        The evaluation's clips by their names, worst first.
    texts : mapping
        What each was compared with, such as its caption, by its name.
    """

    head: str
    clips: tuple[tuple[str, float], ...]
    texts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, head: str, names: Sequence[str], numbers: Iterable[float], *,
           lowest: bool = False, texts: Mapping[str, str] | None = None) -> Blame:  # fmt: skip
        """Sorted; `lowest`: the lowest number is the worst."""
        pairs = zip(names, map(float, numbers), strict=True)
        sign = 1.0 if lowest else -1.0
        ordered = sorted(pairs, key=lambda pair: (sign * pair[1], pair[0]))
        return cls(head, tuple(ordered), texts or {})


@dataclass(frozen=True)
class Value:
    """What a metric found.

    Parameters
    ----------
    value : float or None
        None where it cannot be computed; `remarks` say why.
    fields : mapping
        What else JSON carries, by its names there.
    remarks : tuple of str
        What a reader must know: why there is no value, or of what part it was computed.
    variant : str
        Which variant of the metric it is, for heads of tables.
    cells : tuple of Cell
        What tables show next to the value.
    curve : Curve or None
        What the report draws of it.
    doubts : callable or None
        Takes a function to tell progress; gives, by the names of the numbers, how each depends on
        the clips. The first is that of `value`.
    blame : callable or None
        Gives what the metric says of each clip.
    """

    value: float | None
    fields: Mapping[str, Any] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    variant: str = ""
    cells: tuple[Cell, ...] = ()
    curve: Curve | None = None
    doubts: Callable[[Tell], Mapping[str, Doubt]] | None = field(
        default=None, repr=False, compare=False
    )
    blame: Callable[[], Blame] | None = field(default=None, repr=False, compare=False)

    def column(self, name: str) -> Any:
        """A field as one CSV cell; the ends of a range are NAME_low and NAME_high."""
        stem, _, end = name.rpartition("_")
        if end in ("low", "high") and stem in self.fields:
            ends = self.fields[stem]
            return ends and ends[end == "high"]
        return self.fields.get(name)
