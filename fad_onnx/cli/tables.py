"""Numbers in tables: aligned text, Markdown, LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from ..errors import printable, shown
from ..metrics.registry import Cell, Measured
from ..metrics.values import Range

ARROWS = {"lower": "↓", "higher": "↑"}
LATEX_ARROWS = {"lower": r"$\downarrow$", "higher": r"$\uparrow$"}
LATEX = {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    **{one: f"\\{one}" for one in "&%$#_{}"},
    "∞": r"$\infty$", "–": "--",
}  # fmt: skip
Heads = Callable[[Measured], str]


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Text in aligned columns, with unprintable characters escaped."""
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
    return columns([["dataset", *heads], *lines])


def ranked(found: Sequence[Measured]) -> list[str]:
    """The datasets, the best by the first metric first; equal ones stay in the order given."""
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
    models: dict[str, set[str]] = {}
    for one in found:
        models.setdefault(one.metric.name, set()).add(one.model)

    def prefix(one: Measured) -> str:
        return f"{one.model} " if len(models[one.metric.name]) > 1 else ""

    return plain(found, ranked(found), _head, prefix)


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


@dataclass
class _Column:
    """The texts of one column by dataset; `best` are the datasets whose text is in bold."""

    title: str
    better: str = ""
    texts: dict[str, str] = field(default_factory=dict)
    best: frozenset[str] = frozenset()


def _columns(found: Sequence[Measured]) -> list[_Column]:
    """A column for each metric and model, and for the fields next to its value."""
    by_label: dict[str, list[Measured]] = {}
    for one in found:
        by_label.setdefault(one.label, []).append(one)
    every: list[_Column] = []
    for alike in by_label.values():
        metric, model = alike[0].metric, alike[0].model
        texts = {one.path: text(one.value.value) for one in alike}
        best = _best({one.path: one.value.value for one in alike}, metric.better)
        every.append(_Column(f"{metric.title} {model}", metric.better, texts, best))
        more: dict[str, dict[str, Cell]] = {}
        for one in alike:
            for cell in one.value.cells:
                more.setdefault(cell.title, {})[one.path] = cell
        every += (_column(f"{title} {model}", cells) for title, cells in more.items())
    return every


def _column(title: str, cells: Mapping[str, Cell]) -> _Column:
    """The column of a field, by dataset."""
    better = next(iter(cells.values())).better
    texts = {path: _cell(cell) for path, cell in cells.items()}
    best = _best({path: cell.value for path, cell in cells.items()}, better)
    return _Column(title, better, texts, best)


def _best(values: Mapping[str, float | Range | None], better: str) -> frozenset[str]:
    """The datasets with the best value of one column, if there are several datasets."""
    numbers = {
        path: value
        for path, value in values.items()
        if value is not None and not isinstance(value, tuple)
    }
    if len(values) < 2 or not numbers or not better:
        return frozenset()
    best = (min if better == "lower" else max)(numbers.values())
    return frozenset(path for path, value in numbers.items() if value == best)


def markdown(found: Sequence[Measured]) -> str:
    """A table in Markdown: arrows show the better direction, the best is bold."""
    every = _columns(found)
    heads = [f"{one.title} {ARROWS.get(one.better, '')}".strip() for one in every]
    lines = [
        [shown(path), *(_bold(one, path, "**{}**", printable) for one in every)]
        for path in ranked(found)
    ]
    rows = [["dataset", *heads], ["---", *("---:" for _ in heads)], *lines]
    return "\n".join(f"| {' | '.join(map(_markdown, row))} |" for row in rows)


def _bold(column: _Column, path: str, form: str, escape: Callable[[str], str]) -> str:
    cell = escape(column.texts.get(path, ""))
    return form.format(cell) if path in column.best else cell


def _markdown(cell: str) -> str:
    return printable(cell).replace("\\", r"\\").replace("|", r"\|")


def latex(found: Sequence[Measured]) -> str:
    """A table in LaTeX (booktabs): arrows show the better direction, the best is bold."""
    every = _columns(found)
    heads = [f"{_latex(one.title)} {LATEX_ARROWS.get(one.better, '')}".strip() for one in every]
    lines = [
        [_latex(shown(path)), *(_bold(one, path, r"\textbf{{{}}}", _latex) for one in every)]
        for path in ranked(found)
    ]
    return "\n".join([
        rf"\begin{{tabular}}{{l{'r' * len(heads)}}}", r"\toprule",
        " & ".join(["Dataset", *heads]) + r" \\", r"\midrule",
        *(" & ".join(line) + r" \\" for line in lines), r"\bottomrule", r"\end{tabular}",
    ])  # fmt: skip


def _latex(cell: str) -> str:
    return "".join(LATEX.get(letter, letter) for letter in printable(cell))
