"""How a dataset was made, as far as that is on record, and where two differ in it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ..errors import shown

# What is recorded of a dataset without being a part of its fingerprint, in words.
RECORDED: Mapping[str, str] = {
    "short_clips": "short clips",
    "provider": "provider",
    "onnxruntime": "ONNX Runtime",
    "fad_onnx": "fad-onnx",
    "graph_sha256": "graph",
}


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What is recorded otherwise of the second dataset than of the first, with both values.

    Nothing where either dataset records nothing at all.
    """
    if not first or not second:
        return []
    return [
        f"{words} {text(first.get(key))} and {text(second.get(key))}"
        for key, words in RECORDED.items()
        if first.get(key) != second.get(key)
    ]


def mixed(found: Mapping[str, Any]) -> list[str]:
    """What is recorded with several values, since the parts of a merged dataset differed."""
    return [
        f"{words} {text(found[key])}"
        for key, words in RECORDED.items()
        if isinstance(found.get(key), list)
    ]


def defining(first: Mapping[str, Any], second: Mapping[str, Any]) -> list[str]:
    """What defines an embedding and differs, where both protocols say it."""
    ours, theirs = _flat(first), _flat(second)
    return [
        f"{key} {text(value)} and {text(theirs[key])}"
        for key, value in ours.items()
        if key in theirs and key not in RECORDED and value != theirs[key]
    ]


def together(values: Sequence[Any]) -> Any:
    """One value where all that are recorded agree, else the list of them; mappings key by key."""
    said = [value for value in values if value is not None]
    if said and all(isinstance(value, Mapping) for value in said):
        keys = dict.fromkeys(key for value in said for key in value)
        return {key: together([value.get(key) for value in said]) for key in keys}
    distinct = _distinct(said)
    return distinct[0] if len(distinct) == 1 else distinct or None


def shared(every: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The entries in which all of these that say anything agree."""
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
    """The values that an earlier merge has put together, or the one."""
    return value if isinstance(value, list) else [value]


def _distinct(values: Iterable[Any]) -> list[Any]:
    """Each once, in order; a value may itself be the list of an earlier merge."""
    found: list[Any] = []
    for value in values:
        for one in several(value):
            if one not in found:
                found.append(one)
    return found


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """{"windows": {"tail": "pad"}} -> {"windows.tail": "pad"}, with values as JSON gives them."""
    found: dict[str, Any] = {}
    for key, value in json.loads(json.dumps(tree)).items():
        if isinstance(value, dict):
            found |= {f"{key}.{name}": inner for name, inner in _flat(value).items()}
        else:
            found[key] = value
    return found
