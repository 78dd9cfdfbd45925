"""What a user asks for: a model's name, options, output, protocol and weights, as text or value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import OptionError

RESERVED = ("protocol", "output")
NATIVE = "native"


@dataclass(frozen=True)
class ModelSpec:
    """A model as it is asked for.

    Parameters
    ----------
    name : str
        A name of `fad_onnx.networks()`.
    options : mapping of str to str
        Options of the model, as in ``{"layer": "4"}``.
    output : str
        A named output of the model's network.
    protocol : str
        A named preparation, as a published harness has it.
    weights : mapping of str to str
        Checkpoint name to a file used in place of the official one.

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
        """Read ``NAME`` or ``NAME:KEY=VALUE,KEY=VALUE``.

        Raises
        ------
        OptionError
            If the text has another form, or a key is given twice.
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
            raise OptionError(f"model {text!r}", "a name is missing before the colon")
        protocol, output = (found.pop(key, None) for key in RESERVED)
        return cls(name, found, output, protocol)


def as_text(value: Any) -> str:
    """An option's value as the table writes it: ``True`` is "true", 4 is "4"."""
    return str(value).lower()
