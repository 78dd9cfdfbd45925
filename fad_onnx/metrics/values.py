"""The plain values that metrics take and return.

This module imports no NumPy when it is loaded; see `registry`.
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
    """What a metric receives for one dataset and one model.

    Parameters
    ----------
    where : str
        What error messages call the dataset.
    moments : Moments, Gaussian or None
        The moments of all embeddings.
    clips : sequence of arrays (n, width), or None
        The output of the network for each clip; None if only statistics are known.
    names : sequence of str
        The clips' relative paths.
    partial : bool
        Whether clips without a partner are left out and counted, or are an error.
    captions : array (clips, width), or None
        The embedding of each clip's caption, for a metric that needs captions; clips without a
        caption are then left out.
    texts : sequence of str
        The captions themselves.
    """

    where: str
    moments: Moments | Gaussian | None = None
    clips: Sequence[NDArray[Any]] | None = None
    names: Sequence[str] = ()
    partial: bool = False
    captions: NDArray[Any] | None = None
    texts: Sequence[str] = ()

    def by_clip(self, what: str) -> Sequence[NDArray[Any]]:
        """The array of each clip; StatisticsError if only statistics are known."""
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

    def forget(self) -> None:
        """Release the memory of `gaussian`, which is computed anew when it is needed again."""
        vars(self).pop("gaussian", None)


@dataclass(frozen=True)
class Cell:
    """A number or a range that tables show next to a metric's value.

    Parameters
    ----------
    head : str
        The head of its column in tables of plain text and Markdown.
    title : str
        The head of its column in the report.
    value : float, (low, high), or None
        None if there is none; `note` says why.
    note : str
    better : str
        "lower" or "higher"; empty if neither is.

    Examples
    --------
    >>> Cell("interval", "95 % interval", (0.9, 1.3)).value
    (0.9, 1.3)
    """

    head: str
    title: str
    value: float | Range | None
    note: str = ""
    better: str = ""


@dataclass(frozen=True)
class Curve:
    """The metric's value for smaller subsets, and the line that extrapolates them.

    Parameters
    ----------
    title, caption : str
        For the report.
    sizes : tuple of int
        The numbers of embeddings.
    values : tuple of float
        The metric of a subset of each size.
    limit : float
        The value of the line at infinitely many embeddings.
    r2 : float or None
        The coefficient of determination of the line; None if all values are equal.

    Examples
    --------
    >>> Curve("FAD", "", (50, 100), (1.4, 1.2), 1.0, 1.0).limit
    1.0
    """

    title: str
    caption: str
    sizes: tuple[int, ...]
    values: tuple[float, ...]
    limit: float
    r2: float | None


@dataclass(frozen=True)
class Blame:
    """The clips, sorted by a number that a metric gives for each, worst first.

    Parameters
    ----------
    head : str
        A short name of the numbers.
    clips : tuple of (name, number)
        The evaluation's clips by their names, worst first.
    texts : mapping
        What each clip was compared with, such as its caption, by the clip's name.

    Examples
    --------
    >>> Blame.of("distance", ["a.wav", "b.wav"], [1.0, 3.0]).clips
    (('b.wav', 3.0), ('a.wav', 1.0))
    """

    head: str
    clips: tuple[tuple[str, float], ...]
    texts: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, head: str, names: Sequence[str], numbers: Iterable[float], *,
           lowest: bool = False, texts: Mapping[str, str] | None = None) -> Blame:  # fmt: skip
        """Sort clips by their numbers.

        Parameters
        ----------
        head : str
            A short name of the numbers.
        names : sequence of str
            The clips.
        numbers : iterable of float
            One for each clip.
        lowest : bool
            Whether the lowest number is the worst.
        texts : mapping, optional
            What each clip was compared with.

        Returns
        -------
        Blame
        """
        pairs = zip(names, map(float, numbers), strict=True)
        sign = 1.0 if lowest else -1.0
        ordered = sorted(pairs, key=lambda pair: (sign * pair[1], pair[0]))
        return cls(head, tuple(ordered), texts or {})


@dataclass(frozen=True)
class Value:
    """The result of one metric.

    Parameters
    ----------
    value : float or None
        None if it cannot be computed; `remarks` say why.
    fields : mapping of str to value
        Further fields of the JSON object.
    remarks : tuple of str
        What a reader must know: why there is no value, or that some clips were left out.
    variant : str
        The variant of the metric, for heads of tables.
    cells : tuple of Cell
        What tables show next to the value.
    curve : Curve or None
        A curve that the report draws.
    doubts : callable or None
        Takes a function that receives progress, and returns, by the name of each number, how it
        depends on the clips. The first entry belongs to `value`.
    blame : callable or None
        Returns the `Blame`: the metric's number for each clip.

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> value = fad_onnx.score(noise, noise + 1).metrics["fad"]
    >>> round(value.value, 3), value.remarks
    (4.0, ())
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
        """One cell of the CSV.

        Parameters
        ----------
        name : str
            A field; NAME_low and NAME_high are the ends of a range.

        Returns
        -------
        str, float, int or None
            None if there is no such field.
        """
        stem, _, end = name.rpartition("_")
        if end in ("low", "high") and stem in self.fields:
            ends = self.fields[stem]
            return ends and ends[end == "high"]
        return self.fields.get(name)
