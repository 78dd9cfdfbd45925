"""Numbers in tables: aligned text, Markdown, LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from ..errors import printable, shown
from ..metrics.registry import Cell, Measured

ARROWS = {"lower": "↓", "higher": "↑"}
LATEX_ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$"}
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
    "∞": r"$\infty$", "–": "--",
}  # fmt: skip
Heads = Callable[[Measured], str]


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Text in aligned columns; what is not printable is escaped."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def plain(found: Sequence[Measured], order: Sequence[str], head: Heads, prefix: Heads) -> str:
    """A line for each dataset, in this order, and a column for each metric and model."""
    table: dict[str, dict[str, str]] = {path: {} for path in order}
    for one in found:
        table[one.path] |= {head(one): text(one.value.value)}
        table[one.path] |= {prefix(one) + cell.head: _cell(cell) for cell in one.value.cells}
    heads = list(dict.fromkeys(key for row in table.values() for key in row))
    lines = [[shown(path), *(row.get(key, "") for key in heads)] for path, row in table.items()]
    return columns([["set", *heads], *lines])


def ranked(found: Sequence[Measured]) -> list[str]:
    """The datasets, best by the first metric first; equal ones in the order given."""
    first = found[0].label
    values = {one.path: one for one in found if one.label == first}
    paths = list(dict.fromkeys(one.path for one in found))
    return sorted(paths, key=lambda path: _place(values.get(path)))


def _place(one: Measured | None) -> tuple[bool, float]:
    if one is None or one.value.value is None:
        return True, 0.0
    return False, one.value.value * (1 if one.metric.better == "lower" else -1)


def labelled(found: Sequence[Measured]) -> str:
    """A table for people, whose heads are METRIC:MODEL."""
    return plain(found, ranked(found), _head, lambda one: "")


def _head(one: Measured) -> str:
    variant = f"({one.value.variant})" if one.value.variant else ""
    return one.label + variant


def text(value: float | None) -> str:
    """Six digits, or a dash."""
    return "-" if value is None else f"{value:.6g}"


def _cell(cell: Cell) -> str:
    if isinstance(cell.value, tuple):
        low, high = cell.value
        return f"{low:.5g}..{high:.5g}" + (f" ({cell.note})" if cell.note else "")
    return text(cell.value) + (f" ({cell.note})" if cell.note else "")


def markdown(found: Sequence[Measured]) -> str:
    """A table in Markdown: arrows show the better direction, the best is bold."""
    heads, lines = _grid(found, lambda one: f"**{one}**", ARROWS)
    rows = [["dataset", *heads], ["---", *("---:" for _ in heads)], *lines]
    return "\n".join(f"| {' | '.join(map(_markdown, row))} |" for row in rows)


def _markdown(cell: str) -> str:
    return printable(cell).replace("\\", r"\\").replace("|", r"\|")


def latex(found: Sequence[Measured]) -> str:
    """A table in LaTeX, for the package booktabs: arrows to the better side, the best in bold."""
    mark = "\0"
    heads, lines = _grid(found, lambda one: mark + one, dict.fromkeys(ARROWS, ""))
    arrows = [LATEX_ARROWS[one.metric.better] for one in _first_of_each(found)]
    top = [f"{_latex(head)} {arrow}" for head, arrow in zip(heads, arrows, strict=True)]
    body = [
        " & ".join(
            rf"\textbf{{{_latex(cell[1:])}}}" if cell.startswith(mark) else _latex(cell)
            for cell in line
        )
        for line in lines
    ]
    return "\n".join([
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule",
        " & ".join(["Dataset", *top]) + r" \\", r"\midrule",
        *(f"{line} \\\\" for line in body), r"\bottomrule", r"\end{tabular}",
    ])  # fmt: skip


def _latex(cell: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in printable(cell))


def _first_of_each(found: Sequence[Measured]) -> list[Measured]:
    """One of each metric and model, in the order given."""
    firsts: dict[str, Measured] = {}
    for one in found:
        firsts.setdefault(one.label, one)
    return list(firsts.values())


def _grid(
    found: Sequence[Measured], bold: Callable[[str], str], arrows: Mapping[str, str]
) -> tuple[list[str], list[list[str]]]:
    """Heads and lines with one column for each metric and model, in the order given."""
    firsts = _first_of_each(found)
    heads = [f"{one.metric.title} {one.model} {arrows[one.metric.better]}".strip()
             for one in firsts]  # fmt: skip
    by_place = {(one.path, one.label): one for one in found}
    best = [_best([o for o in found if o.label == one.label]) for one in firsts]

    def cells(path: str) -> Iterator[str]:
        for first, winner in zip(firsts, best, strict=True):
            one = by_place.get((path, first.label))
            shown_value = text(one.value.value) if one else ""
            wins = one is not None and winner is not None and one.value.value == winner.value.value
            yield bold(shown_value) if wins else shown_value

    return heads, [[shown(path), *cells(path)] for path in ranked(found)]


def _best(found: Sequence[Measured]) -> Measured | None:
    """The best of one metric and model; None without a value."""
    held = [one for one in found if one.value.value is not None]
    sign = 1.0 if held and held[0].metric.better == "lower" else -1.0
    return min(held, key=lambda one: sign * (one.value.value or 0.0), default=None)
