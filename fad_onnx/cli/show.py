"""Results as a person or a program reads them: numbers, tables, JSON, CSV."""

from __future__ import annotations

import csv
import heapq
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any, BinaryIO

from ..api.evaluated import Result
from ..api.measure import measured
from ..api.results import SCHEMA, Score, warnings_of
from ..errors import printable, shown
from ..files import outputs
from ..metrics import registry
from ..metrics.registry import FIRST, Measured, Metric, Value
from ..networks.selection import selection_of
from ..networks.table import Model
from ..pipeline import provenance
from ..pipeline.datasets import Dataset
from ..tools.bench import Timing
from ..tools.known_answers import Check
from ..weights import prepare
from . import csv_file, tables
from .streams import note

COUNTED = ("files", "embeddings", "seconds")
# Columns under these names for the evaluation, and with "reference_" for the reference.
MADE = ("fingerprint", *provenance.RECORDED)
SCORED = (registry.metric(FIRST), *registry.switches().values())


def csv_columns(scored: Sequence[Metric]) -> tuple[str, ...]:
    """The columns of --csv of `score`."""
    first, *others = scored
    more = (column for metric in others for column in (metric.column, *metric.columns))
    return (
        "timestamp", "model", "reference", "path", first.column, *COUNTED,
        *(f"reference_{key}" for key in COUNTED), "skipped", *MADE,
        *(f"reference_{key}" for key in MADE), *first.columns, *more,
    )  # fmt: skip


CSV_COLUMNS = csv_columns(SCORED)


def number_or_table(scores: Sequence[Score]) -> str:
    """One number for one result; otherwise a table, best first."""
    only = scores[0].metrics if len(scores) == 1 else {}
    if len(only) == 1 and not any(value.cells for value in only.values()):
        return repr(scores[0].value)
    several = len({score.model for score in scores}) > 1

    def prefix(one: Measured) -> str:
        return f"{one.model} " if several else ""

    def head(one: Measured) -> str:
        variant = f"({one.value.variant})" if one.value.variant else ""
        if one.metric.name == FIRST:
            return one.model
        return prefix(one) + one.metric.column + variant

    # With statistics of another tool as the reference, each dataset has its own model.
    order = sorted(
        dict.fromkeys(s.path for s in scores), key=lambda path: _first_value(scores, path)
    )
    by_model = sorted(scores, key=lambda score: _index(scores, score.model))
    return tables.plain(measured(by_model), order, head, prefix)


def _index(scores: Sequence[Score], model: str) -> int:
    return [score.model for score in scores].index(model)


def _first_value(scores: Sequence[Score], path: str) -> float:
    first = (s.value for s in scores if s.path == path and s.model == scores[0].model)
    return min(first, default=math.inf)


def notes(scores: Sequence[Score]) -> None:
    """Print the name of a published reference, warnings and skipped files to stderr."""
    for said in {score.model: score.reference.metadata for score in scores}.values():
        if said.name or said.licence:
            mark = str(said.fingerprint)[:16]
            note(printable(f"reference: {said.name}, {said.licence}, {mark}"))
    _notes(dict.fromkeys(pair for s in scores for pair in s.skipped), warnings_of(scores))


def providers(scores: Sequence[Score]) -> None:
    """Print to stderr the provider that "auto" selected, if audio was embedded."""
    used = [one for score in scores for one in (score.reference, score.evaluation) if one.embedded]
    for name in dict.fromkeys(provenance.text(one.provenance["provider"]) for one in used):
        note(f"provider: {printable(name)}")


def set_notes(made: Dataset) -> None:
    """Print the warnings and the skipped files of one dataset to stderr."""
    _notes(made.skipped, made.warnings)


def _notes(skipped: Iterable[tuple[str, str]], warnings: Iterable[str]) -> None:
    for path, reason in skipped:
        note(f"skipped: {shown(path)}: {printable(reason)}")
    for text in warnings:
        note(f"warning: {printable(text)}")


def written(path: str, made: Dataset) -> str:
    """The line about a file that was written."""
    said = made.metadata
    counts = f"{said.files} files, {said.embeddings} embeddings, {said.seconds or 0:.1f} s"
    return f"{shown(path)}: {counts}, {shown(str(said.model))}"


def written_object(path: str, made: Dataset) -> dict[str, Any]:
    """Print what was written as the one JSON object of --json."""
    return {
        "schema": SCHEMA,
        "output": path,
        "model": made.metadata.model,
        **made.counts,
        "protocol": made.provenance,
        "skipped": [{"path": shown(path), "reason": reason} for path, reason in made.skipped],
        "warnings": list(made.warnings),
    }


def append_csv(path: str, scores: Sequence[Score]) -> None:
    """Add a line per result, after a header if the file is new; OutputError if that fails."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    csv_file.append(path, CSV_COLUMNS, [_csv_row(score, now) for score in scores])


def _csv_row(score: Score, now: str) -> dict[str, Any]:
    return {
        "timestamp": now,
        "model": score.model,
        "reference": score.reference.path,
        "path": score.path,
        **_made(score.evaluation),
        **{f"reference_{key}": value for key, value in _made(score.reference).items()},
        "skipped": len(score.skipped),
        **csv_cells(SCORED, score.metrics),
    }


def csv_cells(every: Iterable[Metric], found: Mapping[str, Value]) -> dict[str, Any]:
    """The CSV cells of all these metrics; empty for those that were not computed."""
    none = Value(None)
    values = [(metric, found.get(metric.name, none)) for metric in every]
    cells: dict[str, Any] = {metric.column: value.value for metric, value in values}
    return cells | {
        column: value.column(column) for metric, value in values for column in metric.columns
    }


def _made(one: Dataset) -> dict[str, Any]:
    """A dataset's counts and how it was made; empty cells for what is not recorded."""
    counts, said = one.counts, one.provenance
    recorded = {key: provenance.text(said[key]) if key in said else None for key in MADE}
    return {key: counts[key] for key in COUNTED} | recorded


PER_FILE_COLUMNS = (
    "model", "dataset", "path", "embeddings", "seconds", "influence", "fad", "mean_distance",
)  # fmt: skip


def write_per_file(path: str, scores: Sequence[Score] | Sequence[Result]) -> None:
    """One line for each clip of all datasets and models, highest influence first.

    Raises OutputError if the file cannot be written.
    """

    def into(out: BinaryIO) -> None:
        text = io.TextIOWrapper(out, "utf-8", "backslashreplace", newline="")
        writer = csv.writer(text)
        writer.writerow(PER_FILE_COLUMNS)
        sorted_already = [[(score, file) for file in score.files] for score in scores]
        for score, file in heapq.merge(*sorted_already, key=lambda pair: -pair[1].influence):
            seconds = "" if file.seconds is None else f"{file.seconds:.3f}"
            numbers = map(repr, (file.influence, file.fad, file.mean_distance))
            row = (file.name, file.embeddings, seconds, *numbers)
            writer.writerow((score.model, score.path, *row))
        text.flush()
        text.detach()

    outputs.write(path, into)


def models_table(families: Mapping[str, Sequence[Model]]) -> str:
    """The models for a person, below a heading for each family of networks."""
    rows = {
        family: [row for model in models for row in _model_rows(model)]
        for family, models in families.items()
    }
    heads = ["model", "rate", "dim", "weights", "what"]
    aligned = iter(tables.columns([heads, *chain(*rows.values())]).splitlines())
    lines = [next(aligned)]
    for family, own in rows.items():
        lines += ["", printable(family), *islice(aligned, len(own))]
    return "\n".join(lines)


def _model_rows(model: Model) -> list[list[str]]:
    name = f"  {model.name}" + (" (default)" if model.default else "")
    rate, width = str(model.preparation.sample_rate_hz), str(model.output().width)
    options = [
        f"--option {key}={'|'.join(option.values) or 'N'}: {option.help}"
        for key, option in model.options.items()
    ]
    return [
        [name, rate, width, prepare.state(selection_of(model)), model.summary],
        *(["", "", "", "", option] for option in options),
    ]


def models_json(families: Mapping[str, Sequence[Model]]) -> str:
    """The models for a program."""
    listed = {model.name: _model_object(model) for models in families.values() for model in models}
    return json.dumps({"schema": SCHEMA, "models": listed}, indent=2)


def _model_object(model: Model) -> dict[str, Any]:
    return {
        "family": model.network.family,
        "summary": model.summary,
        "note": model.note,
        "default": model.default,
        **selection_of(model).describe(),
        "outputs": {name: output.width for name, output in model.network.outputs.items()},
        "text": model.network.text.width if model.network.text else None,
        "weights": prepare.state(selection_of(model)),
        "checkpoints": {
            name: {"url": c.url, "bytes": c.bytes, "digests": c.digests, "licence": c.licence}
            for name, c in model.network.checkpoints.items()
        },
        "citation": model.network.citation,
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
    return tables.columns([[*head, *(f"{stage} ms" for stage in stages)], *rows])


def check_line(check: Check) -> str:
    """One known answer as a line of a table."""
    verdict = {True: "pass", False: "FAIL", None: "-   "}[check.passed]
    error = "-" if check.error is None else f"{check.error:.1e}"
    return f"{verdict}  {check.model:28}  {error:>8}  {check.what}; {check.source}"
