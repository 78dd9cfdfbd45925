"""A request for a model: its name, options, output, protocol and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError

RESERVED = ("protocol", "output")
NATIVE = "native"


@dataclass(frozen=True)
class ModelSpec:
    """A request for a model.

    Parameters
    ----------
    name : str
        The name of a model, as `fad-onnx models` lists it.
    options : mapping of str to str
        Options of the model, such as ``{"layer": "4"}``.
    output : str
        A named output of the model's network.
    protocol : str
        A named preparation, defined by a published evaluation harness.
    weights : mapping of str to str
        Files to use instead of the official checkpoints, by the name of the checkpoint.

    Examples
    --------
    >>> ModelSpec.parse("vggish:use_pca=true")
    ModelSpec(name='vggish', options={'use_pca': 'true'})
    >>> ModelSpec.parse("pann-16k:output=logits").output
    'logits'
    """

    name: str
    options: Mapping[str, str] = field(default_factory=dict)
    output: str | None = None
    protocol: str | None = None
    weights: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        texts = {key: as_text(value) for key, value in self.options.items()}
        object.__setattr__(self, "options", texts)
        object.__setattr__(self, "weights", dict(self.weights))

    def __hash__(self) -> int:
        return hash((self.name, *self._parts(), *sorted(self.weights.items())))

    def __repr__(self) -> str:
        given = [f"name={self.name!r}"]
        given += [
            f"{key}={value!r}"
            for key in ("options", "output", "protocol", "weights")
            if (value := getattr(self, key))
        ]
        return f"ModelSpec({', '.join(given)})"

    def __str__(self) -> str:
        parts = [f"{key}={value}" for key, value in self._parts()]
        return f"{self.name}:{','.join(parts)}" if parts else self.name

    def _parts(self) -> tuple[tuple[str, str], ...]:
        reserved = ((key, getattr(self, key)) for key in RESERVED)
        return (*self.options.items(), *((key, value) for key, value in reserved if value))

    @classmethod
    def parse(cls, text: str) -> ModelSpec:
        """Read the text form.

        Parameters
        ----------
        text : str
            ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``.

        Returns
        -------
        ModelSpec

        Raises
        ------
        OptionError
            If the text is malformed, or a key is given twice.
        """
        name, colon, rest = text.partition(":")
        found: dict[str, str] = {}
        for part in rest.split(",") if colon else ():
            key, equals, value = (piece.strip() for piece in part.partition("="))
            if not (key and equals and value):
                problem = f"{part!r} is not KEY=VALUE, as in NAME:KEY=VALUE,KEY=VALUE"
                raise OptionError(f"model {text!r}", problem)
            if key in found:
                raise OptionError(f"model {text!r}", f"{key} is given twice")
            found[key] = value
        if not name:
            raise OptionError(f"model {text!r}", "the name before the colon is missing")
        protocol, output = (found.pop(key, None) for key in RESERVED)
        return cls(name, found, output, protocol)


def as_text(value: Any) -> str:
    """The value of an option as text, as the table writes it: ``True`` is "true", 4 is "4"."""
    return str(value).lower()
