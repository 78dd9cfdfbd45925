"""The table of models, artifacts.json, and the values that it is read into.

`graphs` lists the hash of every graph file. `networks`, `preparations` and `models` hold named
entries. An entry with ``"extends": NAME`` starts from that entry of its section and lists only what
differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from ..errors import ModelTableError, OptionError, UnknownModelError
from .changes import changed
from .network import DIGESTS, Network, Output
from .preparation import Preparation
from .protocols import Protocol
from .schema import from_json, value_of
from .spec import NATIVE

SCHEMA = 2
PACKAGE = Path(__file__).resolve().parents[1]
SECTIONS = ("networks", "preparations", "protocols", "models")
TOP = {"schema", "graphs", *SECTIONS}


@dataclass(frozen=True)
class Option:
    """A choice that a model leaves to the user.

    Attributes
    ----------
    help : str
        A one-line description.
    default : str
        The value used if none is given. It must never change, because labels leave it out.
    values : tuple of str
        The allowed values; empty allows any whole number.
    sets : str or None
        The field to set, such as "preparation.windows.long" or "output.tensor".
    template : str
        The text to set it to, such as "layer_{}".
    when : mapping of str to mapping
        The fields to change for a value, if it changes several fields or none.
    """

    help: str
    default: str
    values: tuple[str, ...] = ()
    sets: str | None = None
    template: str = "{}"
    when: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def changes(self, value: str) -> dict[str, Any]:
        """The fields, as dotted paths, that this value changes, with their new values."""
        written = {self.sets: self.template.format(value)} if self.sets else {}
        return {**written, **self.when.get(value, {})}


@dataclass(frozen=True)
class Published:
    """A published answer of the official weights: the mean and the standard deviation of all
    numbers in the embeddings of a sine, within a relative tolerance.
    """

    source: str
    sine_hz: float
    seconds: float
    mean: float
    deviation: float
    tolerance: float
    options: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Model:
    """A named entry of the table: a network, its preparation, its options.

    Attributes
    ----------
    name, summary : str
        Its name and a one-line description.
    network : Network
        The network.
    preparation : Preparation
        The default preparation, which is the protocol "native".
    note : str or None
        A remark to print with every score.
    default : bool
        Whether this is the default model.
    aliases : tuple of mapping
        Constructor arguments of `frechet_audio_distance.FrechetAudioDistance` that select it.
    options : mapping of str to Option
        The options that a user can set.
    published : tuple of Published
        Known answers of the official weights.
    protocols : mapping of str to Protocol
        The protocols that define it, except "native".
    """

    name: str
    summary: str
    network: Network
    preparation: Preparation
    note: str | None = None
    default: bool = False
    aliases: tuple[Mapping[str, Any], ...] = ()
    options: Mapping[str, Option] = field(default_factory=dict)
    published: tuple[Published, ...] = ()
    protocols: Mapping[str, Protocol] = field(default_factory=dict)

    def choose(self, options: Mapping[str, Any] | None = None) -> dict[str, str]:
        """Fill in the defaults of all options.

        Raises
        ------
        OptionError
            For an unknown option or a value that is not allowed.
        """
        chosen = {name: option.default for name, option in self.options.items()}
        for name, value in (options or {}).items():
            chosen[name] = self._checked(name, str(value).lower())
        return chosen

    def _checked(self, name: str, value: str) -> str:
        option = self.options.get(name)
        if option is None:
            known = ", ".join(self.options) or "none"
            raise OptionError(f"option {name}", f"{self.name} has no such option ({known})")
        if option.values and value not in option.values:
            raise OptionError(f"option {name}={value}", f"one of {', '.join(option.values)}")
        if not option.values and not (value.isascii() and value.isdecimal() and len(value) < 20):
            raise OptionError(f"option {name}={value[:40]}", "a whole number below 10^19")
        return value

    def default_output(self, protocol: str = NATIVE) -> str:
        """The name of the output that the protocol takes: the network's first, if it says none."""
        own = self.protocols.get(protocol)
        chosen = own.output_of(self.name) if own else None
        return chosen or next(iter(self.network.outputs))

    def output(self, name: str | None = None) -> Output:
        """The network's output of this name; the first is the default.

        Raises
        ------
        OptionError
            If the network has no such output.
        """
        outputs = self.network.outputs
        if name is None:
            return next(iter(outputs.values()))
        if name not in outputs:
            known = ", ".join(outputs)
            raise OptionError(f"output={name}", f"{self.name} has the outputs {known}")
        return outputs[name]


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
    nets = {name: _checked(_network(name, data, hashes)) for name, data in networks.items()}
    prepared = {
        name: from_json(Preparation, data, f"preparations.{name}")
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
                raise ModelTableError(place, f"{min(undefined)!r} is no model of the protocol")
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
    return _merged(inherited, {name: value for name, value in entry.items() if name != "extends"})


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    both = {
        key: _merged(base[key], value)
        if isinstance(value, dict) and isinstance(base.get(key), dict)
        else value
        for key, value in own.items()
    }
    return {**base, **both}


def _checked(network: Network) -> Network:
    where = f"networks.{network.name}"
    for name, checkpoint in network.checkpoints.items():
        for kind, digest in checkpoint.digests.items():
            if not re.fullmatch(DIGESTS.get(kind, "$."), digest):
                place = f"{where}.checkpoints.{name}.digests.{kind}"
                raise ModelTableError(place, f"{digest!r} is no digest of {', '.join(DIGESTS)}")
        for pattern in (*checkpoint.aliases, *checkpoint.computed):
            try:
                re.compile(pattern)
            except re.error as error:
                place = f"{where}.checkpoints.{name}: {pattern}"
                raise ModelTableError(place, f"no regular expression: {error}") from error
    if not network.outputs:
        raise ModelTableError(f"{where}.outputs", "needs one")
    heads = [network.head] if network.head else []
    parts = {**network.outputs, **({"text": network.text} if network.text else {})}
    for graph in [*(network.graph_of(part) for part in parts.values()), *heads]:
        if graph not in network.hashes:
            raise ModelTableError(where, f"the graph {graph!r} is not in `graphs`")
    for name, output in parts.items():
        for key in output.checkpoints:
            if key not in network.checkpoints:
                raise ModelTableError(f"{where}.outputs.{name}", f"no checkpoint {key!r}")
    return network


def _model(
    name: str,
    data: Mapping[str, Any],
    networks: Mapping[str, Network],
    preparations: Mapping[str, Preparation],
    protocols: Mapping[str, Protocol],
) -> Model:
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
    """The table as JSON has it, with what was registered."""
    table: dict[str, Any] = json.loads(_text())
    return table


@cache
def models() -> dict[str, Model]:
    """All models of the table, and those that were registered."""
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
        If there is none, or it is "native", which changes nothing; with the names that there are.
    """
    known = {key: one for entry in models().values() for key, one in entry.protocols.items()}
    if name not in known:
        raise OptionError(f"protocol={name}", f"one of {', '.join([NATIVE, *known])}")
    return known[name]


def resolve_alias(name: str, **arguments: Any) -> Model:
    """The model for constructor arguments of `frechet_audio_distance.FrechetAudioDistance`.

    If several models fit, the first in the table is chosen: its order follows the defaults of that
    class. A name that is no alias is taken as the name of a model.

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
