"""Lists and removes the contents of the cache: embeddings, converted models and downloads.

Files that another process is downloading or converting are locked, and are not removed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..cache import root
from ..cache.embeddings import EmbeddingCache
from ..cache.embeddings.hashes import FileHashes
from ..cache.filesystem import guarded
from ..errors import DamagedModelError
from ..networks import table
from ..weights import converted

Kind = Literal["embeddings", "models", "downloads"]
KINDS: tuple[Kind, ...] = ("embeddings", "models", "downloads")


@dataclass(frozen=True)
class Item:
    """A converted model or a download; both can be recreated."""

    kind: Kind
    path: Path
    bytes: int
    used: float  # time of the last use or change, in seconds since 1970
    locks: tuple[str, ...]
    current: bool  # this release can use it
    model: str | None = None
    weights: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The JSON object of `fad-onnx cache info --json`."""
        used = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.used))
        return {
            "name": self.path.name, "bytes": self.bytes, "used": used, "current": self.current,
            "model": self.model, "weights": {name: dict(w) for name, w in self.weights.items()},
        }  # fmt: skip


def items() -> list[Item]:
    """All downloads, then all converted models, each least recently used first."""
    with guarded(root.root()):
        found = [*map(_download, _inside("checkpoints")), *map(_model, _inside("models"))]
    return sorted(found, key=lambda one: (one.kind, one.used))


def _inside(part: str) -> Iterator[Path]:
    folder = root.part(part)
    found = folder.iterdir() if folder.is_dir() else ()
    # Files being written belong to their writer; root.sweep removes those of killed writers.
    return (path for path in found if not path.name.startswith(root.TEMPORARY))


def _download(path: Path) -> Item:
    """A complete or partial download, or the file with its resume state."""
    final = path.name.removesuffix(".json").removesuffix(".part")
    stat = path.stat()
    return Item("downloads", path, stat.st_size, stat.st_mtime, (final,), not _partial(path))


def _partial(path: Path) -> bool:
    return path.name.endswith((".part", ".part.json"))


def _model(folder: Path) -> Item:
    size = sum(file.stat().st_size for file in folder.rglob("*"))
    name = folder.name.rpartition("-")[0]
    try:
        facts = converted.read_note(folder) or {}
    except DamagedModelError:
        facts = {}
    graphs = {sha256 for one in table.models().values() for sha256 in one.network.hashes.values()}
    current = facts.get("files", {}).get("model.onnx") in graphs
    weights = facts.get("weights", {})
    # Another model may be reading tensors from this one, and holds the lock of their checkpoint.
    locks = (name, *(one["file"] for one in weights.values()))
    used = folder.stat().st_mtime
    return Item("models", folder, size, used, locks, current, facts.get("model"), weights)


def _swept() -> list[Item]:
    """All items, after removing incomplete files of killed processes."""
    for part in ("checkpoints", "models"):
        with guarded(root.root()):
            root.sweep(root.part(part))
    return items()


def clear(embeddings: EmbeddingCache, kinds: Sequence[Kind] = KINDS) -> None:
    """Remove everything of these kinds that no running process is writing."""
    if "embeddings" in kinds:
        embeddings.clear()
    for item in _swept():
        if item.kind in kinds:
            _remove(item)
    if "models" in kinds:
        with FileHashes(root.part("hashes")) as hashes:
            hashes.clear()


def prune(embeddings: EmbeddingCache, max_bytes: int) -> None:
    """Remove items until at most `max_bytes` are left in total.

    Downloads and models that this release does not use go first, then embeddings, then the other
    models; within each kind, the least recently used first.
    """
    found = _swept()
    left = embeddings.info().bytes + sum(item.bytes for item in found)
    for item in (one for one in found if one.kind == "downloads" or not one.current):
        if left > max_bytes and _remove(item):
            left -= item.bytes
    if left > max_bytes:
        before = embeddings.info().bytes
        embeddings.prune(max(0, before - (left - max_bytes)))
        left -= before - embeddings.info().bytes
    for item in (one for one in found if one.kind == "models" and one.current):
        if left > max_bytes and _remove(item):
            left -= item.bytes


def _remove(item: Item) -> bool:
    """Remove an item unless a process is using it; return whether it was removed."""
    with root.held(item.locks) as ours, guarded(item.path):
        if ours and item.path.is_dir():
            shutil.rmtree(item.path)
        elif ours:
            item.path.unlink(missing_ok=True)
        return ours
