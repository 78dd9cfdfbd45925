"""The table of models, artifacts.json.

`graphs` lists the hash of every graph file. `networks`, `preparations` and `models` hold named
entries. An entry with ``"extends": NAME`` starts from that entry of its section and lists only what
differs. It does not take over that it is the default, aliases, or published answers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ModelTableError, OptionError, UnknownModelError
from .changes import changed
from .checks import check_name, checked_network, checked_preparation
from .model import Model as Model
from .model import Option as Option
from .network import Network
from .preparation import Preparation
from .protocols import Protocol
from .schema import from_json, value_of
from .spec import NATIVE

SCHEMA = 2
PACKAGE = Path(__file__).resolve().parents[1]
SECTIONS = ("networks", "preparations", "protocols", "models")
TOP = {"schema", "graphs", *SECTIONS}
# What is true of one model alone.
NOT_INHERITED = ("default", "aliases", "published")


def parse(text: str) -> dict[str, Model]:
    """Read a table from JSON text.

    Parameters
    ----------
    text : str
        The contents of artifacts.json.

    Returns
    -------
    dict of str to Model
        The models, in the order of the table.

    Raises
    ------
    ModelTableError
        If the table is not valid; the message names the location.
    """
    try:
        table = json.loads(text)
    except ValueError as error:
        raise ModelTableError("the file", f"not JSON: {error}") from error
    return read(table)


def read(table: Any) -> dict[str, Model]:
    """Read a table from the value of its JSON text; see `parse`."""
    if not isinstance(table, dict) or table.get("schema") != SCHEMA:
        found = table.get("schema") if isinstance(table, dict) else None
        raise ModelTableError("schema", f"{found!r}, this release reads {SCHEMA}")
    if set(table) != TOP:
        raise ModelTableError("the top level", f"needs {', '.join(sorted(TOP))}, nothing else")
    hashes = value_of(Mapping[str, str], table["graphs"], "graphs")
    networks, preparations, harnesses, entries = (_section(table, name) for name in SECTIONS)
    nets = {name: checked_network(_network(name, data, hashes)) for name, data in networks.items()}
    prepared = {
        name: checked_preparation(name, from_json(Preparation, data, f"preparations.{name}"))
        for name, data in preparations.items()
    }
    protocols = {
        name: from_json(Protocol, data, f"protocols.{name}", name=name)
        for name, data in harnesses.items()
    }
    models = {
        name: _model(
            name,
            data,
            nets,
            prepared,
            {key: one for key, one in protocols.items() if name in one.models},
        )
        for name, data in entries.items()
    }
    for name, protocol in protocols.items():
        if unknown := protocol.models.keys() - models.keys():
            place = f"protocols.{name}.models.{min(unknown)}"
            raise ModelTableError(place, "there is no such model")
        for metric, definition in protocol.metrics.items():
            if undefined := set(definition.models) - protocol.models.keys():
                place = f"protocols.{name}.metrics.{metric}.models"
                raise ModelTableError(place, f"{min(undefined)!r} is not a model of the protocol")
    if sum(model.default for model in models.values()) != 1:
        raise ModelTableError("models", "exactly one model must be the default")
    return models


def _network(name: str, data: object, hashes: Mapping[str, str]) -> Network:
    return from_json(Network, data, f"networks.{name}", name=name, hashes=hashes, places={})


def _section(table: Mapping[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The entries of a section, each merged with the entry that it extends."""
    section = table[name]
    if not isinstance(section, dict):
        raise ModelTableError(name, f"an object is needed, found {type(section).__name__}")
    return {key: _extended(section, key, f"{name}.{key}", ()) for key in section}


def _extended(
    section: Mapping[str, Any], key: str, where: str, seen: tuple[str, ...]
) -> dict[str, Any]:
    entry = section.get(key)
    if not isinstance(entry, dict):
        raise ModelTableError(where, "an object is needed" if key in section else "does not exist")
    base = entry.get("extends")
    if base is None:
        return entry
    if base in (key, *seen):
        raise ModelTableError(f"{where}.extends", f"{base!r} extends itself")
    inherited = _extended(section, base, f"{where}.extends", (*seen, key))
    inherited = {name: value for name, value in inherited.items() if name not in NOT_INHERITED}
    return _merged(inherited, {name: value for name, value in entry.items() if name != "extends"})


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(base[key], value)
        if isinstance(value, dict) and isinstance(base.get(key), dict)
        else value
        for key, value in own.items()
    }
    return {**base, **both}


def _model(
    name: str,
    data: Mapping[str, Any],
    networks: Mapping[str, Network],
    preparations: Mapping[str, Preparation],
    protocols: Mapping[str, Protocol],
) -> Model:
    check_name(name)
    where, named = f"models.{name}", {}
    for key, section in (("network", networks), ("preparation", preparations)):
        if data.get(key) not in section:
            raise ModelTableError(f"{where}.{key}", f"{data.get(key)!r} does not exist")
        named[key] = section[data[key]]
    rest = {key: value for key, value in data.items() if key not in named}
    model = from_json(Model, rest, where, name=name, protocols=protocols, **named)
    for key, protocol in protocols.items():
        place = f"protocols.{key}.models.{name}"
        if (wanted := model.default_output(key)) not in model.network.outputs:
            raise ModelTableError(f"{place}.output", f"the network has no output {wanted!r}")
        changed(model.output(wanted), model.preparation, protocol.changes_of(name), place)
    for option_name, option in model.options.items():
        _check_option(model, option, f"{where}.options.{option_name}")
    return model


def _check_option(model: Model, option: Option, where: str) -> None:
    """Check that every value of an option changes existing fields to allowed values."""
    for value in option.values or ("0",):
        changed(model.output(), model.preparation, option.changes(value), where)
    if option.values and option.default not in option.values:
        raise ModelTableError(f"{where}.default", f"{option.default!r} is not among its values")
    if unknown := set(option.when) - set(option.values):
        raise ModelTableError(f"{where}.when", f"{min(unknown)!r} is not among its values")


def _text() -> str:
    """The text of the installed table, or of the one in the source tree."""
    places = (PACKAGE / "artifacts.json", PACKAGE.parent / "artifacts.json")
    for place in places:
        if place.is_file():
            return place.read_text("utf-8")
    raise ModelTableError("the file", f"not found at {' or '.join(map(str, places))}")


@cache
def raw() -> dict[str, Any]:
    """The table as JSON values, with registered entries."""
    table: dict[str, Any] = json.loads(_text())
    return table


@cache
def models() -> dict[str, Model]:
    """All models of the table, with registered ones."""
    return parse(_text())


def families() -> dict[str, list[Model]]:
    """The models by the family of their network, both in the order of the table."""
    found: dict[str, list[Model]] = {}
    for one in models().values():
        found.setdefault(one.network.family, []).append(one)
    return found


def model(name: str | None = None) -> Model:
    """The model of this name, or the default.

    Raises
    ------
    UnknownModelError
        If there is none; the message suggests similar names.
    """
    known = models()
    if name is None:
        return next(one for one in known.values() if one.default)
    if name not in known:
        raise UnknownModelError(name, known)
    return known[name]


def protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises
    ------
    OptionError
        If there is none, or it is "native", which changes nothing; the message lists all names.
    """
    known = {key: one for entry in models().values() for key, one in entry.protocols.items()}
    if name not in known:
        raise OptionError(f"protocol={name}", f"one of {', '.join([NATIVE, *known])}")
    return known[name]


def resolve_alias(name: str, **arguments: Any) -> Model:
    """The model for constructor arguments of `frechet_audio_distance.FrechetAudioDistance`.

    If several models fit, the first in the table is chosen: its order follows the defaults of that
    class. A name without an alias is taken as the name of a model.

    Raises
    ------
    OptionError
        If no model fits.
    """
    given = {key: value for key, value in arguments.items() if value is not None}
    named = [(one, alias) for one, alias in _aliases() if alias.get("model_name") == name]
    if not named:
        one = model(name)
        rate = one.preparation.sample_rate_hz
        if given.get("sample_rate", rate) != rate:
            raise OptionError("sample_rate", f"{name} works at {rate} Hz")
        return one
    for one, alias in named:
        if all(alias.get(key, value) == value for key, value in given.items()):
            return one
    choices = "; ".join(
        ", ".join(f"{k}={v!r}" for k, v in alias.items() if k != "model_name") for _, alias in named
    )
    raise OptionError(f"model_name={name!r}", f"no model fits {given}; there are: {choices}")


def _aliases() -> Iterator[tuple[Model, Mapping[str, Any]]]:
    for one in models().values():
        for alias in one.aliases:
            yield one, alias
