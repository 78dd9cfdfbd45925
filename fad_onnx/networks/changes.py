"""Changes of an output and a preparation by an option: dotted fields with new values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar, get_args, get_type_hints

from ..errors import ModelTableError
from .network import Output
from .preparation import Preparation
from .schema import value_of

V = TypeVar("V")


def changed(
    output: Output, preparation: Preparation, changes: Mapping[str, Any], where: str
) -> tuple[Output, Preparation]:
    """An output and a preparation with some dotted fields replaced.

    Raises
    ------
    ModelTableError
        If there is no such field, or it does not take the value.
    """
    parts: dict[str, Any] = {"output": output, "preparation": preparation}
    for path, value in changes.items():
        root, _, rest = path.partition(".")
        if root not in parts or not rest:
            raise ModelTableError(where, f"{path!r} is not output.FIELD or preparation.FIELD")
        parts[root] = _with(parts[root], rest, value, where)
    return parts["output"], parts["preparation"]


def _with(holder: V, path: str, value: Any, where: str) -> V:
    name, _, rest = path.partition(".")
    if not is_dataclass(holder) or name not in {field.name for field in fields(holder)}:
        raise ModelTableError(where, f"{type(holder).__name__} has no field {name!r}")
    if rest:
        inner = _with(getattr(holder, name), rest, value, where)
        return replace(holder, **{name: inner})  # type: ignore[type-var]
    hint = get_type_hints(type(holder))[name]
    if isinstance(value, str) and value.isdecimal() and int in (hint, *get_args(hint)):
        value = int(value)
    return replace(holder, **{name: value_of(hint, value, f"{where}: {name}")})  # type: ignore[type-var]
