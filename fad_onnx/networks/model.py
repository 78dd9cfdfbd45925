"""A model: a network with its preparation, its options and its protocols."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError
from .network import Network, Output
from .preparation import Preparation
from .protocols import Protocol
from .spec import NATIVE


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
        For each value, the fields to change, if a value changes several fields or none.
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
        The protocols that define this model, except "native".
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
        """The output that a protocol uses: by default, the first of the network."""
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
