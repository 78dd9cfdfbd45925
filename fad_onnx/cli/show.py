"""Results as a person or a program reads them: numbers, tables, JSON, CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import chain
from typing import Any, BinaryIO

from ..api.detail import Detail
from ..api.functions import Score
from ..errors import printable, shown
from ..files import outputs
from ..networks.selection import selection_of
from ..networks.table import Model
from ..pipeline import provenance
from ..pipeline.datasets import AudioSet
from ..tools.bench import Timing
from ..tools.known_answers import Check
from ..weights import prepare
from . import csv_file
from .streams import note

SCHEMA = 2
COUNTED = ("files", "embeddings", "seconds")
# Of each dataset: under its own name for the evaluation, after "reference_" for the reference.
MADE = ("fingerprint", *provenance.RECORDED)
CSV_COLUMNS = (
    "timestamp", "model", "reference", "path", "fad", *COUNTED,
    *(f"reference_{key}" for key in COUNTED), "skipped", *MADE,
    *(f"reference_{key}" for key in MADE), "fad_inf", "fad_inf_draw",
    "fad_ci_low", "fad_ci_high", "fad_ci_pairs", "kad",
)  # fmt: skip


def as_object(scores: Sequence[Score]) -> dict[str, Any]:
    """All scores as the one JSON object of --json."""
    by_model: dict[str, list[Score]] = {}
    for score in scores:
        by_model.setdefault(score.model, []).append(score)
    skipped = dict.fromkeys(pair for score in scores for pair in score.skipped)
    return {
        "schema": SCHEMA,
        "models": {model: _model_of(own) for model, own in by_model.items()},
        "results": [
            {
                "model": s.model,
                **s.evaluation.counts,
                "fad": s.value,
                **detail_object(s.detail),
                "protocol": s.protocol,
            }
            for s in scores
        ],
        "skipped": [{"path": shown(path), "reason": reason} for path, reason in skipped],
        "warnings": list(_warnings(scores)),
    }


def _model_of(scores: Sequence[Score]) -> dict[str, Any]:
    """What all datasets of a model share, as far as it is on record; and their reference."""
    made = [side for score in scores for side in score.protocol.values()]
    common = provenance.shared(made)
    return {
        "weights": common.pop("weights", {}),
        "fingerprint": common.pop("fingerprint", None),
        "protocol": common,
        "reference": scores[0].reference.counts,
    }


def detail_object(detail: Detail) -> dict[str, Any]:
    """The fields of what was asked for beside the score; null where it cannot be computed."""
    found: dict[str, Any] = {}
    if detail.inf:
        fit = {key: getattr(detail.inf, key) for key in ("r2", "sizes", "values")}
        found |= {"fad_inf": detail.inf.value, "fad_inf_fit": fit if detail.inf.sizes else None}
        found["fad_inf_draw"] = detail.inf.draw
    if detail.interval:
        one = detail.interval
        bounds = None if one.low is None else [one.low, one.high]
        found |= {"fad_ci": bounds, "fad_ci_level": one.level, "fad_ci_files": list(one.files)}
        found["fad_ci_pairs"] = one.pairs
    if detail.kad:
        found |= {"kad": detail.kad.value, "kad_embeddings": list(detail.kad.rows)}
    return found


def number_or_table(scores: Sequence[Score]) -> str:
    """One number for one result; otherwise a table, best first."""
    if len(scores) == 1 and scores[0].detail == Detail():
        return repr(scores[0].value)
    models = list(dict.fromkeys(score.model for score in scores))
    table: dict[str, dict[str, str]] = {}
    for score in sorted(scores, key=lambda score: score.value):
        prefix = f"{score.model} " if len(models) > 1 else ""
        cells = {score.model: f"{score.value:.6g}"}
        cells |= {f"{prefix}{key}": text for key, text in _detail_cells(score.detail).items()}
        table.setdefault(score.path, {}).update(cells)
    order = sorted(
        dict.fromkeys(s.path for s in scores), key=lambda path: _first_value(scores, path)
    )
    heads = list(dict.fromkeys(chain.from_iterable(_heads(scores, models))))
    rows = [[shown(path), *(table[path].get(head, "") for head in heads)] for path in order]
    return columns([["set", *heads], *rows])


def _first_value(scores: Sequence[Score], path: str) -> float:
    first = (s.value for s in scores if s.path == path and s.model == scores[0].model)
    return min(first, default=math.inf)  # against foreign statistics each set has its own model


def _heads(scores: Sequence[Score], models: Sequence[str]) -> Iterator[list[str]]:
    for model in models:
        detail = next(score.detail for score in scores if score.model == model)
        prefix = f"{model} " if len(models) > 1 else ""
        yield [model, *(f"{prefix}{key}" for key in _detail_cells(detail))]


def _detail_cells(detail: Detail) -> dict[str, str]:
    cells = {}
    if detail.inf:
        value = "-" if detail.inf.value is None else f"{detail.inf.value:.6g}"
        cells[f"fad_inf({detail.inf.draw})"] = value
    if detail.interval:
        one = detail.interval
        bounds = "-" if one.low is None else f"{one.low:.5g}..{one.high:.5g}"
        cells["fad_ci"] = f"{bounds} ({one.sampling})"
    if detail.kad:
        cells["kad"] = "-" if detail.kad.value is None else f"{detail.kad.value:.6g}"
    return cells


def columns(rows: Sequence[Sequence[str]]) -> str:
    """Text in aligned columns; what is not printable is escaped."""
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def _warnings(scores: Iterable[Score]) -> list[str]:
    return list(dict.fromkeys(text for score in scores for text in score.warnings))


def notes(scores: Sequence[Score]) -> None:
    """What a reference was published as, warnings and skipped files, on stderr."""
    for said in {score.model: score.reference.metadata for score in scores}.values():
        if said.get("name") or said.get("licence"):
            mark = str(said.get("fingerprint"))[:16]
            note(printable(f"reference: {said.get('name')}, {said.get('licence')}, {mark}"))
    _notes(dict.fromkeys(pair for s in scores for pair in s.skipped), _warnings(scores))


def providers(scores: Sequence[Score]) -> None:
    """What "auto" came to, where audio was embedded just now, on stderr."""
    used = [one for score in scores for one in (score.reference, score.evaluation) if one.embedded]
    for name in dict.fromkeys(provenance.text(one.provenance["provider"]) for one in used):
        note(f"provider: {printable(name)}")


def set_notes(made: AudioSet) -> None:
    """The same for one set."""
    _notes(made.skipped, made.warnings)


def _notes(skipped: Iterable[tuple[str, str]], warnings: Iterable[str]) -> None:
    for path, reason in skipped:
        note(f"skipped: {shown(path)}: {printable(reason)}")
    for text in warnings:
        note(f"warning: {printable(text)}")


def written(path: str, made: AudioSet) -> str:
    """The line that says what a file holds."""
    said = made.metadata
    counts = f"{said['files']} files, {said['embeddings']} embeddings, {said['seconds']:.1f} s"
    return f"{shown(path)}: {counts}, {shown(str(said.get('model')))}"


def written_object(path: str, made: AudioSet) -> dict[str, Any]:
    """The same as the one JSON object of --json."""
    return {
        "schema": SCHEMA,
        "output": path,
        "model": made.metadata.get("model"),
        **made.counts,
        "protocol": made.provenance,
        "skipped": [{"path": shown(path), "reason": reason} for path, reason in made.skipped],
        "warnings": list(made.warnings),
    }


def append_csv(path: str, scores: Sequence[Score]) -> None:
    """A line per result, below a header if the file is new; OutputError if it cannot be."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    csv_file.append(path, CSV_COLUMNS, [_csv_row(score, now) for score in scores])


def _csv_row(score: Score, now: str) -> dict[str, Any]:
    detail = score.detail
    return {
        "timestamp": now,
        "model": score.model,
        "reference": score.reference.path,
        "path": score.path,
        "fad": repr(score.value),
        **_made(score.evaluation),
        **{f"reference_{key}": value for key, value in _made(score.reference).items()},
        "skipped": len(score.skipped),
        "fad_inf": detail.inf and detail.inf.value,
        "fad_inf_draw": detail.inf and detail.inf.draw,
        "fad_ci_low": detail.interval and detail.interval.low,
        "fad_ci_high": detail.interval and detail.interval.high,
        "fad_ci_pairs": detail.interval and detail.interval.pairs,
        "kad": detail.kad and detail.kad.value,
    }


def _made(one: AudioSet) -> dict[str, Any]:
    """A dataset's counts and how it was made; empty cells where that is not on record."""
    counts, said = one.counts, one.provenance
    recorded = {key: provenance.text(said[key]) if key in said else None for key in MADE}
    return {key: counts[key] for key in COUNTED} | recorded


PER_FILE_COLUMNS = (
    "model", "dataset", "path", "embeddings", "seconds", "influence", "fad", "mean_distance",
)  # fmt: skip


def write_per_file(path: str, scores: Sequence[Score]) -> None:
    """One line for each clip, highest influence first within each model and dataset.

    Raises OutputError if the file cannot be written.
    """

    def into(out: BinaryIO) -> None:
        text = io.TextIOWrapper(out, "utf-8", "backslashreplace", newline="")
        writer = csv.writer(text)
        writer.writerow(PER_FILE_COLUMNS)
        for score in scores:
            for file in score.detail.files:
                seconds = "" if file.seconds is None else f"{file.seconds:.3f}"
                numbers = map(repr, (file.influence, file.fad, file.mean_distance))
                row = (file.name, file.embeddings, seconds, *numbers)
                writer.writerow((score.model, score.path, *row))
        text.flush()
        text.detach()

    outputs.write(path, into)


def models_table(rows: Sequence[Model]) -> str:
    """The models for a person."""
    lines = [["model", "rate", "dim", "weights", "what"]]
    for row in rows:
        name = row.name + (" (default)" if row.default else "")
        state = prepare.state(selection_of(row))
        lines.append(
            [name, str(row.preparation.sample_rate_hz), str(row.output().width), state, row.summary]
        )
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
        **selection_of(row).describe(),
        "outputs": {name: output.width for name, output in row.network.outputs.items()},
        "weights": prepare.state(selection_of(row)),
        "checkpoints": {
            name: {"url": c.url, "bytes": c.bytes, "digests": c.digests, "licence": c.licence}
            for name, c in row.network.checkpoints.items()
        },
        "citation": row.network.citation,
    }


def timings(found: Sequence[Timing]) -> str:
    """Measurements as a table: speeds in seconds of audio per second, stages in ms per clip."""
    stages = list(found[0].stages)
    head = ["model", "provider", "workers", "batch", "load s", "cold x", "warm x", "against first"]
    rows = []
    for one in found:
        first = next(t for t in found if t.model == one.model)
        rows.append([
            one.model, one.provider.removesuffix("ExecutionProvider"), str(one.workers),
            str(one.batch), f"{one.load_seconds:.2f}", f"{one.cold_speed:.0f}",
            f"{one.warm_speed:.0f}", f"{one.warm_speed / first.warm_speed:.2f}",
            *(f"{one.stages[stage] * 1000:.1f}" for stage in stages),
        ])  # fmt: skip
    return columns([[*head, *(f"{stage} ms" for stage in stages)], *rows])


def check_line(check: Check) -> str:
    """One known answer as a line of a table."""
    verdict = {True: "pass", False: "FAIL", None: "-   "}[check.passed]
    error = "-" if check.error is None else f"{check.error:.1e}"
    return f"{verdict}  {check.model:28}  {error:>8}  {check.what}; {check.source}"
