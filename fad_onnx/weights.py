"""From what the user asked for to a loaded model: find or fetch checkpoints, convert, publish.

A converted model is an ordinary ONNX model in the cache, published by one rename; later starts
parse no checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from . import converted, download, manifest, store
from .binding import Source, bind, external, graph_file, open_all
from .download.verified import Fetched, verify
from .embedder import Embedder
from .errors import (
    CacheError,
    CheckpointError,
    DamagedModelError,
    DownloadError,
    IncompatibleStatisticsError,
)
from .manifest import Checkpoint, Model, Variant
from .session import Network, Settings

logger = logging.getLogger("fad_onnx")

Progress = download.Progress
Check = Callable[[Path], converted.Facts | None]


@dataclass(frozen=True)
class Request:
    """A model as the user asked for it: hashable, and small enough to send to any worker."""

    name: str
    options: tuple[tuple[str, str], ...] = ()
    weights: tuple[tuple[str, str], ...] = ()  # checkpoint name -> path, in place of the official
    folders: tuple[str, ...] = ()  # where official files may lie already
    settings: Settings = field(default_factory=Settings)
    sample_format: str = "float32"
    offline: bool = False


@dataclass(frozen=True)
class Ready:
    """A model that ONNX Runtime can open."""

    graph: Path
    tensors_sha256: str
    weights: Mapping[str, Mapping[str, Any]]


def load(request: Request, progress: Progress | None = None) -> Embedder:
    """The loaded model for a request."""
    model = manifest.model(request.name)
    chosen = model.choose(dict(request.options))
    variant = model.variant(chosen)
    given = {name: Path(path) for name, path in request.weights}
    for name in given.keys() - set(variant.checkpoints):
        known = ", ".join(variant.checkpoints) or "none"
        problem = f"{model.name} uses no checkpoint {name!r} with these options ({known})"
        raise CheckpointError(given[name], problem)
    folders = [Path(folder) for folder in request.folders]
    ready = prepare(model, variant, given, folders, offline=request.offline, progress=progress)
    if variant.checkpoints:
        converted.note_use(ready.graph.parent)
    network = Network(ready.graph, variant.output, request.settings)
    return Embedder(
        model, chosen, network, ready.weights, ready.tensors_sha256, request.sample_format,
        request=request,
    )  # fmt: skip


@lru_cache(maxsize=1)  # a pool's worker is sent the same model with every task
def load_again(request: Request, fingerprint: str, sample_format: str, short: str) -> Embedder:
    """A model from its pickle; IncompatibleStatisticsError if it is another one here."""
    found = replace(load(request), sample_format=sample_format, short=short)
    if found.fingerprint != fingerprint:
        raise IncompatibleStatisticsError(
            f"{request.name} of this process", "that of the pickle", "weights or version differ"
        )
    return found


def prepare(
    model: Model,
    variant: Variant,
    given: Mapping[str, Path],
    folders: Sequence[Path] = (),
    *,
    offline: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Ready:
    """The published model for these checkpoints, made now if it is not in the cache.

    given: checkpoint name -> file to use in place of the official one; it is never modified.
    keep: leave a download in the cache after it was converted. Raises CheckpointError,
    ChecksumError, DownloadError, CacheError.
    """
    damage = None
    try:
        if ready := _published_already(model, variant, given):
            return ready
    except DamagedModelError as error:
        damage = error
    try:
        return _make(model, variant, given, folders, offline, keep, progress)
    except (CacheError, DownloadError) as error:
        if damage is None:
            raise
        raise DamagedModelError(damage.path, f"{damage.reason}; {error}") from error


def _make(
    model: Model,
    variant: Variant,
    given: Mapping[str, Path],
    folders: Sequence[Path],
    offline: bool,
    keep: bool,
    progress: Progress | None,
) -> Ready:
    """Fetch and convert, unless another process has done it meanwhile."""
    # By the files too: models that share one must not remove it from under each other.
    files = {model.checkpoints[name].file for name in variant.checkpoints if name not in given}
    with ExitStack() as locks:
        for name in sorted({model.name, *files}):
            locks.enter_context(store.locked(name))
        try:
            if ready := _published_already(model, variant, given):
                return ready
        except DamagedModelError as damage:
            logger.warning("%s; it is made again", damage)
        sources = _locate_all(model, variant, given, folders, offline, progress)
        return _convert(model, variant, sources, keep)


def _convert(model: Model, variant: Variant, sources: Mapping[str, Source], keep: bool) -> Ready:
    """The published model of these checkpoints; the caller holds the lock."""
    with suppress(DamagedModelError):
        if ready := _published(model, variant, sources):
            return ready
    home = _home(model, variant, sources)
    # What is there but was not found whole has been damaged since.
    shutil.rmtree(home, ignore_errors=True)
    placed = external(graph_file(model, variant)).values()
    size = max(info.offset + info.length for info in placed)
    store.publish_folder(
        home, lambda folder: bind(model, variant, sources, folder), needed_bytes=size
    )
    if not keep:
        _discard(model, variant, sources)
    ready = _published(model, variant, sources)
    assert ready is not None
    return ready


def _published_already(
    model: Model, variant: Variant, given: Mapping[str, Path], check: Check = converted.check
) -> Ready | None:
    if not variant.checkpoints:
        return Ready(graph_file(model, variant), hashlib.sha256(b"").hexdigest(), {})
    sources = {
        name: _known(model.checkpoints[name], given.get(name)) for name in variant.checkpoints
    }
    known = {name: source for name, source in sources.items() if source}
    return _published(model, variant, known, check) if len(known) == len(sources) else None


def _home(model: Model, variant: Variant, sources: Mapping[str, Source]) -> Path:
    head = model.tiles.head_sha256 if model.tiles else ""
    hashes = sorted((name, source.sha256) for name, source in sources.items())
    key = hashlib.sha256(json.dumps([variant.sha256, head, hashes]).encode()).hexdigest()
    return converted.models_folder() / f"{model.name}-{key[:16]}"


def _downloads() -> Path:
    return store.part("checkpoints")


def _published(
    model: Model, variant: Variant, sources: Mapping[str, Source], check: Check = converted.check
) -> Ready | None:
    """The model made of these; DamagedModelError if it is not what was written."""
    home = _home(model, variant, sources)
    facts = check(home)
    if facts is None or facts["files"]["model.onnx"] != variant.sha256:
        return None
    # The checkpoints as they are called today: a copy under another name has the same hash.
    weights = {name: source.facts() for name, source in sources.items()}
    return Ready(home / "model.onnx", facts["tensors_sha256"], weights)


def _known(row: Checkpoint, given: Path | None) -> Source | None:
    """What will be used, as far as it is known without the file being fetched."""
    if given is not None:
        return _given(row, given)
    if row.sha256:
        return Source(Path(row.file), row.sha256, "sha256", row.file)
    notes = store.read_json(_downloads() / f"{row.file}.json")
    if not notes.keys() >= {"sha256", "checked"}:
        return None
    return Source(Path(row.file), notes["sha256"], notes["checked"], row.file)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(path, "a folder, not a file" if path.is_dir() else "no such file")
    return path


def _locate_all(
    model: Model,
    variant: Variant,
    given: Mapping[str, Path],
    folders: Sequence[Path],
    offline: bool,
    progress: Progress | None,
) -> dict[str, Source]:
    """Every checkpoint of the variant; offline, one error for all that have to be fetched."""
    found, missing = {}, {}
    for name in variant.checkpoints:
        try:
            found[name] = _locate(model, name, given.get(name), folders, offline, progress)
        except DownloadError as error:
            if not (offline or download.is_offline()):
                raise
            missing[name] = error
    if not missing:
        return found
    sources = " ".join(f"--from {name}=FILE" for name in missing)
    options = "".join(
        f" --option {name}={value}"
        for name, value in variant.when.items()
        if value != model.options[name].default
    )
    raise DownloadError(
        " and ".join(_described(model.checkpoints[name], missing[name].url) for name in missing),
        next(iter(missing.values())).reason,
        f"fetch elsewhere, then `fad-onnx pull {model.name}{options} {sources}`, or put into"
        f" {_downloads()} as {' and '.join(model.checkpoints[name].file for name in missing)}",
    )


def _described(row: Checkpoint, url: str) -> str:
    """Where a file is, and by what it is known to be the right one."""
    facts = [f"{row.bytes} bytes"] if row.bytes else []
    facts += [f"{kind} {digest}" for kind, digest in row.digests.items()]
    return f"{url} ({', '.join(facts)})" if facts else url


def _locate(
    model: Model,
    name: str,
    given: Path | None,
    folders: Sequence[Path],
    offline: bool,
    progress: Progress | None,
) -> Source:
    """The checkpoint on disk: given, converted before, lying about, or downloaded now."""
    row = model.checkpoints[name]
    if given is not None:
        return _given(row, given)
    if not row.url:
        raise CheckpointError(
            row.file, f"nobody publishes weights for {model.name}; give your own with --weights"
        )
    known = _known(row, None)
    for home in converted.folders() if known else ():
        with suppress(DamagedModelError):
            facts = converted.read_note(home) or {}
            kept = facts.get("weights", {}).get(name)
            if known and kept and kept["sha256"] == known.sha256 and converted.check(home):
                return replace(known, path=home / "model.onnx")
    fetched = download.obtain(row, _downloads(), folders, offline=offline, progress=progress)
    ours = fetched.path.parent == _downloads()
    if not ours:
        _remember(row, fetched)
    return Source(fetched.path, fetched.sha256, fetched.checked, fetched.path.name, ours)


def _given(row: Checkpoint, path: Path) -> Source:
    """A file in place of the official one, which it may be all the same."""
    digest = store.file_sha256(_existing(path))
    official = _known(row, None)
    if official and digest == official.sha256:
        return replace(official, path=path, file=path.name)
    return Source(path, digest, "given by the user", path.name)


def _remember(row: Checkpoint, found: Fetched) -> None:
    """Note which file is the official one, where the table does not say it in full."""
    if not row.sha256:
        download.record(found.path.absolute().as_uri(), found, _downloads() / row.file)


def _discard(model: Model, variant: Variant, sources: Mapping[str, Source]) -> None:
    """Remove converted downloads, unless another graph of the row takes more of them."""
    kept = external(graph_file(model, variant)).keys()
    for name, source in sources.items():
        if not source.ours:
            continue
        with ExitStack() as stack:
            held = {key for key, _ in open_all(model, {name: source}, stack)}
        others = (graph_file(model, other) for other in model.variants if name in other.checkpoints)
        if all(external(graph).keys() & held <= kept for graph in others):
            source.path.unlink(missing_ok=True)


def pull(
    model: Model,
    options: Mapping[str, str],
    given: Mapping[str, str],
    *,
    offline: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Iterator[str]:
    """Fetch, verify and convert; yields a line for everything that is kept, and for what not.

    given: checkpoint name -> official file at hand; ChecksumError if it is not the official one.
    """
    variant = model.variant(model.choose(options))
    if not variant.checkpoints:
        yield f"{model.name}: needs no weights"
        return
    folder = _downloads()
    for name, path in given.items():
        if name not in variant.checkpoints:
            raise CheckpointError(path, f"{model.name} uses no checkpoint {name!r} here")
        row = model.checkpoints[name]
        done = f"it is not the official file ({row.url}): your own go with --weights, not pull"
        _remember(row, verify(row, _existing(Path(path)), done))
    ready = prepare(
        model, variant, {name: Path(path) for name, path in given.items()},
        offline=offline, keep=keep, progress=progress,
    )  # fmt: skip
    size = sum(file.stat().st_size for file in ready.graph.parent.iterdir()) / 1e6
    for name, facts in ready.weights.items():
        yield f"{model.name}: {name} {facts['file']} sha256 {facts['sha256']} ({facts['checked']})"
    yield f"{model.name}: kept {ready.graph.parent} ({size:.0f} MB)"
    for name in variant.checkpoints:
        file = folder / model.checkpoints[name].file
        if file.is_file():
            yield f"{model.name}: kept {file} ({file.stat().st_size / 1e6:.0f} MB)"


def state(
    model: Model, chosen: Mapping[str, str] | None = None, given: Sequence[tuple[str, str]] = ()
) -> str:
    """ "none needed", "ready" (converted, or given by the user) or "to download".

    chosen: as `Model.choose` returns it; by default its defaults. given: a Request's weights.
    """
    variant = model.variant(model.choose(chosen))
    if not variant.checkpoints:
        return "none needed"
    here = {name for name, _ in given} >= set(variant.checkpoints) or ready(model, variant)
    return "ready" if here else "to download"


def ready(model: Model, variant: Variant) -> Ready | None:
    """The variant with its official weights, if they are converted; never fetches.

    Its files are not compared with their hashes. A cache that cannot be used is a warning.
    """
    try:
        return _published_already(model, variant, {}, converted.read_note)
    except DamagedModelError:
        return None
    except CacheError as error:
        _warn(str(error))
        return None


@cache
def _warn(message: str) -> None:
    logger.warning("%s", message)
