"""The output of `evaluate`."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from itertools import chain
from typing import Any

from .. import report as reports
from ..api import inputs, measure
from ..api.asked import asked_for
from ..api.evaluated import Evaluation, Result
from ..api.harness import metrics_of
from ..errors import OptionError, printable, shown
from ..metrics import registry
from ..metrics.registry import Measured
from ..metrics.with_intervals import bounds_of
from . import csv_file, show, tables
from .streams import note, say


def csv_columns() -> tuple[str, ...]:
    """The columns of --csv, which has one line for each metric, model and dataset."""
    fields = (column for one in registry.metrics().values() for column in one.columns)
    own = ("timestamp", "metric", "model", "reference", "path", "value", "ci_low", "ci_high")
    return tuple(dict.fromkeys((*own, *show.COUNTED, *fields, "fingerprint")))


def evaluations(options: Namespace) -> list[str]:
    """The datasets to evaluate: those of EVAL and those of --compare."""
    inputs.check_distinct(options.evaluations)
    every = [*options.evaluations, *(path for pair in options.compare for path in pair)]
    if not every:
        raise OptionError("evaluations", "no dataset; name at least one")
    return list(dict.fromkeys(every))


def metrics(options: Namespace) -> list[str] | None:
    """The metrics: those that name no model, with every --model; None for all of a protocol's."""
    given: list[str] | None = options.metrics
    if not options.model:
        return given
    if given is None and options.protocol:
        return metrics_of(options.protocol, options.captions is not None, options.model)
    asked = given or [registry.FIRST]
    if all(":" in one for one in asked):
        raise OptionError("model", "every metric names a model of its own")
    named = (
        [one] if ":" in one else [f"{one}:{model}" for model in options.model] for one in asked
    )
    return list(chain.from_iterable(named))


def reference(options: Namespace) -> str | list[str] | None:
    """The reference: one, several, or none."""
    found: list[str] = options.references
    return found if len(found) > 1 else next(iter(found), None)


def check(options: Namespace, metrics: list[str] | None) -> None:
    """Check before the work that a report can be made, the CSV be continued, and that FAD, which
    ranks the clips of --per-file, is among the metrics.
    """
    if options.per_file is not None and registry.FIRST not in {
        one.metric.name
        for one in asked_for(metrics, options.protocol, options.captions is not None)
    }:
        raise OptionError("per_file", "ranks clips by their influence on FAD; add --metric fad")
    if options.report is not None:
        reports.require()
    if options.csv is not None:
        csv_file.check(options.csv, csv_columns())


def given(options: Namespace) -> dict[str, Any]:
    """The metric options among the flags."""
    known = registry.options(registry.metrics().values())
    return {keyword: getattr(options, keyword) for keyword in known if hasattr(options, keyword)}


def steps(options: Namespace, found: Evaluation) -> list[Callable[[], object]]:
    """The steps of the output: first the numbers, then the files."""
    every: list[Callable[[], object]] = [partial(_say, options, found)]
    if options.csv is not None:
        every.append(partial(csv_file.append, options.csv, csv_columns(), _rows(found)))
    if options.per_file is not None:
        every.append(partial(show.write_per_file, options.per_file, found.results))
    if options.report is not None:
        seed = given(options).get("seed", 0)
        every.append(partial(reports.write, options.report, found.results, seed=seed,
                             differences=found.differences))  # fmt: skip
    return every


def _say(options: Namespace, found: Evaluation) -> None:
    if options.json:
        say(json.dumps(found.to_json(), indent=2))
        return
    for path, reason in found.skipped:
        note(f"skipped: {shown(path)}: {printable(reason)}")
    for text in found.warnings:
        note(f"warning: {printable(text)}")
    form, line = tables.labelled, "{}"
    if options.markdown:
        form, line = tables.markdown, "- {}"
    elif options.latex:
        form, line = tables.latex, "% {}"
    say(form(found.measured))
    if options.markdown and found.differences:
        say("")  # or the lines would belong to the table
    for one in found.differences:
        say(line.format(printable(str(one))))


def _rows(found: Evaluation) -> list[dict[str, Any]]:
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return [
        {"timestamp": now, **_row(one, measured)}
        for one in found.results
        for measured in measure.measured([one])
    ]


def _row(one: Result, found: Measured) -> dict[str, Any]:
    low, high = bounds_of(found) or (None, None)
    own = one.of(found.metric.name)
    return {
        "metric": found.metric.name,
        "model": one.model,
        "reference": own.reference and own.reference.path,
        "path": one.path,
        "value": found.value.value,
        "ci_low": low,
        "ci_high": high,
        **{key: own.evaluation.counts[key] for key in show.COUNTED},
        **{column: found.value.column(column) for column in found.metric.columns},
        "fingerprint": own.evaluation.metadata.fingerprint,
    }
