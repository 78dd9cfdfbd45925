"""Resolves a request for a model into its output, preparation, label and fingerprint."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product
from operator import attrgetter
from types import SimpleNamespace
from typing import Any

from ..errors import ModelTableError, OptionError
from .changes import changed
from .network import Network, Output
from .pooling import check_spread
from .preparation import Preparation
from .schema import canonical, complete
from .spec import NATIVE, ModelSpec
from .table import Model, Option, model, protocol

FINGERPRINT_VERSION = 2
TEXT = "text"  # the name of the text tower among outputs


@dataclass(frozen=True)
class Selection:
    """A model with its options resolved: an output of its network and a preparation.

    Attributes
    ----------
    model : Model
        The entry of the table.
    options : mapping of str to str
        All options, with defaults filled in.
    output_name : str
        The name of the output.
    output : Output
        The output, after the changes of the options.
    preparation : Preparation
        The preparation, after the changes of the protocol and the options.
    protocol : str
        The name of the protocol.
    decided : frozenset of str
        The options that were given and differ from what the protocol sets.
    """

    model: Model
    options: Mapping[str, str]
    output_name: str
    output: Output
    preparation: Preparation
    protocol: str = NATIVE
    decided: frozenset[str] = frozenset()

    @property
    def network(self) -> Network:
        """The network of the model."""
        return self.model.network

    @property
    def graph(self) -> str:
        """The graph file that computes the output."""
        return self.network.graph_of(self.output)

    @property
    def graph_sha256(self) -> str:
        """The hash of the graph file."""
        return self.network.hashes[self.graph]

    @property
    def head_sha256(self) -> str | None:
        """The hash of the head graph, if the network has one."""
        return self.network.hashes[self.network.head] if self.network.head else None

    @property
    def tensors(self) -> set[str]:
        """The values of the graph that runs fetch: the output, or the steps of tiles."""
        tiles = self.network.tiles
        return {*self.output.values, *([tiles.tensor] if tiles else [])}

    @property
    def width(self) -> int:
        """The dimension of an embedding."""
        return 1 if self.preparation.pooling.over == "numbers" else self.output.width

    @cached_property
    def changed_options(self) -> dict[str, str]:
        """The options that differ from their values when none are given, in the entry's order."""
        return {
            name: value
            for name, value in self.options.items()
            if value != self.model.options[name].default or name in self.decided
        }

    def decoding(self, sample_format: str) -> Selection:
        """The same selection, with PCM decoded as this type.

        Raises
        ------
        OptionError
            For a type that does not exist.
        """
        try:
            _, prepared = changed(
                self.output, self.preparation, {"preparation.sample_format": sample_format}, "-"
            )
        except ModelTableError as error:
            problem = f"{sample_format!r} is not float32, float64, int16 or int32"
            raise OptionError("sample_format", problem) from error
        return replace(self, preparation=prepared)

    @cached_property
    def output_options(self) -> dict[str, str]:
        """The options that select a graph or a value in it, in alphabetical order."""
        return {
            name: value
            for name, value in sorted(self.options.items())
            if _changes_output(self.model, name)
        }

    @cached_property
    def label(self) -> str:
        """The name of the model with all non-default options; the key of every result."""
        default = self.model.default_output(self.protocol)
        output = None if self.output_name in (default, TEXT) else self.output_name
        protocol = None if self.protocol == NATIVE else self.protocol
        return str(ModelSpec(self.model.name, self.changed_options, output, protocol))

    @property
    def note(self) -> str | None:
        """The notes of the model and the protocol, which are shown with every score."""
        notes = [self.model.note]
        if self.protocol != NATIVE:
            notes.append(self.model.protocols[self.protocol].note)
        return " ".join(note for note in notes if note) or None

    def describe(self) -> dict[str, Any]:
        """The network, output and preparation as plain values, for results and files."""
        return self._described(complete)

    def _described(self, plain: Callable[[Any], Any]) -> dict[str, Any]:
        revision = self.network.revision
        return {
            "network": {
                "name": self.network.name,
                **({"revision": revision} if revision > 1 else {}),
            },
            "output": {"name": self.output_name, **plain(self.output)},
            "preparation": plain(self.preparation),
        }

    def fingerprint(self, tensors_sha256: str) -> str:
        """A hash of everything that two datasets must share for their embeddings to be comparable.

        Parameters
        ----------
        tensors_sha256 : str
            The hash of the tensors that were bound to the graph.

        Returns
        -------
        str
            SHA-256 of the canonical JSON of the tensors, the output and the preparation, without
            nulls and defaults: a new field with a default changes no fingerprint.
        """
        defines = {
            "version": FINGERPRINT_VERSION,
            "tensors": tensors_sha256,
            **self._described(canonical),
        }
        text = json.dumps(defines, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


def select(spec: ModelSpec | str | None = None) -> Selection:
    """Resolve a specification, filling in all defaults.

    Parameters
    ----------
    spec : ModelSpec, str or None
        The specification; None is the default model.

    Returns
    -------
    Selection
        The model, its output and its preparation.

    Raises
    ------
    UnknownModelError, OptionError
        If the model, option, value, output or protocol does not exist.

    Examples
    --------
    >>> select("vggish:use_pca=true").label
    'vggish:use_pca=true'
    """
    if spec is None:
        spec = ModelSpec(model().name)
    elif isinstance(spec, str):
        spec = ModelSpec.parse(spec)
    one = model(spec.name)
    return selection_of(one, spec.options, spec.output, spec.protocol or NATIVE)


def selection_of(
    one: Model,
    options: Mapping[str, Any] | None = None,
    output: str | None = None,
    protocol: str = NATIVE,
) -> Selection:
    """The selection of a given model; see `select`.

    An option that is given overrides the protocol, even with the value that is its default; the
    protocol overrides the defaults.
    """
    chosen, name = one.choose(options), output or one.default_output(protocol)
    native = {"output": one.output(name), "preparation": one.preparation}
    settings = {key: _settings(one.options[key], chosen[key], native) for key in chosen}
    defaults = {path: value for each in settings.values() for path, value in each.items()}
    given = {path: value for key in options or {} for path, value in settings[key].items()}
    of_harness = _of_protocol(one, protocol)
    made, prepared = changed(
        one.output(name), one.preparation, {**defaults, **of_harness, **given},
        f"models.{one.name}.options",
    )  # fmt: skip
    overruled = {path for path, value in of_harness.items() if given.get(path, value) != value}
    decided = frozenset(key for key in options or {} if overruled & settings[key].keys())
    if prepared.pooling.over == "numbers" and output not in (None, next(iter(one.network.outputs))):
        problem = f"does not have the output {output} of {one.name}"
        raise OptionError(f"protocol={protocol}", problem)
    check_spread(prepared.pooling, made, f"{one.name}:output={name}")
    return Selection(one, chosen, name, made, prepared, protocol, decided)


def _settings(option: Option, value: str, native: Mapping[str, Any]) -> dict[str, Any]:
    """Every field that the option can set, with its content for this value."""
    governed = [path for other in option.values for path in option.changes(other)]
    found = {path: attrgetter(path)(SimpleNamespace(**native)) for path in governed}
    return {**found, **option.changes(value)}


def _of_protocol(one: Model, name: str) -> dict[str, Any]:
    if name == NATIVE:
        return {}
    if name in one.protocols:
        return one.protocols[name].changes_of(one.name)
    problem = f"{one.name} is not defined by it, but {', '.join(protocol(name).models)}"
    raise OptionError(f"protocol={name}", problem)


def variants(one: Model) -> tuple[Selection, ...]:
    """A selection for each output and each combination of the options that change an output.

    If an option selects a layer of the network, the default layer and the first represent all
    layers: every layer is computed by the same rules, and the last one needs all others.

    Parameters
    ----------
    one : Model
        The entry.

    Returns
    -------
    tuple of Selection
        The selection of the first output, with all defaults, comes first.
    """
    names = [name for name in one.options if _changes_output(one, name)]
    values = [_told_apart(one.options[name]) for name in names]
    return tuple(
        selection_of(one, dict(zip(names, combination, strict=True)), output)
        for output in one.network.outputs
        for combination in product(*values)
    )


def text_tower(one: Model) -> Selection | None:
    """The selection of a model's text tower, if it has one."""
    tower = one.network.text
    return Selection(one, one.choose(), TEXT, tower, one.preparation) if tower else None


def parts(one: Model) -> tuple[Selection, ...]:
    """All `variants`, and the text tower if there is one."""
    tower = text_tower(one)
    return (*variants(one), *([tower] if tower else []))


def _told_apart(option: Option) -> tuple[str, ...]:
    others = [value for value in option.values if value != option.default]
    return option.default, *(others[:1] if option.sets else others)


def _changes_output(one: Model, name: str) -> bool:
    option = one.options[name]
    changes = [path for value in option.values for path in option.changes(value)]
    return any(path.startswith("output.") for path in changes)
