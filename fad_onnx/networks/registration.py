"""Models of the user, added to the table of this process."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from threading import RLock
from typing import Any

from ..errors import ModelTableError
from . import table
from .network import Network

OWN = ("graphs", "networks", "preparations", "models")
INLINE = {"network": "networks", "preparation": "preparations"}


@dataclass(frozen=True)
class Registration:
    """A document of entries as JSON text, and the folder of its graphs."""

    text: str
    folder: str


_made: dict[Registration, tuple[str, ...]] = {}
_places: dict[str, Path] = {}  # the paths of the graphs of all entries so far
_lock = RLock()


def registered() -> tuple[Registration, ...]:
    """All registrations of this process, for workers."""
    return tuple(_made)


def register_again(one: Registration) -> tuple[str, ...]:
    """Add what another process has registered, unless it is known already."""
    with _lock:
        if one not in _made:
            _made[one] = _added(_sections(json.loads(one.text)), Path(one.folder))
        return _made[one]


def register(document: Mapping[str, Any], folder: Path) -> tuple[str, ...]:
    """Add entries to the table; see `fad_onnx.register`.

    Raises
    ------
    ModelTableError
        If an entry is not valid, its name is taken, or a graph is missing or of another hash.
    """
    try:
        text = json.dumps(document, sort_keys=True)
    except (TypeError, ValueError) as error:
        raise ModelTableError("the entry", f"is not JSON: {error}") from error
    return register_again(Registration(text, str(folder.absolute())))


def read(path: Path) -> tuple[str, ...]:
    """Register the entries of a JSON file; its graphs are named relative to it."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ModelTableError(str(path), f"cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise ModelTableError(str(path), f"is not JSON: {error}") from error
    return register(document, path.parent)


def _sections(document: Any) -> dict[str, dict[str, Any]]:
    """A document with the sections of the table; a single model is split into its sections."""
    document = _object(document, "the entry")
    if "name" not in document:
        if unknown := document.keys() - {*OWN, "schema"}:
            raise ModelTableError(min(unknown), f"is not one of {', '.join(('name', *OWN))}")
        return {section: _object(document.get(section, {}), section) for section in OWN}
    name, entry = document["name"], document
    found: dict[str, dict[str, Any]] = {section: {} for section in OWN}
    found["graphs"] = dict(entry.pop("graphs", {}))
    for key, section in INLINE.items():
        if isinstance(entry.get(key), dict):
            found[section][name] = entry[key]
            entry[key] = name
    found["models"][name] = {key: value for key, value in entry.items() if key != "name"}
    return found


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ModelTableError(where, f"needs an object, found {type(value).__name__}")
    return dict(value)


def _added(own: dict[str, dict[str, Any]], folder: Path) -> tuple[str, ...]:
    whole = table.raw()
    for section, entries in own.items():
        if taken := entries.keys() & whole[section].keys():
            raise ModelTableError(f"{section}.{min(taken)}", "is there already; choose a new name")
    places = {graph: folder / graph for graph in _graphs(own, whole["graphs"].keys() - _places)}
    hashes = {graph: _hash(graph, path, own) for graph, path in places.items()}
    own = {**own, "graphs": hashes}
    merged = {**whole, **{section: {**whole[section], **own[section]} for section in OWN}}
    parsed = table.read(merged)
    places = {**_places, **places}
    models = {name: parsed[name] for name in own["models"]}
    for name, one in models.items():
        table.models()[name] = replace(one, network=_placed(one.network, places))
    whole.update(merged)
    _places.update(places)
    return tuple(models)


def _graphs(own: Mapping[str, Mapping[str, Any]], packaged: Set[str]) -> list[str]:
    """The graph files that the entries name and that the package does not have."""
    named: list[object] = list(own["graphs"])
    for entry in own["networks"].values():
        if isinstance(entry, dict):
            parts = [entry, entry.get("tiles"), *dict(entry.get("outputs", {})).values()]
            named += [part.get(key) for part in parts if isinstance(part, dict)
                      for key in ("graph", "head")]  # fmt: skip
    graphs = [one for one in dict.fromkeys(named) if isinstance(one, str)]
    return [one for one in graphs if one in own["graphs"] or one not in packaged]


def _hash(graph: str, path: Path, own: Mapping[str, Mapping[str, Any]]) -> str:
    place, expected = f"graphs.{graph}", own["graphs"].get(graph)
    try:
        got = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelTableError(place, f"{path} cannot be read: {error.strerror}") from error
    if expected and got != expected:
        raise ModelTableError(place, f"sha256 expected {expected}, got {got} of {path}")
    return got


def _placed(network: Network, places: Mapping[str, Path]) -> Network:
    graphs = {network.graph_of(output) for output in network.outputs.values()}
    graphs |= {network.head} if network.head else set()
    own = {graph: places[graph] for graph in graphs if graph in places}
    return replace(network, places=own)
