"""One function a command: its options to the library, what comes back to stdout."""

from __future__ import annotations

import json
import os
import tempfile
from argparse import Namespace
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, replace
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from .. import report as reports
from ..api import functions, making
from ..api.measure import Wanted
from ..api.results import SCHEMA, Scores
from ..cache import embeddings
from ..errors import CheckpointError, FadError, OptionError, ProviderError, printable
from ..files import archives, outputs
from ..metrics import registry
from ..networks import machine, table
from ..networks.runtime import Settings
from ..networks.selection import select
from ..networks.spec import ModelSpec
from ..pipeline.dask import dask_executor
from ..pipeline.datasets import Dataset
from ..pipeline.options import RunOptions, cache_folder
from ..pipeline.progress import Bars, Downloads
from ..tools.known_answers import Check
from ..weights import converted, prepare
from . import csv_file, show
from .flags import in_flags
from .parser import LEVEL
from .streams import note, say


def score(options: Namespace) -> None:
    """score: one number, a table, or JSON."""
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
    wanted = _wanted(options)
    with _run_options(options) as run:
        run["key"] = options.key
        scores = functions.compare(
            options.reference, options.evaluations, options.model or None, wanted, **run
        )
    # First the number: a file that cannot be written must not cost it, nor the other way round.
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
    """What the flags ask for; a report shows everything that can be computed."""
    switches, report = registry.switches(), options.report is not None
    known = registry.options([registry.metric(registry.FIRST), *switches.values()])
    given = {key: getattr(options, key) for key in (*switches, *known) if hasattr(options, key)}
    if report:
        held = archives.holds_embeddings(options.reference)
        can = {key: held or one.needs.reference != "clips" for key, one in switches.items()}
        given |= {key: given[key] or possible for key, possible in can.items()}
        levels = (key for key, one in known.items() if one.level)
        given = {**dict.fromkeys(levels, LEVEL), **given}
    return Wanted(per_file=report or options.per_file is not None, **given)


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
    from ..api.asked import asked_for
    from . import evaluating

    evaluations = evaluating.evaluations(options)
    paths = [*options.references, *evaluations]
    read = [*paths, *filter(None, [options.captions])]
    if options.dry_run:
        asked = asked_for(options.metrics, options.protocol, options.captions is not None)
        options.model = list(dict.fromkeys(one.spec and str(one.spec) for one in asked))
        _dry_run(options, paths)
        return
    files = [path for path in (options.csv, options.report) if path is not None]
    outputs.check(files, [*read, *named_paths(options.weights).values()])
    evaluating.check(options)
    with _run_options(options) as run:
        found = evaluation.evaluate(
            evaluations, evaluating.reference(options), options.metrics, compare=options.compare,
            captions=options.captions, per_file=options.report is not None,
            metric_options=evaluating.given(options),
            **run, key=options.key,
        )  # fmt: skip
    _all_of(evaluating.steps(options, found))


def _all_of(steps: Iterable[Callable[[], object]]) -> None:
    """Every step, also after one that fails; then the first error, after the others are said."""
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
    """stats: one line that says what was written."""
    if options.dry_run:
        return _dry_run(options, options.audio)
    with _run_options(options) as run:
        made = making.stats(
            options.audio, options.output, options.model, shard=options.shard,
            name=options.name, licence=options.licence, **run,
        )  # fmt: skip
    _say_written(options, made)
    return None


def embed(options: Namespace) -> None:
    """embed: one line that says what was written."""
    if options.dry_run:
        return _dry_run(options, options.audio)
    with _run_options(options) as run:
        made = making.embed_into(options.output, options.audio, options.model, RunOptions(**run))
    _say_written(options, made)
    return None


def merge(options: Namespace) -> None:
    """merge: one line that says what was written."""
    made = archives.merge(options.parts, options.output)
    _say_written(options, made)


def _say_written(options: Namespace, made: Dataset) -> None:
    if options.json:
        say(json.dumps(show.written_object(options.output, made), indent=2))
        return
    show.set_notes(made)
    say(show.written(options.output, made))


def models(options: Namespace) -> None:
    """models: the table."""
    families = table.families()
    say(show.models_json(families) if options.json else show.models_table(families))


def pull(options: Namespace) -> None:
    """pull: fetch, verify, convert; say what is kept. After a failure the next has its turn."""
    sources = named_paths(options.source, "--from")
    if len(options.models) > 1 and sources:
        raise OptionError("--from", "goes with one model")
    kept: dict[str, list[str]] = {}
    failed = {}
    if len(options.models) > 1 and options.option:
        raise OptionError("--option", "goes with one model; write NAME:KEY=VALUE")
    for spec in [ModelSpec.parse(text) for text in options.models]:
        try:
            kept[str(spec)] = _pull(spec, options, sources)
        except FadError as error:
            if len(options.models) == 1:
                raise
            note(f"fad-onnx: {printable(f'{spec}: {in_flags(error)}')}")
            failed[str(spec)] = str(error)
    if options.json:
        say(json.dumps({"schema": SCHEMA, "kept": kept, "failed": failed}, indent=2))
    if failed:
        raise FadError(f"{len(failed)} of {len(options.models)} failed: {', '.join(failed)}")


def _pull(spec: ModelSpec, options: Namespace, sources: dict[str, str]) -> list[str]:
    """What is kept, a line each; said at once unless it is for a program."""
    kept = []
    spec = replace(spec, options={**spec.options, **dict(options.option)})
    with closing(Downloads(True if options.quiet else None)) as downloads:
        for line in prepare.pull(
            spec, sources,
            offline=options.offline, keep=options.keep, progress=downloads.update,
        ):  # fmt: skip
            kept.append(line)
            if not options.json:
                say(line)
    return kept


def verify(options: Namespace) -> None:
    """verify: a table of checks; an error if one fails."""
    settings = Settings(options.provider)
    checks = []
    for check in _checks(options, settings):
        checks.append(check)
        if not options.json:
            say(show.check_line(check))
    if options.json:
        say(json.dumps({"schema": SCHEMA, "checks": [asdict(c) for c in checks]}, indent=2))
    failed = [check for check in checks if check.passed is False]
    if any(check.error is None for check in failed):
        raise CheckpointError(converted.models_folder(), "holds damaged models, listed above")
    if failed:
        raise ProviderError(
            options.provider, f"{len(failed)} of {len(checks)} known answers are wrong",
            "install another release of ONNX Runtime, or report this",
        )  # fmt: skip


def _checks(options: Namespace, settings: Settings) -> Iterator[Check]:
    """The known answers of every model that was asked for."""
    from ..tools import known_answers, published_scores

    texts: set[str] = set()
    if options.published is None:
        for name in options.models or table.models():
            yield from known_answers.every(table.model(name), settings, texts)
            yield from published_scores.of_synthetic_clips(table.model(name), settings)
        return
    if not (options.models and options.audio and options.statistics):
        raise OptionError("published", "needs a MODEL, --audio FOLDER and --statistics FILE")
    for name in options.models:
        yield from published_scores.of_harness(
            options.published, name, Path(options.audio), Path(options.statistics), settings
        )


def bench(options: Namespace) -> None:
    """bench: a line for every combination, and each provider against the first."""
    from ..tools import bench as timing

    combinations = product(
        [select(text) for text in options.models or [None]],
        options.provider or ["cpu"],
        options.workers or sorted({1, machine.cores()}),
        options.batch or [None],
    )
    found = []
    for one, provider, workers, batch in combinations:
        load = timing.Load(options.clips, options.seconds, options.rate, workers, batch)
        found.append(timing.measure(one, Settings(provider), load))
    if options.json:
        say(json.dumps({"schema": SCHEMA, "timings": [asdict(t) for t in found]}, indent=2))
    else:
        say(show.timings(found))


def cache(options: Namespace) -> None:
    """cache: what it holds, after clearing or pruning it if that was asked."""
    from ..tools import housekeeping
    from . import caching

    for option, given, action in (
        ("--only", options.only, "clear"),
        ("--max-gb", options.max_gb, "prune"),
    ):
        if given is not None and options.action != action:
            raise OptionError(option, f"goes with {action}")
    # A folder that was named holds embeddings alone.
    named = options.cache_dir is not None
    kinds = ("embeddings",) if named else options.only or housekeeping.KINDS
    with embeddings.EmbeddingCache(Path(options.cache_dir) if named else cache_folder()) as cache:
        limit = embeddings.MAX_BYTES if options.max_gb is None else int(options.max_gb * 1e9)
        if options.action == "clear":
            housekeeping.clear(cache, kinds)
        elif options.action == "prune" and named:
            cache.prune(limit)
        elif options.action == "prune":
            housekeeping.prune(cache, limit)
        info = {**asdict(cache.info()), "folder": str(cache.folder)}
    items = [] if named else housekeeping.items()
    say(caching.as_json(info, items) if options.json else caching.as_text(info, items))


def demo(options: Namespace) -> None:
    """demo: two synthetic datasets, and the nearer one must score lower; or the datasets alone."""
    from ..tools import demo as sets

    if options.folder is not None:
        reference, systems, _ = sets.write(Path(options.folder))
        say("\n".join(map(str, (reference, *systems))))
        return
    with tempfile.TemporaryDirectory() as folder:
        reference, (near, far, _), model = sets.write(Path(folder))
        scores = functions.compare(reference, [near, far], model, cache=False, workers=2)
    if options.json:
        say(json.dumps(scores.to_dict(), indent=2))
        return
    say(f"{model}: {table.model(model).note}")
    say(show.number_or_table(scores))


def _dry_run(options: Namespace, paths: list[str]) -> None:
    from ..api import dry_run

    shard = getattr(options, "shard", None)
    with _run_options(options) as given:
        run = RunOptions(**given, key=getattr(options, "key", None))
        names = options.model if isinstance(options.model, list) else [options.model]
        found = [dry_run.estimate(paths, name, shard, run) for name in names or [None]]
    one = found[0] if len(found) == 1 else {"schema": SCHEMA, "estimates": found}
    say(json.dumps(one, indent=2))


def named_paths(given: list[str], flag: str = "--weights") -> dict[str, str]:
    """["a.pth", "pca=b.pth", "vggish:c.pth"] -> {"main": "a.pth", "pca": "b.pth", "vggish:main":
    "c.pth"}.

    Text that is itself a path of a file is taken as one, whatever colons and signs it holds.
    """
    named = {}
    for text in given:
        name, path = _named_path(text)
        if name in named:
            raise OptionError(flag, f"{name!r} is given twice")
        named[name] = path
    return named


def _named_path(text: str) -> tuple[str, str]:
    if os.path.exists(text):
        return "main", text
    model, colon, rest = text.partition(":")
    prefix, rest = (f"{model}:", rest) if colon and model in table.models() else ("", text)
    name, equals, path = rest.partition("=")
    if not equals or not name.isidentifier():
        name, path = "main", rest
    return prefix + name, path


@contextmanager
def _run_options(options: Namespace) -> Iterator[dict[str, Any]]:
    """What all commands that embed have in common, with progress bars on stderr."""
    with ExitStack() as stack:
        quiet = True if options.quiet else None
        bars = stack.enter_context(closing(Bars(quiet)))
        downloads = stack.enter_context(closing(Downloads(quiet)))
        executor = stack.enter_context(dask_executor(options.dask)) if options.dask else None
        run = {
            "options": dict(options.option),
            "protocol": options.protocol,
            "weights": named_paths(options.weights),
            "provider": options.provider,
            "device": options.device,
            "memory_limit_mb": options.gpu_memory_mb,
            "workers": options.workers,
            "short": options.short,
            "skip_errors": options.skip_errors,
            "cache": not options.no_cache,
            "cache_dir": options.cache_dir,
            "offline": options.offline,
            "executor": executor,
            "progress": bars.update,
            "download_progress": downloads.update,
        }
        yield run
