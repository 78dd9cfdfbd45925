"""The commands other than scoring: models, pull, verify, bench, cache and demo."""

from __future__ import annotations

import json
import tempfile
from argparse import Namespace
from collections.abc import Iterator
from contextlib import closing
from dataclasses import asdict, replace
from itertools import product
from pathlib import Path

from ..api import functions
from ..api.results import SCHEMA
from ..cache import embeddings
from ..errors import (
    CheckpointError,
    FadError,
    NoEffectError,
    OptionError,
    ProviderError,
    printable,
)
from ..networks import machine, table
from ..networks.runtime import Settings
from ..networks.selection import select
from ..networks.spec import ModelSpec
from ..pipeline.progress import Downloads
from ..pipeline.run import cache_folder
from ..tools.known_answers import Check
from ..weights import converted, prepare
from . import show
from .flags import in_flags
from .run_flags import named_paths
from .streams import note, say


def models(options: Namespace) -> None:
    """Run `models`: print the table."""
    families = table.families()
    say(show.models_json(families) if options.json else show.models_table(families))


def pull(options: Namespace) -> None:
    """Run `pull`: fetch, verify, convert; continue with the next model after a failure."""
    sources = named_paths(options.source, "--from")
    if len(options.models) > 1 and sources:
        raise OptionError("--from", "goes with one model")
    kept: dict[str, list[str]] = {}
    failed = {}
    if len(options.models) > 1 and options.option:
        raise OptionError("--option", "goes with one model; write NAME:KEY=VALUE")
    specs = [ModelSpec.parse(text) for text in options.models]
    for spec in specs:
        table.model(spec.name)  # an unknown name is an error before the first download
    for spec in specs:
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
    """One line for each kept file, printed at once unless JSON was requested."""
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
    """Run `verify`: print a table of checks; an error if one fails."""
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
    """The known answers of every requested model."""
    from ..tools import known_answers, published_scores

    texts: set[str] = set()
    if options.published is None:
        for name in ("audio", "statistics"):
            if getattr(options, name) is not None:
                raise NoEffectError(name, "without", ["published"])
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
    """Run `bench`: print one line per combination, and compare each provider with the first."""
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
    """Run `cache`: clear or prune it if requested, then print its contents."""
    from ..tools import housekeeping
    from . import caching

    for option, given, action in (
        ("--only", options.only, "clear"),
        ("--max-gb", options.max_gb, "prune"),
    ):
        if given is not None and options.action != action:
            raise OptionError(option, f"goes with {action}")
    # A folder given by name holds only embeddings.
    named = options.cache_dir is not None
    if named and set(options.only or ()) - {"embeddings"}:
        raise OptionError("only, cache_dir", "a folder given by name holds only embeddings")
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
    """Run `demo`: score two synthetic datasets, or only write the datasets."""
    from ..tools import demo as sets

    if options.folder is not None:
        reference, systems, _ = sets.write(Path(options.folder))
        if options.json:
            made = {"reference": str(reference), "systems": [str(one) for one in systems]}
            say(json.dumps({"schema": SCHEMA, **made}, indent=2))
        else:
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
