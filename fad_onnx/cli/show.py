"""Results as a person or a program reads them: numbers, tables, JSON, CSV, progress bars."""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from tqdm import tqdm

from .. import weights
from ..api import Score
from ..errors import OutputError, shown
from ..manifest import Model
from ..sets import AudioSet
from ..verify import Check

SCHEMA = 1
CSV_COLUMNS = (
    "timestamp", "model", "reference", "path", "fad", "files", "rows", "seconds",
    "reference_files", "reference_rows", "reference_seconds", "skipped", "fingerprint",
    "provider", "fad_onnx",
)  # fmt: skip


def as_object(scores: Sequence[Score]) -> dict[str, Any]:
    """All scores as the one JSON object of --json."""
    models = {}
    for score in scores:
        # Statistics that carry their protocol say more than foreign ones.
        said = score.evaluation.metadata if score.protocol else score.reference.metadata
        models[score.model] = {
            "weights": said.get("weights", {}),
            "protocol": said.get("protocol") or {},
            "fingerprint": said.get("fingerprint"),
            "reference": score.reference.counts,
        }
    skipped = dict.fromkeys(pair for score in scores for pair in score.skipped)
    return {
        "schema": SCHEMA,
        "models": models,
        "results": [
            {"model": score.model, **score.evaluation.counts, "fad": score.value}
            for score in scores
        ],
        "skipped": [{"path": shown(path), "reason": reason} for path, reason in skipped],
        "warnings": list(_warnings(scores)),
    }


def number_or_table(scores: Sequence[Score]) -> str:
    """One number for one result; otherwise a table, best first."""
    if len(scores) == 1:
        return repr(scores[0].value)
    names = list(dict.fromkeys(score.model for score in scores))
    table: dict[str, dict[str, float]] = {}
    for score in scores:
        table.setdefault(score.path, {})[score.model] = score.value
    ranked = sorted(table.items(), key=lambda item: item[1][names[0]])
    rows = [[shown(path), *(f"{values[name]:.6g}" for name in names)] for path, values in ranked]
    return columns([["set", *names], *rows])


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Text in aligned columns."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _warnings(scores: Iterable[Score]) -> list[str]:
    return list(dict.fromkeys(text for score in scores for text in score.warnings))


def notes(scores: Sequence[Score]) -> None:
    """Warnings and skipped files, on stderr."""
    _notes(dict.fromkeys(pair for s in scores for pair in s.skipped), _warnings(scores))


def set_notes(made: AudioSet) -> None:
    """The same for one set."""
    _notes(made.skipped, made.warnings)


def _notes(skipped: Iterable[tuple[str, str]], warnings: Iterable[str]) -> None:
    for path, reason in skipped:
        print(f"skipped: {shown(path)}: {reason}", file=sys.stderr)
    for text in warnings:
        print(f"warning: {text}", file=sys.stderr)


def counted(metadata: Mapping[str, Any]) -> str:
    """files, rows, seconds."""
    return f"{metadata['files']} files, {metadata['rows']} rows, {metadata['seconds']:.1f} s"


def append_csv(path: str, scores: Sequence[Score]) -> None:
    """A line per result, below a header if the file is new; OutputError if it cannot be."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    try:
        new = not Path(path).exists() or not Path(path).stat().st_size
        with open(path, "a", newline="", encoding="utf-8", errors="backslashreplace") as out:
            writer = csv.DictWriter(out, CSV_COLUMNS)
            if new:
                writer.writeheader()
            writer.writerows(_csv_row(score, now) for score in scores)
    except OSError as error:
        raise OutputError(path, error.strerror or str(error)) from error


def _csv_row(score: Score, now: str) -> dict[str, Any]:
    reference, said = score.reference.counts, score.evaluation.metadata
    return {
        "timestamp": now,
        "model": score.model,
        "reference": reference.pop("path"),
        **score.evaluation.counts,
        "fad": repr(score.value),
        **{f"reference_{key}": value for key, value in reference.items()},
        "skipped": len(score.skipped),
        "fingerprint": said.get("fingerprint"),
        "provider": score.protocol.get("provider"),
        "fad_onnx": score.protocol.get("fad_onnx"),
    }


def models_table(rows: Sequence[Model]) -> str:
    """The models for a person."""
    lines = [["model", "rate", "dim", "weights", "what"]]
    for row in rows:
        name = row.name + (" (default)" if row.default else "")
        state = weights.state(row)
        lines.append([name, str(row.sample_rate_hz), str(row.dimension), state, row.summary])
        for key, option in row.options.items():
            values = "|".join(option.values) or "N"
            lines.append(["", "", "", "", f"--option {key}={values}: {option.help}"])
    return columns(lines)


def models_json(rows: Sequence[Model]) -> str:
    """The models for a program."""
    return json.dumps(
        {"schema": SCHEMA, "models": {row.name: _model_object(row) for row in rows}}, indent=2
    )


def _model_object(row: Model) -> dict[str, Any]:
    return {
        "summary": row.summary,
        "note": row.note,
        "default": row.default,
        **row.numbers(row.choose()),
        "weights": weights.state(row),
        "checkpoints": {
            name: {"url": c.url, "bytes": c.bytes, "sha256": c.sha256, "licence": c.licence}
            for name, c in row.checkpoints.items()
        },
        "citation": row.citation,
    }


def check_line(check: Check) -> str:
    """One known answer as a line of a table."""
    verdict = "pass" if check.passed else "FAIL"
    return f"{verdict}  {check.model:28}  {check.error:8.1e}  {check.what}; {check.source}"


class Bars:
    """A progress bar on stderr for each set; none when quiet or when nobody watches."""

    def __init__(self, quiet: bool) -> None:
        self._disable = True if quiet else None
        self._bar: Any = None
        self._name = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, name: str, done: int, total: int) -> None:
        """So many more files of this set are done."""
        if name != self._name or self._bar is None:
            self.__exit__()
            self._bar = tqdm(
                total=total, desc=shown(name)[-40:], unit="file", disable=self._disable,
                file=sys.stderr,
            )  # fmt: skip
            self._name = name
        self._bar.update(done)


@contextmanager
def download_progress(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """A function (name, bytes so far, bytes in all or None) that draws a bar on stderr."""
    bars: dict[str, Any] = {}

    def update(name: str, done: int, total: int | None) -> None:
        if name not in bars:
            bars[name] = tqdm(
                total=total, desc=name, unit="B", unit_scale=True, file=sys.stderr,
                disable=True if quiet else None,
            )  # fmt: skip
        bars[name].update(done - bars[name].n)

    try:
        yield update
    finally:
        for bar in bars.values():
            bar.close()
