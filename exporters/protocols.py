"""The table of protocols: our numbers and the harness' own, of the same clips and weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import harnesses
from .harnesses import Compared, clips

CLIPS = (
    f"{clips.CLIPS} and {clips.CLIPS} synthetic clips, {clips.RATE_HZ / 1000:g} kHz stereo of"
    f" {clips.SECONDS[0]:g} to {max(clips.LONG.values()):g} s, with offsets and peaks near full"
    " scale; synthetic weights"
)


def rows(names: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Compute the rows of some protocols.

    Parameters
    ----------
    names : sequence of str
        PROTOCOL or PROTOCOL/MODEL; all if it is empty. "native" has no harness.

    Yields
    ------
    dict
        `protocol`, `model`, `metric`, `ours`, `theirs` (None for "native") and `difference`.
    """
    known = list(harnesses.cases())
    every = [*known, *(("native", model) for model in dict.fromkeys(model for _, model in known))]
    chosen = [case for case in every if not names or {case[0], "/".join(case)} & set(names)]
    with tempfile.TemporaryDirectory() as folder:
        folders = clips.write(Path(folder))
        for protocol, model in chosen:
            if protocol == "native":
                yield _native(model, folders)
            else:
                yield from map(_row, harnesses.compared(protocol, model, folders))


def _row(one: Compared) -> dict[str, Any]:
    return {**asdict(one), "difference": one.difference}


def _native(model: str, folders: tuple[Path, Path]) -> dict[str, Any]:
    tensors = harnesses.checkpoint(model, 0)
    found = harnesses.scored("native", model, tensors, folders, ["fad"])
    return {
        "protocol": "native", "model": model, "metric": "fad", "ours": found["fad"],
        "theirs": None, "difference": None,
    }  # fmt: skip


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["protocol"], row["model"], row["metric"]


def merged(path: Path, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of the file with these rows in place of its own for the same numbers.

    Parameters
    ----------
    path : Path
        benchmarks/protocols.json; need not exist.
    found : sequence of dict
        What `rows` gave.

    Returns
    -------
    dict
        `clips`, what was compared on, and `rows`, in the order of protocols and models.
    """
    held = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    keyed = {_key(row): row for row in (*held, *found)}
    every = [keyed[key] for key in sorted(keyed)]
    return {"clips": CLIPS, "rows": every}
