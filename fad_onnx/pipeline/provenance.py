"""The recorded provenance of datasets, and the differences between two."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import shown

# Recorded facts that are not part of the fingerprint, with their names in messages.
RECORDED: Mapping[str, str] = {
    "short_clips": "short clips",
    "provider": "provider",
    "onnxruntime": "ONNX Runtime",
    "fad_onnx": "fad-onnx",
    "graph_sha256": "graph",
}


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The recorded facts in which two datasets differ, with both values.

    Empty if either dataset records nothing.
    """
    if not first or not second:
        return []
    return [
        f"{words} {text(first.get(key))} and {text(second.get(key))}"
        for key, words in RECORDED.items()
        if first.get(key) != second.get(key)
    ]


def mixed(found: Mapping[str, Any]) -> list[str]:
    """The recorded facts with several values, because the parts of a merged dataset differed."""
    return [
        f"{words} {text(found[key])}"
        for key, words in RECORDED.items()
        if isinstance(found.get(key), list)
    ]


def defining(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """The differences of two protocols that change embeddings."""
    ours, theirs = _flat(first), _flat(second)
    return [
        f"{key} {text(value)} and {text(theirs[key])}"
        for key, value in ours.items()
        if key in theirs and key not in RECORDED and value != theirs[key]
    ]


def together(values: Sequence[Any]) -> Any:
    """One value if all recorded ones agree, else their list; mappings key by key."""
    said = [value for value in values if value is not None]
    if said and all(isinstance(value, Mapping) for value in said):
        keys = dict.fromkeys(key for value in said for key in value)
        return {key: together([value.get(key) for value in said]) for key in keys}
    distinct = _distinct(said)
    return distinct[0] if len(distinct) == 1 else distinct or None


def shared(every: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries that are equal in all mappings that are not empty."""
    first, *others = [one for one in every if one] or [{}]
    return {
        key: value for key, value in first.items() if all(one.get(key) == value for one in others)
    }


def text(value: object) -> str:
    """A recorded value, or several, as one printable text."""
    if value is None:
        return "not recorded"
    if isinstance(value, list):
        return ", ".join(map(text, value))
    return shown(value if isinstance(value, str) else json.dumps(value))


def several(value: Any) -> list[Any]:
    """The values of an earlier merge as a list, or the single value."""
    return value if isinstance(value, list) else [value]


def _distinct(values: Iterable[Any]) -> list[Any]:
    """The distinct values in order; a value may be the list of an earlier merge."""
    found: list[Any] = []
    for value in values:
        for one in several(value):
            if one not in found:
                found.append(one)
    return found


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{"windows": {"tail": "pad"}} -> {"windows.tail": "pad"}, with values as in JSON."""
    found: dict[str, Any] = {}
    for key, value in json.loads(json.dumps(tree)).items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": inner for name, inner in _flat(value).items()}
        else:
            found[key] = value
    return found
