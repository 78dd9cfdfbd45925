"""The commands, one function each: flags in, results on stdout."""

from __future__ import annotations

import json
from argparse import Namespace
from collections.abc import Callable, Iterable
from functools import partial
from operator import attrgetter

from .. import report as reports
from ..api import functions, making
from ..api.measure import Wanted
from ..api.results import SCHEMA, Scores
from ..errors import FadError
from ..files import archives, outputs
from ..metrics import registry
from ..pipeline.datasets import Dataset
from ..pipeline.options import RunOptions
from . import csv_file, show
from .flags import in_flags
from .parser import LEVEL
from .run_flags import named_paths, run_options
from .streams import note, say
from .upkeep import bench as bench
from .upkeep import cache as cache
from .upkeep import demo as demo
from .upkeep import models as models
from .upkeep import pull as pull
from .upkeep import verify as verify


def score(options: Namespace) -> None:
    """Run `score`: print one number, a table, or JSON."""
    wanted = _wanted(options)
    if options.dry_run:
        _dry_run(options, [options.reference, *options.evaluations])
        return
    written = [path for path in (options.csv, options.per_file, options.report) if path is not None]
    given = [options.reference, *options.evaluations, *named_paths(options.weights).values()]
    outputs.check(written, given)
    report = options.report is not None
    if report:
        reports.require()
    if options.csv is not None:
        csv_file.check(options.csv, show.CSV_COLUMNS)
    with run_options(options) as run:
        run["key"] = options.key
        scores = functions.compare(
            options.reference, options.evaluations, options.model or None, wanted, **run
        )
    # Print the number first: it must not be lost if a file cannot be written, nor the reverse.
    steps: list[Callable[[], object]] = [partial(_say_scores, options, scores)]
    if options.csv is not None:
        steps.append(partial(show.append_csv, options.csv, scores))
    if options.per_file is not None:
        steps.append(partial(show.write_per_file, options.per_file, scores))
    if report:
        steps.append(
            partial(reports.write, options.report, scores, seed=wanted.options.get("seed", 0))
        )
    _all_of(steps)


def _wanted(options: Namespace) -> Wanted:
    """The metrics that the flags select; a report shows everything that can be computed."""
    switches, report = registry.switches(), options.report is not None
    known = registry.options([registry.metric(registry.FIRST), *switches.values()])
    given = {key: getattr(options, key) for key in (*switches, *known) if hasattr(options, key)}
    flags = known.keys() & given.keys()
    if report:
        held = archives.holds_embeddings(options.reference)
        can = {key: held or one.needs.reference != "clips" for key, one in switches.items()}
        given |= {key: given[key] or possible for key, possible in can.items()}
        levels = (key for key, one in known.items() if one.level)
        given = {**dict.fromkeys(levels, LEVEL), **given}
    wanted = Wanted(per_file=report or options.per_file is not None, **given)
    # Here also an option with its default value was given on purpose.
    registry.check_effect(sorted(flags), wanted.metrics, attrgetter("switch"))
    return wanted


def _say_scores(options: Namespace, scores: Scores) -> None:
    if options.json:
        say(json.dumps(scores.to_dict(), indent=2))
        return
    show.notes(scores)
    if options.provider == "auto" and not options.quiet:
        show.providers(scores)
    say(show.number_or_table(scores))


def evaluate(options: Namespace) -> None:
    """Run `evaluate`: print a table, JSON, Markdown or LaTeX."""
    from ..api import evaluation
    from ..api.asked import asked_for, named, options_of
    from . import evaluating

    evaluations, metrics = evaluating.evaluations(options), evaluating.metrics(options)
    paths = [*options.references, *evaluations]
    read = [*paths, *filter(None, [options.captions])]
    if options.dry_run:
        asked = asked_for(metrics, options.protocol, options.captions is not None)
        options_of(asked, evaluating.given(options))
        if not any(map(archives.is_archive, paths)):
            asked = named(asked)
        options.model = list(dict.fromkeys(one.spec and str(one.spec) for one in asked))
        _dry_run(options, [options.references, *evaluations])
        return
    written = (options.csv, options.per_file, options.report)
    files = [path for path in written if path is not None]
    outputs.check(files, [*read, *named_paths(options.weights).values()])
    evaluating.check(options, metrics)
    with run_options(options) as run:
        found = evaluation.evaluate(
            evaluations, evaluating.reference(options), metrics, compare=options.compare,
            captions=options.captions,
            per_file=options.report is not None or options.per_file is not None,
            metric_options=evaluating.given(options),
            **run, key=options.key,
        )  # fmt: skip
    _all_of(evaluating.steps(options, found))


def _all_of(steps: Iterable[Callable[[], object]]) -> None:
    """Run every step, even after a failure; then raise the first error, and print the others."""
    failed = []
    for step in steps:
        try:
            step()
        except FadError as error:
            failed.append(error)
    for later in failed[1:]:
        note(f"fad-onnx: {in_flags(later)}")
    if failed:
        raise failed[0]


def stats(options: Namespace) -> None:
    """Run `stats`: print one line about the file written."""
    if options.dry_run:
        return _dry_run(options, [options.audio])
    with run_options(options) as run:
        made = making.stats(
            options.audio, options.output, options.model, shard=options.shard,
            name=options.name, licence=options.licence, **run,
        )  # fmt: skip
    _say_written(options, made)
    return None


def embed(options: Namespace) -> None:
    """Run `embed`: print one line about the file written."""
    if options.dry_run:
        return _dry_run(options, [options.audio])
    with run_options(options) as run:
        made = making.embed_into(options.output, options.audio, options.model, RunOptions(**run))
    _say_written(options, made)
    return None


def merge(options: Namespace) -> None:
    """Run `merge`: print one line about the file written."""
    made = archives.merge(options.parts, options.output)
    _say_written(options, made)


def _say_written(options: Namespace, made: Dataset) -> None:
    if options.json:
        say(json.dumps(show.written_object(options.output, made), indent=2))
        return
    show.set_notes(made)
    say(show.written(options.output, made))


def _dry_run(options: Namespace, sources: list[str | list[str]]) -> None:
    from ..api import dry_run

    shard = getattr(options, "shard", None)
    with run_options(options) as given:
        run = RunOptions(**given, key=getattr(options, "key", None))
        names = options.model if isinstance(options.model, list) else [options.model]
        found = [dry_run.estimate(sources, name, shard, run) for name in names or [None]]
    one = found[0] if len(found) == 1 else {"estimates": found}
    say(json.dumps({"schema": SCHEMA, **one}, indent=2))
