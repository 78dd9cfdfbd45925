"""The metrics: the name of each, what it needs, and how it is computed from arrays.

A metric is one module of `fad_onnx.metrics.definitions` with a `METRIC` in it. Flags, keywords,
JSON, CSV, Markdown, LaTeX, tables and the report are generated from it. Neither this module nor
anything that a definition imports at module level imports NumPy, because the command line loads the
definitions for their flags.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from numbers import Integral, Real
from pkgutil import iter_modules
from typing import Any, Literal

from ..errors import NoEffectError, OptionError
from .values import Arrays as Arrays
from .values import Blame as Blame
from .values import Cell as Cell
from .values import Curve as Curve
from .values import Range as Range
from .values import Tell as Tell
from .values import Value as Value

FIRST = "fad"  # the metric that `score` computes
EMBEDDING = "embedding"  # the output that a model gives by default


@dataclass(frozen=True)
class Measured:
    """One metric of one evaluation dataset under one model.

    Parameters
    ----------
    path : str
        The evaluation dataset, as the caller named it.
    model : str
        The model with the options that differ from its defaults.
    metric : Metric
        The definition of the metric.
    value : Value

    Examples
    --------
    >>> import fad_onnx, numpy as np
    >>> noise = np.random.RandomState(0).standard_normal((100, 4))
    >>> [one.metric.name for one in fad_onnx.evaluate(noise + 1, noise).measured]
    ['fad']
    """

    path: str
    model: str
    metric: Metric
    value: Value

    @property
    def label(self) -> str:
        """The metric and the model, as in "fad:vggish"."""
        return f"{self.metric.name}:{self.model}"


@dataclass(frozen=True)
class Option:
    """A typed option of a metric: a keyword in Python, a flag on the command line.

    Parameters
    ----------
    keyword : str
        "inf_draw" is also --inf-draw. Two metrics may share one.
    choices, whole, number, level
        The values that it can have: one of these texts, a whole number or any number between
        these two, or (for `level`) None or a number between 0 and 1.
    clips : bool
        Whether the metric needs embeddings by clip if the option does not have its default.
    """

    keyword: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    whole: tuple[int, int] | None = None
    number: tuple[float, float] | None = None
    level: bool = False
    clips: bool = False

    @property
    def flag(self) -> str:
        """The flag on the command line."""
        return f"--{self.keyword.replace('_', '-')}"

    def check(self, value: Any) -> Any:
        """The value; OptionError, which lists the possible values, if it is none of them."""
        if self.choices and value not in self.choices:
            raise OptionError(self.keyword, f"{value!r} is neither {' nor '.join(self.choices)}")
        if self.whole:
            low, high = self.whole
            if not isinstance(value, Integral) or not low <= int(value) <= high:
                raise OptionError(self.keyword, f"{value!r} is not a whole number, {low} to {high}")
        if self.number:
            least, most = self.number
            if not isinstance(value, Real) or not least <= float(value) <= most:
                raise OptionError(self.keyword, f"{value!r} is not a number, {least:g} to {most:g}")
        if (
            self.level
            and value is not None
            and not (isinstance(value, Real) and 0 < float(value) < 1)
        ):
            raise OptionError(self.keyword, f"the level must be between 0 and 1, is {value!r}")
        return value


SEED = Option(
    "seed",
    0,
    "random seed of subsampling and of intervals (default: 0; of isc 2020)",
    whole=(0, 2**32 - 1),
)

CI = Option(
    "ci", None,
    "confidence interval over clips (default level 0.95; before a path, write --ci=0.95)",
    level=True, clips=True,
)  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """What a metric is computed from."""

    output: str = EMBEDDING  # the output of the network
    reference: Literal["moments", "clips"] | None = "moments"
    evaluation: Literal["moments", "clips"] = "moments"
    pairs: bool = False  # whether clips with equal names form pairs
    captions: bool = False  # whether it needs captions, embedded by the model's text tower


Compute = Callable[[Arrays, Tell], Value]


@dataclass(frozen=True)
class Metric:
    """A definition.

    Parameters
    ----------
    name, title : str
        Its name on the command line, and its title in tables for people.
    better : "lower" or "higher"
    needs : Needs
    against : callable
        Takes the reference (None if it needs none) and the options; gives a function of an
        evaluation dataset, so that a reference is prepared once for all of them.
    summary : str
        What `--help` says about it.
    reading : callable
        Takes everything that was measured; returns (term, explanation) pairs for the report.
    options : tuple of Option
    columns : tuple of str
        The fields that are CSV columns.
    switch : str
        The flag of `score` that selects it, without the dashes; empty if there is none.
    """

    name: str
    title: str
    better: Literal["lower", "higher"]
    needs: Needs
    against: Callable[[Arrays | None, Mapping[str, Any]], Compute]
    summary: str
    reading: Callable[[Sequence[Measured]], Iterable[tuple[str, str]]]
    options: tuple[Option, ...] = ()
    columns: tuple[str, ...] = ()
    switch: str = ""

    @property
    def column(self) -> str:
        """The name of its value in the JSON of `score` and in CSV."""
        return self.name.replace("-", "_")

    def chosen(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The options that this metric has, checked, with defaults for those not given."""
        return {one.keyword: one.check(given.get(one.keyword, one.default)) for one in self.options}

    def by_clip(self, chosen: Mapping[str, Any]) -> bool:
        """Whether it needs the embeddings of each evaluation clip with these options."""
        used = (one for one in self.options if one.clips)
        extra = any(chosen[one.keyword] != one.default for one in used)
        return self.needs.evaluation == "clips" or extra


_added: dict[str, Metric] = {}


@cache
def _defined() -> dict[str, Metric]:
    from . import definitions

    names = sorted(found.name for found in iter_modules(definitions.__path__))
    own = [import_module(f"{definitions.__name__}.{name}").METRIC for name in names]
    own.sort(key=lambda metric: metric.name != FIRST)
    return {metric.name: metric for metric in own}


def metrics() -> dict[str, Metric]:
    """All metrics by name."""
    return {**_defined(), **_added}


def register(metric: Metric) -> None:
    """Add a metric of your own; it replaces an existing metric of the same name."""
    _added[metric.name] = metric


def metric(name: str) -> Metric:
    """The metric of this name; OptionError, which lists all names, if there is none."""
    known = metrics()
    if name not in known:
        raise OptionError("metric", f"{name!r} is not a metric; known: {', '.join(known)}")
    return known[name]


def switches() -> dict[str, Metric]:
    """The metrics that `score` computes next to its own when their flag is given."""
    return {one.switch: one for one in metrics().values() if one.switch}


def options(chosen: Iterable[Metric]) -> dict[str, Option]:
    """All options of these metrics, by keyword."""
    return {one.keyword: one for metric in chosen for one in metric.options}


def check_effect(
    given: Iterable[str], chosen: Iterable[Metric], name: Callable[[Metric], str]
) -> None:
    """NoEffectError for a given option that only other metrics than the chosen ones have.

    `name` gives the parameter that chooses a metric, or "" for a metric that cannot be chosen.
    """
    own = options(chosen)
    for keyword in given:
        if keyword not in own:
            having = (one for one in metrics().values() if keyword in options([one]))
            raise NoEffectError(keyword, "without", list(filter(None, map(name, having))))
