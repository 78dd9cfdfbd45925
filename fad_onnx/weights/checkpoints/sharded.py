"""Checkpoints in several files: a JSON index from tensors to files.

Format: transformers 4.57.6, utils/hub.py get_checkpoint_shard_files: a "weight_map" from the name
of a tensor to the name of a file in the same folder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

from .mapped import Mapped, quoted
from .tensors import LazyTensor

MAX_INDEX_BYTES = 8 * 2**20
MAX_SHARDS = 1000


def holds(file: Mapped) -> bool:
    """Whether the file starts like a JSON object."""
    return bytes(file.data[:64]).lstrip()[:1] == b"{"


def shards(file: Mapped) -> dict[str, Path]:
    """The files of an index by their names in it, in alphabetical order.

    Raises
    ------
    CheckpointError
        If the index is damaged or too large, or names files outside its folder.
    """
    return {name: Path(file.path).parent / name for name in sorted(set(_map(file).values()))}


def read(
    file: Mapped, tensors: Callable[[Path], Mapping[str, LazyTensor]]
) -> dict[str, LazyTensor]:
    """The tensors of an index, each from its own file, which `tensors` opens."""
    opened = {name: tensors(path) for name, path in shards(file).items()}
    found = {}
    for name, shard in _map(file).items():
        if name not in opened[shard]:
            raise file.error(f"its {quoted(shard)} does not hold tensor {quoted(name)}")
        found[name] = opened[shard][name]
    return found


def _map(file: Mapped) -> dict[str, str]:
    if file.size > MAX_INDEX_BYTES:
        raise file.error(f"is an index of {file.size} bytes; up to {MAX_INDEX_BYTES} are read")
    try:
        index = json.loads(bytes(file.data).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise file.error("starts as a JSON index of tensors does, but is not JSON") from error
    found = index.get("weight_map")
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found.values()):
        raise file.error('is JSON, but has no "weight_map" from tensors to files')
    names = set(found.values())
    for name in names:
        if name in ("", ".", "..") or Path(name).name != name or set("\\:\0") & set(name):
            raise file.error(f"names the file {quoted(name)}, outside its folder; refused")
    if len(names) > MAX_SHARDS:
        raise file.error(f"names {len(names)} files; up to {MAX_SHARDS} are read")
    return found
