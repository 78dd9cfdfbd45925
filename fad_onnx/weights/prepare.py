"""Load models: find or fetch their checkpoints, convert them once, open the converted model."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path

from ..cache import root
from ..errors import (
    CacheError,
    CheckpointError,
    DamagedModelError,
    DownloadError,
    IncompatibleStatisticsError,
    OptionError,
)
from ..networks import table
from ..networks.embedder import Embedder
from ..networks.registration import Registration, register_again, registered
from ..networks.runtime import Session, Settings
from ..networks.selection import Selection, select, text_tower
from ..networks.spec import ModelSpec
from ..networks.text import TextEmbedder
from . import converted, download
from .binding import loaded_tokenizer
from .checkpoints.onnx_file import pruned
from .conversion import ConvertedModel, convert, published_already
from .download.verified import verify
from .locate import downloads_folder, existing_file, locate_all, remember

logger = logging.getLogger("fad_onnx")

Progress = download.Progress


@dataclass(frozen=True)
class Request:
    """A model as the user asked for it: hashable, and small enough to send to any worker."""

    spec: ModelSpec
    folders: tuple[str, ...] = ()  # folders to search for official files
    settings: Settings = field(default_factory=Settings)
    sample_format: str = "float32"
    offline: bool = False
    registrations: tuple[Registration, ...] = field(default_factory=registered)


def load(request: Request, progress: Progress | None = None) -> Embedder:
    """The loaded model for a request."""
    (loaded,) = load_all([request], progress)
    return loaded


def opened(graph: Path, selection: Selection, settings: Settings) -> Session:
    """A session that computes the output of one selection, and nothing else."""
    return Session(graph, settings, frozenset(selection.tensors), pruned, selection.network.arena)


def load_all(requests: Iterable[Request], progress: Progress | None = None) -> list[Embedder]:
    """The loaded model for each request; outputs of one network share a session."""
    asked = [(request, *_resolved(request, progress)) for request in requests]
    wanted: dict[tuple[Path, Settings], set[str]] = {}
    arenas = {ready.graph: selection.network.arena for _, selection, ready in asked}
    for request, selection, ready in asked:
        values = wanted.setdefault((ready.graph, request.settings), set())
        values |= selection.tensors
    opened = {
        (graph, settings): Session(graph, settings, frozenset(values), pruned, arenas[graph])
        for (graph, settings), values in wanted.items()
    }
    return [
        Embedder(
            selection,
            opened[ready.graph, request.settings],
            ready.weights,
            ready.tensors_sha256,
            request=request,
        )
        for request, selection, ready in asked
    ]


def _resolved(
    request: Request, progress: Progress | None = None
) -> tuple[Selection, ConvertedModel]:
    """The selection of a request, and the converted model."""
    for one in request.registrations:
        register_again(one)
    selection = select(request.spec).decoding(request.sample_format)
    given = _given(selection, request)
    folders = [Path(folder) for folder in request.folders]
    ready = prepare(selection, given, folders, offline=request.offline, progress=progress)
    if selection.output.checkpoints:
        converted.note_use(ready.graph.parent)
    return selection, ready


def _given(selection: Selection, request: Request) -> dict[str, Path]:
    """The user's files; CheckpointError for a name that the model does not use."""
    tower, given = selection.network.text, dict(request.spec.weights)
    known = dict.fromkeys((*selection.output.checkpoints, *(tower.checkpoints if tower else ())))
    for name in given.keys() - known.keys():
        problem = f"uses no checkpoint {name!r} ({', '.join(known) or 'none'})"
        raise CheckpointError(given[name], f"{selection.label} {problem}")
    return {name: Path(path) for name, path in given.items()}


def load_text(request: Request, progress: Progress | None = None) -> TextEmbedder:
    """The text tower of the model of a request; OptionError if it has none."""
    selection = tower_of(request.spec)
    given = _given(selection, request)
    folders = [Path(folder) for folder in request.folders]
    ready = prepare(selection, given, folders, offline=request.offline, progress=progress)
    folder = ready.graph.parent
    converted.note_use(folder)
    session = Session(ready.graph, request.settings)
    tokenizer = loaded_tokenizer(selection, folder)
    return TextEmbedder(selection, session, ready.weights, ready.tensors_sha256, tokenizer)


def tower_of(spec: ModelSpec) -> Selection:
    """The text tower of a model; OptionError, which lists models with one, if it has none."""
    if tower := text_tower(select(spec).model):
        return tower
    known = [name for name, one in table.models().items() if one.network.text]
    raise OptionError("model", f"{spec.name} has no text tower; models that do: {', '.join(known)}")


@lru_cache(maxsize=1)  # a pool sends the same model to its workers with every task
def load_again(request: Request, fingerprint: str, sample_format: str, short: str) -> Embedder:
    """Load a model from its pickle; IncompatibleStatisticsError if its fingerprint differs here."""
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
) -> ConvertedModel:
    """The converted model for these checkpoints, made now if it is not in the cache.

    `given` holds files to use instead of the official ones, by checkpoint; they are never modified.
    With `keep`, a download stays in the cache after its conversion. Raises CheckpointError,
    ChecksumError, DownloadError, CacheError.
    """
    damage = None
    try:
        if ready := published_already(selection, given):
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
) -> ConvertedModel:
    """Fetch and convert, unless another process has done it in the meantime."""
    # Lock the files too: models that share a file must not remove it while the other reads it.
    checkpoints = selection.network.checkpoints
    files = {checkpoints[name].file for name in selection.output.checkpoints if name not in given}
    with ExitStack() as locks:
        for name in sorted({selection.model.name, *files}):
            locks.enter_context(root.locked(name))
        try:
            if ready := published_already(selection, given):
                return ready
        except DamagedModelError as damage:
            logger.warning("%s; it is made again", damage)
        sources = locate_all(selection, given, folders, offline, progress)
        return convert(selection, sources, keep)


def pull(
    spec: ModelSpec,
    given: Mapping[str, str],
    *,
    offline: bool = False,
    keep: bool = False,
    progress: Progress | None = None,
) -> Iterator[str]:
    """Fetch, verify and convert; yields one line for each file.

    Includes the text tower, unless the request names an output. `given` holds local copies of
    official files, by checkpoint; ChecksumError for a file that is not the official one.
    """
    selection = select(spec)
    label, checkpoints = selection.label, selection.network.checkpoints
    if not selection.output.checkpoints:
        yield f"{label}: needs no weights"
        return
    tower = text_tower(selection.model) if spec.output is None else None
    every = [selection, *([tower] if tower else [])]
    names = dict.fromkeys(name for one in every for name in one.output.checkpoints)
    for name, path in given.items():
        if name not in names:
            raise CheckpointError(path, f"{label} uses no checkpoint {name!r}")
        checkpoint = checkpoints[name]
        done = (
            f"it is not the official file ({checkpoint.url}): your own go with --weights, not pull"
        )
        remember(checkpoint, verify(checkpoint, existing_file(Path(path)), done))
    files = {name: Path(path) for name, path in given.items()}
    for one in every:
        yield from _kept(one, prepare(one, files, offline=offline, keep=keep, progress=progress))
    for name in names:
        file = downloads_folder() / checkpoints[name].file
        if file.is_file():
            yield f"{label}: kept {file} ({file.stat().st_size / 1e6:.0f} MB)"


def _kept(selection: Selection, ready: ConvertedModel) -> Iterator[str]:
    size = sum(file.stat().st_size for file in ready.graph.parent.iterdir()) / 1e6
    for name, facts in ready.weights.items():
        checked = f"sha256 {facts['sha256']} ({facts['checked']})"
        licence = selection.network.checkpoints[name].licence
        yield f"{selection.label}: {name} {facts['file']} {checked}, licence: {licence}"
    yield f"{selection.label}: kept {ready.graph.parent} ({size:.0f} MB)"


def state(selection: Selection, given: Iterable[str] = ()) -> str:
    """ "none needed", "ready" (converted, or given by the user) or "to download".

    `given` holds the names of checkpoints for which the user has files.
    """
    wanted = set(selection.output.checkpoints)
    if not wanted:
        return "none needed"
    return "ready" if set(given) >= wanted or ready(selection) else "to download"


def ready(selection: Selection) -> ConvertedModel | None:
    """The converted model with official weights, if there is one; never downloads.

    Does not compare files with their hashes. A cache that cannot be used gives a warning.
    """
    try:
        return published_already(selection, {}, converted.read_note)
    except DamagedModelError:
        return None
    except CacheError as error:
        _warn(str(error))
        return None


@cache
def _warn(message: str) -> None:
    logger.warning("%s", message)
