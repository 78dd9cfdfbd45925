"""Converted models: find the one made from given checkpoints, or make and publish it.

A converted model is an ordinary ONNX model in the cache, published by one rename, so that later
starts need not parse the checkpoint.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..cache import root
from ..errors import DamagedModelError
from ..networks.selection import Selection, parts
from . import converted
from .binding import CheckpointFile, bind, check_output, external, graph_file, tensors_sha256
from .checkpoints.onnx_file import initializers
from .locate import known_file
from .naming import open_all

Check = Callable[[Path], converted.Facts | None]


@dataclass(frozen=True)
class ConvertedModel:
    """A model that ONNX Runtime can open."""

    graph: Path
    tensors_sha256: str
    weights: Mapping[str, Mapping[str, Any]]


def convert(
    selection: Selection, sources: Mapping[str, CheckpointFile], keep: bool
) -> ConvertedModel:
    """The converted model of these checkpoints. The caller must hold the lock."""
    with suppress(DamagedModelError):
        if ready := _published(selection, sources):
            return ready
    home = _home(selection, sources)
    # A folder that exists but was not found intact has been damaged.
    shutil.rmtree(home, ignore_errors=True)
    placed = external(graph_file(selection)).values()
    size = max((info.offset + info.length for info in placed), default=0)
    root.publish_folder(home, lambda folder: bind(selection, sources, folder), needed_bytes=size)
    if not keep:
        _discard(selection, sources)
    ready = _published(selection, sources)
    assert ready is not None
    return ready


def published_already(
    selection: Selection, given: Mapping[str, Path], check: Check = converted.check
) -> ConvertedModel | None:
    if not selection.output.checkpoints:
        return _complete(selection)
    checkpoints = selection.network.checkpoints
    sources = {
        name: known_file(checkpoints[name], given.get(name))
        for name in selection.output.checkpoints
    }
    known = {name: source for name, source in sources.items() if source}
    return _published(selection, known, check) if len(known) == len(sources) else None


def _complete(selection: Selection) -> ConvertedModel:
    """A graph that needs no checkpoint; a registered one holds its weights."""
    graph, sha256 = graph_file(selection), hashlib.sha256(b"").hexdigest()
    if selection.graph not in selection.network.places:
        return ConvertedModel(graph, sha256, {})
    check_output(selection, graph)
    found = initializers(graph).values()
    others = sorted({info.location for info in found if info.external})
    hashes = [selection.graph_sha256, *(root.file_sha256(graph.parent / one) for one in others)]
    sha256 = hashlib.sha256(json.dumps(hashes).encode()).hexdigest()
    source = {"file": graph.name, "sha256": selection.graph_sha256, "checked": "given by the user"}
    return ConvertedModel(graph, sha256, {"graph": source})


def _home(selection: Selection, sources: Mapping[str, CheckpointFile]) -> Path:
    hashes = sorted((name, source.sha256) for name, source in sources.items())
    parts = [selection.graph_sha256, selection.head_sha256 or "", hashes]
    key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()
    return converted.models_folder() / f"{selection.model.name}-{key[:16]}"


def _published(
    selection: Selection, sources: Mapping[str, CheckpointFile], check: Check = converted.check
) -> ConvertedModel | None:
    """The converted model; DamagedModelError if a file has changed since it was written."""
    home = _home(selection, sources)
    facts = check(home)
    if facts is None or facts["files"]["model.onnx"] != selection.graph_sha256:
        return None
    if "tensors" not in facts:  # converted by a release that hashed them together
        return None
    # With the present paths of the checkpoints: a copy under another name has the same hash.
    weights = {name: source.facts() for name, source in sources.items()}
    return ConvertedModel(home / "model.onnx", tensors_sha256(selection, facts["tensors"]), weights)


def _made(selection: Selection) -> bool:
    """Whether the official checkpoints of a selection are converted."""
    try:
        return published_already(selection, {}, converted.read_note) is not None
    except DamagedModelError:
        return False


def _discard(selection: Selection, sources: Mapping[str, CheckpointFile]) -> None:
    """Remove converted downloads, unless another graph of the model still needs them."""
    kept = external(graph_file(selection)).keys()
    every = [other for other in parts(selection.model) if not _made(other)]
    for name, source in sources.items():
        if not source.ours:
            continue
        others = {graph_file(other) for other in every if name in other.output.checkpoints}
        with ExitStack() as stack:
            tensors = open_all(selection.network, {name: source.path}, stack)
            done = all(tensors.held(external(graph)) <= kept for graph in others)
        if done:
            source.path.unlink(missing_ok=True)
