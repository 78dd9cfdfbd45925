"""The figures of the page. They contain no text of the user; names are in the captions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from ..metrics.moments import Array
from ..metrics.registry import Curve
from . import excerpt
from .projection import Cloud, Projection
from .svg import EVALUATION, MUTED, PAPER, REFERENCE, TEXT, inline, style
from .text import count, number, percent

# In points. On a telephone, the page shows figures at least this wide, so that text is readable.
WIDTH, HEIGHT = 330, 250
MOST_BINS = 30


def _figure(height: int = HEIGHT) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(WIDTH / 72, height / 72), layout="constrained")
    return figure, figure.add_subplot()


def _legend(figure: Figure, axes: Axes) -> None:
    """Draw the legend above the axes, where it hides nothing."""
    handles, labels = axes.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper left", ncols=len(labels), fontsize=10,
        handlelength=1.4, columnspacing=1.0, borderaxespad=0.2, markerscale=1.3,
    )  # fmt: skip


def curve(key: str, title: str, fit: Curve) -> str:
    """A metric against 1/n, and the line to n = infinity; `title` names the limit."""
    subset = title.removesuffix("∞")
    x, y = 1.0 / np.array(fit.sizes, np.float64), np.array(fit.values)
    with style(key):
        figure, axes = _figure()
        slope = (y.mean() - fit.limit) / x.mean()
        ends = np.array([0.0, x.max()])
        axes.plot(ends, fit.limit + slope * ends, "--", color=MUTED, label="line")
        axes.plot(
            x, y, "o", color=EVALUATION, markerfacecolor=PAPER, markersize=5, label=f"{subset} of n"
        )
        axes.plot(
            [0], [fit.limit], "D", color=REFERENCE, markersize=8, clip_on=False,
            label=f"{title} {number(fit.limit)}",
        )  # fmt: skip
        shown = sorted({fit.sizes[0], fit.sizes[len(fit.sizes) // 3], fit.sizes[-1]})
        axes.set_xticks([0.0, *(1.0 / n for n in shown)], ["∞", *map(count, shown)])
        axes.set(xlabel="embeddings n, spaced as 1/n", ylabel=subset, xlim=(0.0, None))
        _legend(figure, axes)
        r2 = f", r² {fit.r2:.3f}" if fit.r2 is not None else ""
        label = (
            f"{subset} at {len(fit.sizes)} subset sizes from {fit.sizes[0]} to {fit.sizes[-1]}"
            f" embeddings: {number(fit.values[0])} to {number(fit.values[-1])}; the fitted line"
            f" meets infinitely many at {number(fit.limit)}{r2}"
        )
        return inline(figure, key, label)


def projection(key: str, found: Projection) -> str:
    """Both datasets in the plane: rings and a dashed ellipse, or crosses and a solid ellipse."""
    with style(key):
        figure, axes = _figure(300)
        _cloud(axes, found.reference, "o", "--", REFERENCE, "reference")
        _cloud(axes, found.evaluation, "x", "-", EVALUATION, "evaluation")
        axes.set_aspect("equal", adjustable="datalim")
        axes.set(
            xlabel=f"first component, {percent(found.shares[0])}",
            ylabel=f"second component, {percent(found.shares[1])}",
        )
        _legend(figure, axes)
        gap = float(np.hypot(*(found.evaluation.mean - found.reference.mean)))
        label = (
            f"Scatter plot of {len(found.reference.points)} reference embeddings (rings) and"
            f" {len(found.evaluation.points)} evaluation embeddings (crosses) on two principal"
            f" components; the centres are {number(gap)} apart"
        )
        return inline(figure, key, label)


def _cloud(axes: Axes, cloud: Cloud, marker: str, line: str, colour: str, name: str) -> None:
    if len(cloud.points):
        face = "none" if marker == "o" else colour
        axes.plot(
            cloud.points[:, 0], cloud.points[:, 1], marker, color=colour, markerfacecolor=face,
            markersize=4, markeredgewidth=0.9, alpha=0.75, label=name,
        )  # fmt: skip
    outline = cloud.outline()
    label = None if len(cloud.points) else name
    # A pale line beneath keeps the ellipse visible where it crosses the points.
    axes.plot(outline[:, 0], outline[:, 1], "-", color=PAPER, linewidth=4, alpha=0.8)
    axes.plot(outline[:, 0], outline[:, 1], line, color=colour, linewidth=2, label=label)


def distribution(key: str, values: Sequence[float], worst: int) -> str:
    """A histogram of influence; the bars of the `worst` clips are hatched on top."""
    ordered = np.sort(np.array(values, np.float64))
    with style(key):
        figure, axes = _figure()
        rest, top = ordered[: len(ordered) - worst], ordered[len(ordered) - worst :]
        axes.hist(
            [rest, top], list(bin_edges(ordered)), stacked=True, color=[EVALUATION, PAPER],
            edgecolor=EVALUATION, label=["other clips", f"the {worst} highest"],
        )  # fmt: skip
        _hatch(axes)
        axes.axvline(0.0, color=TEXT, linestyle="--", label="no influence")
        axes.set(xlabel="influence on FAD", ylabel="clips")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.xaxis.set_major_formatter(lambda value, _: number(value, 3))
        _legend(figure, axes)
        label = (
            f"Histogram of the influence of {len(ordered)} clips on FAD:"
            f" from {number(ordered[0])} to {number(ordered[-1])};"
            f" {int((ordered > 0.0).sum())} of them raise FAD"
        )
        return inline(figure, key, label)


def _hatch(axes: Axes) -> None:
    """Hatch the second of the two stacked histograms."""
    for patch in axes.containers[-1]:
        if isinstance(patch, Rectangle):
            patch.set_hatch("////")


def bin_edges(ordered: Array) -> Array:
    """Edges of a histogram of ascending values."""
    low, high = float(ordered[0]), float(ordered[-1])
    bins = int(np.clip(2.0 * np.sqrt(len(ordered)), 5, MOST_BINS))
    size = max(abs(low), abs(high))
    margin = (0.5 * size or 0.5) if high - low <= 1e-9 * size else 0.0
    return np.linspace(low - margin, high + margin, bins + 1)


def log_mel(key: str, decibels: NDArray[np.float32], seconds: float) -> str:
    """Time against mel-spaced frequency, brighter for louder, the same scale for every clip."""
    low, high = (
        float(excerpt.mel(excerpt.LOWEST_BAND_HZ)),
        float(excerpt.mel(excerpt.PICTURE_HZ / 2)),
    )
    with style(key):
        # Its margins are known, and laying it out would take longer than drawing it.
        figure = Figure(figsize=(WIDTH / 72, 150 / 72))
        axes = figure.add_axes((0.13, 0.25, 0.84, 0.72))
        axes.imshow(
            decibels, origin="lower", aspect="auto", cmap="magma", vmin=excerpt.FLOOR_DB, vmax=0.0,
            extent=(0.0, seconds, low, high), interpolation="none",
        )  # fmt: skip
        axes.grid(visible=False)
        ticks = (200, 1000, 3000, 8000, 16000)
        axes.set_yticks(
            [float(excerpt.mel(hz)) for hz in ticks], [f"{hz / 1000:g}" for hz in ticks]
        )
        axes.set(xlabel="seconds", ylabel="kHz")
        return inline(figure, key, picture_label(decibels, seconds))


def picture_label(decibels: NDArray[np.float32], seconds: float) -> str:
    """A description of a log-mel picture: length, level, frequency range."""
    level = decibels.mean(axis=1)
    if float(level.max()) <= excerpt.FLOOR_DB + 1.0:
        return f"Log-mel picture of {seconds:.1f} seconds of silence"
    edges = np.linspace(
        float(excerpt.mel(excerpt.LOWEST_BAND_HZ)),
        float(excerpt.mel(excerpt.PICTURE_HZ / 2)),
        excerpt.BANDS + 2,
    )
    peaks = excerpt.hertz(edges[1:-1])
    loud = np.flatnonzero(level > level.max() - 50.0)
    return (
        f"Log-mel picture of {seconds:.1f} seconds: loudest around"
        f" {peaks[int(level.argmax())] / 1000:.2g} kHz, within 50 decibels of that"
        f" from {peaks[loud[0]] / 1000:.2g} to {peaks[loud[-1]] / 1000:.2g} kHz"
    )
