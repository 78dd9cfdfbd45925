"""From what the user asked for to a loaded model: find or fetch checkpoints, convert, publish.

A converted model is an ordinary ONNX model in the cache, published by one rename; later starts
parse no checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from ..cache import root
from ..errors import (
    CacheError,
    CheckpointError,
    DamagedModelError,
    DownloadError,
    IncompatibleStatisticsError,
)
from ..networks.embedder import Embedder
from ..networks.network import Checkpoint
from ..networks.runtime import Session, Settings
from ..networks.selection import Selection, select, variants
from ..networks.spec import ModelSpec
from . import converted, download
from .binding import Source, bind, external, graph_file, open_all, tensors_sha256
from .download.verified import Fetched, verify

logger = logging.getLogger("fad_onnx")

Progress = download.Progress
Check = Callable[[Path], converted.Facts | None]


@dataclass(frozen=True)
class Request:
    """A model as the user asked for it: hashable, and small enough to send to any worker."""

    spec: ModelSpec
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


Opened = dict[tuple[Path, Settings], Session]


def load(
    request: Request, progress: Progress | None = None, opened: Opened | None = None
) -> Embedder:
    """The loaded model for a request; its session is taken from `opened`, or put there."""
    selection = select(request.spec).decoding(request.sample_format)
    given = {name: Path(path) for name, path in request.spec.weights.items()}
    for name in given.keys() - set(selection.output.checkpoints):
        known = ", ".join(selection.output.checkpoints) or "none"
        problem = f"{selection.label} uses no checkpoint {name!r} ({known})"
        raise CheckpointError(given[name], problem)
    folders = [Path(folder) for folder in request.folders]
    ready = prepare(selection, given, folders, offline=request.offline, progress=progress)
    if selection.output.checkpoints:
        converted.note_use(ready.graph.parent)
    opened, key = {} if opened is None else opened, (ready.graph, request.settings)
    session = opened.get(key) or opened.setdefault(key, Session(*key))
    return Embedder(selection, session, ready.weights, ready.tensors_sha256, request=request)


def load_all(requests: Iterable[Request], progress: Progress | None = None) -> list[Embedder]:
    """The loaded model for each request; outputs of one network share a session."""
    opened: Opened = {}
    return [load(request, progress, opened) for request in requests]


@lru_cache(maxsize=1)  # a pool's worker is sent the same model with every task
def load_again(request: Request, fingerprint: str, sample_format: str, short: str) -> Embedder:
    """A model from its pickle; IncompatibleStatisticsError if it is another one here."""
    found = replace(load(request).decoding(sample_format), short=short)
    if found.fingerprint != fingerprint:
        raise IncompatibleStatisticsError(
            f"{request.spec} of this process", "that of the pickle", "weights or version differ"
        )
    return found


def prepare(
    selection: Selection,
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
        if ready := _published_already(selection, given):
            return ready
    except DamagedModelError as error:
        damage = error
    try:
        return _make(selection, given, folders, offline, keep, progress)
    except (CacheError, DownloadError) as error:
        if damage is None:
            raise
        raise DamagedModelError(damage.path, f"{damage.reason}; {error}") from error


def _make(
    selection: Selection,
    given: Mapping[str, Path],
    folders: Sequence[Path],
    offline: bool,
    keep: bool,
    progress: Progress | None,
) -> Ready:
    """Fetch and convert, unless another process has done it meanwhile."""
    # By the files too: models that share one must not remove it from under each other.
    checkpoints = selection.network.checkpoints
    files = {checkpoints[name].file for name in selection.output.checkpoints if name not in given}
    with ExitStack() as locks:
        for name in sorted({selection.model.name, *files}):
            locks.enter_context(root.locked(name))
        try:
            if ready := _published_already(selection, given):
                return ready
        except DamagedModelError as damage:
            logger.warning("%s; it is made again", damage)
        sources = _locate_all(selection, given, folders, offline, progress)
        return _convert(selection, sources, keep)


def _convert(selection: Selection, sources: Mapping[str, Source], keep: bool) -> Ready:
    """The published model of these checkpoints; the caller holds the lock."""
    with suppress(DamagedModelError):
        if ready := _published(selection, sources):
            return ready
    home = _home(selection, sources)
    # What is there but was not found whole has been damaged since.
    shutil.rmtree(home, ignore_errors=True)
    placed = external(graph_file(selection)).values()
    size = max(info.offset + info.length for info in placed)
    root.publish_folder(home, lambda folder: bind(selection, sources, folder), needed_bytes=size)
    if not keep:
        _discard(selection, sources)
    ready = _published(selection, sources)
    assert ready is not None
    return ready


def _published_already(
    selection: Selection, given: Mapping[str, Path], check: Check = converted.check
) -> Ready | None:
    if not selection.output.checkpoints:
        return Ready(graph_file(selection), hashlib.sha256(b"").hexdigest(), {})
    checkpoints = selection.network.checkpoints
    sources = {
        name: _known(checkpoints[name], given.get(name)) for name in selection.output.checkpoints
    }
    known = {name: source for name, source in sources.items() if source}
    return _published(selection, known, check) if len(known) == len(sources) else None


def _home(selection: Selection, sources: Mapping[str, Source]) -> Path:
    hashes = sorted((name, source.sha256) for name, source in sources.items())
    parts = [selection.graph_sha256, selection.head_sha256 or "", hashes]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return converted.models_folder() / f"{selection.model.name}-{key[:16]}"


def _downloads() -> Path:
    return root.part("checkpoints")


def _published(
    selection: Selection, sources: Mapping[str, Source], check: Check = converted.check
) -> Ready | None:
    """The model made of these; DamagedModelError if it is not what was written."""
    home = _home(selection, sources)
    facts = check(home)
    if facts is None or facts["files"]["model.onnx"] != selection.graph_sha256:
        return None
    if "tensors" not in facts:  # converted by a release that hashed them together
        return None
    # The checkpoints as they are called today: a copy under another name has the same hash.
    weights = {name: source.facts() for name, source in sources.items()}
    return Ready(home / "model.onnx", tensors_sha256(selection, facts["tensors"]), weights)


def _known(row: Checkpoint, given: Path | None) -> Source | None:
    """What will be used, as far as it is known without the file being fetched."""
    if given is not None:
        return _given(row, given)
    if row.sha256:
        return Source(Path(row.file), row.sha256, "sha256", row.file)
    notes = root.read_json(_downloads() / f"{row.file}.json")
    if not notes.keys() >= {"sha256", "checked"}:
        return None
    return Source(Path(row.file), notes["sha256"], notes["checked"], row.file)


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(path, "a folder, not a file" if path.is_dir() else "no such file")
    return path


def _locate_all(
    selection: Selection,
    given: Mapping[str, Path],
    folders: Sequence[Path],
    offline: bool,
    progress: Progress | None,
) -> dict[str, Source]:
    """Every checkpoint of the output; offline, one error for all that have to be fetched."""
    found, missing = {}, {}
    for name in selection.output.checkpoints:
        try:
            found[name] = _locate(selection, name, given.get(name), folders, offline, progress)
        except DownloadError as error:
            if not (offline or download.is_offline()):
                raise
            missing[name] = error
    if not missing:
        return found
    sources = " ".join(f"--from {name}=FILE" for name in missing)
    rows = {name: selection.network.checkpoints[name] for name in missing}
    raise DownloadError(
        " and ".join(_described(row, missing[name].url) for name, row in rows.items()),
        next(iter(missing.values())).reason,
        f"fetch elsewhere, then `fad-onnx pull {selection.label} {sources}`, or put into"
        f" {_downloads()} as {' and '.join(row.file for row in rows.values())}",
    )


def _described(row: Checkpoint, url: str) -> str:
    """Where a file is, and by what it is known to be the right one."""
    facts = [f"{row.bytes} bytes"] if row.bytes else []
    facts += [f"{kind} {digest}" for kind, digest in row.digests.items()]
    return f"{url} ({', '.join(facts)})" if facts else url


def _locate(
    selection: Selection,
    name: str,
    given: Path | None,
    folders: Sequence[Path],
    offline: bool,
    progress: Progress | None,
) -> Source:
    """The checkpoint on disk: given, converted before, lying about, or downloaded now."""
    row = selection.network.checkpoints[name]
    if given is not None:
        return _given(row, given)
    if not row.url:
        problem = f"nobody publishes weights for {selection.model.name}; give your own"
        raise CheckpointError(row.file, f"{problem} with --weights")
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
    digest = root.file_sha256(_existing(path))
    official = _known(row, None)
    if official and digest == official.sha256:
        return replace(official, path=path, file=path.name)
    return Source(path, digest, "given by the user", path.name)


def _remember(row: Checkpoint, found: Fetched) -> None:
    """Note which file is the official one, where the table does not say it in full."""
    if not row.sha256:
        download.record(found.path.absolute().as_uri(), found, _downloads() / row.file)


def _discard(selection: Selection, sources: Mapping[str, Source]) -> None:
    """Remove converted downloads, unless another graph of the model takes more of them."""
    kept, every = external(graph_file(selection)).keys(), variants(selection.model)
    for name, source in sources.items():
        if not source.ours:
            continue
        with ExitStack() as stack:
            held = {key for key, _ in open_all(selection.network, {name: source}, stack)}
        others = {graph_file(other) for other in every if name in other.output.checkpoints}
        if all(external(graph).keys() & held <= kept for graph in others):
            source.path.unlink(missing_ok=True)


def pull(
    spec: ModelSpec,
    given: Mapping[str, str],
    *,
    offline: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Iterator[str]:
    """Fetch, verify and convert; yields a line for everything that is kept, and for what not.

    given: checkpoint name -> official file at hand; ChecksumError if it is not the official one.
    """
    selection = select(spec)
    label, checkpoints = selection.label, selection.network.checkpoints
    if not selection.output.checkpoints:
        yield f"{label}: needs no weights"
        return
    folder = _downloads()
    for name, path in given.items():
        if name not in selection.output.checkpoints:
            raise CheckpointError(path, f"{label} uses no checkpoint {name!r}")
        row = checkpoints[name]
        done = f"it is not the official file ({row.url}): your own go with --weights, not pull"
        _remember(row, verify(row, _existing(Path(path)), done))
    files = {name: Path(path) for name, path in given.items()}
    ready = prepare(selection, files, offline=offline, keep=keep, progress=progress)
    size = sum(file.stat().st_size for file in ready.graph.parent.iterdir()) / 1e6
    for name, facts in ready.weights.items():
        yield f"{label}: {name} {facts['file']} sha256 {facts['sha256']} ({facts['checked']})"
    yield f"{label}: kept {ready.graph.parent} ({size:.0f} MB)"
    for name in selection.output.checkpoints:
        file = folder / checkpoints[name].file
        if file.is_file():
            yield f"{label}: kept {file} ({file.stat().st_size / 1e6:.0f} MB)"


def state(selection: Selection, given: Iterable[str] = ()) -> str:
    """ "none needed", "ready" (converted, or given by the user) or "to download".

    given: names of checkpoints that the user gives.
    """
    wanted = set(selection.output.checkpoints)
    if not wanted:
        return "none needed"
    return "ready" if set(given) >= wanted or ready(selection) else "to download"


def ready(selection: Selection) -> Ready | None:
    """The selection with its official weights, if they are converted; never fetches.

    Its files are not compared with their hashes. A cache that cannot be used is a warning.
    """
    try:
        return _published_already(selection, {}, converted.read_note)
    except DamagedModelError:
        return None
    except CacheError as error:
        _warn(str(error))
        return None


@cache
def _warn(message: str) -> None:
    logger.warning("%s", message)
