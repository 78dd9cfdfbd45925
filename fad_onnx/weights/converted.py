"""Converted models in the cache: their contents, and whether these are intact.

`models/NAME-HASH` holds model.onnx, weights.bin, for some models head.onnx, and meta.json: what the
model was made from, the SHA-256 of every other file, and, under "seal", the SHA-256 of these facts.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..cache import root
from ..cache.filesystem import guarded
from ..errors import CheckpointError, DamagedModelError

logger = logging.getLogger("fad_onnx")

NOTE = "meta.json"
WEIGHTS_FILE = "weights.bin"
USED_SECONDS = 3600.0
Facts = Mapping[str, Any]


def models_folder() -> Path:
    """The folder of converted models."""
    return root.part("models")


def folders() -> Iterator[Path]:
    """The folders of all converted models, intact or not."""
    return (note.parent for note in sorted(models_folder().glob(f"*/{NOTE}")))


def write_note(folder: Path, facts: Facts) -> None:
    """Write meta.json; "files" of the facts holds the hash of every other file."""
    (folder / NOTE).write_text(json.dumps({**facts, "seal": _seal(facts)}, indent=2), "utf-8")


def _seal(facts: Facts) -> str:
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def read_note(folder: Path) -> Facts | None:
    """The facts in meta.json, or None if a file of the model is missing.

    Raises DamagedModelError if meta.json has changed since it was written.
    """
    path = folder / NOTE
    with guarded(path):
        if not path.is_file():
            return None
    facts = root.read_json(path)
    if facts.pop("seal", None) != _seal(facts):
        raise DamagedModelError(path, "it is not what was written at conversion")
    return facts if all((folder / name).is_file() for name in facts["files"]) else None


def check(folder: Path, sha256: Callable[[Path], str] = root.file_sha256) -> Facts | None:
    """Compare every file with its hash, and return the facts as `read_note` does.

    Hashes are remembered (see root.file_sha256) as long as the size, dates and inode of a file
    stay the same. A failing disk, or a user who may write to the cache's folder `hashes`, can
    change bytes without changing these; only reading the files again finds that: `fad-onnx verify`,
    or `sha256=read_sha256`. Raises DamagedModelError.
    """
    facts = read_note(folder)
    for name, expected in facts["files"].items() if facts else ():
        got = sha256(folder / name)
        if got != expected:
            raise DamagedModelError(folder / name, f"sha256 expected {expected}, got {got}")
    return facts


def read_sha256(path: Path) -> str:
    """SHA-256 of a file as it is on disk, ignoring remembered hashes."""
    with guarded(path, CheckpointError), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def note_use(folder: Path) -> None:
    """Record in the date of a model's folder, to the hour, that it was loaded."""
    try:
        if time.time() - folder.stat().st_mtime >= USED_SECONDS:
            os.utime(folder)
    except OSError as error:  # a shared cache that is read-only for this user
        logger.debug("%s: %s", folder, error)
