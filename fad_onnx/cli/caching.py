"""The contents of the cache, as text or JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ..api.results import SCHEMA
from ..cache.filesystem import megabytes
from ..errors import shown
from ..tools.housekeeping import Item


def as_json(embeddings: Mapping[str, Any], items: Sequence[Item]) -> str:
    """The contents of the cache as JSON."""
    kinds = {
        kind: {
            "bytes": sum(one.bytes for one in items if one.kind == kind),
            "items": [one.to_dict() for one in items if one.kind == kind],
        }
        for kind in ("models", "downloads")
    }
    return json.dumps({"schema": SCHEMA, **embeddings, **kinds}, indent=2)


def as_text(embeddings: Mapping[str, Any], items: Sequence[Item]) -> str:
    """The contents of the cache as text."""
    lines = [f"{key}: {value}" for key, value in embeddings.items()]
    for kind in ("models", "downloads"):
        found = [one for one in items if one.kind == kind]
        lines.append(f"{kind}: {len(found)}, {megabytes(sum(one.bytes for one in found))}")
        lines += [f"  {_item(one)}" for one in found]
    return "\n".join(lines)


def _item(one: Item) -> str:
    made = "; ".join(
        f"{name} {shown(facts['path'])} ({facts['checked']})" for name, facts in one.weights.items()
    )
    unused = "" if one.current else "not used by this release"
    if one.kind == "downloads":
        unused = "" if one.current else "in part"
    used = one.to_dict()["used"]
    parts = [one.path.name, megabytes(one.bytes), f"used {used}", made, unused]
    return ", ".join(filter(None, parts))
