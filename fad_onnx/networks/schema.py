"""Read frozen dataclasses from JSON and write them back, with strict keys and checked types.

`from_json` reads an object by the annotations of a dataclass; absent keys take their defaults.
`canonical` leaves out nulls and defaults, so that adding a field with a default changes no existing
output.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import ModelTableError

T = TypeVar("T")
TAG = "kind"  # the key that names the class of a tagged value


def from_json(cls: type[T], data: object, where: str, **extra: Any) -> T:
    """Read a JSON object into a frozen dataclass.

    Parameters
    ----------
    cls : type
        A dataclass. Values are checked against its annotations; `Literal` lists the allowed
        values; the key "kind" selects the class of a union.
    data : object
        The result of `json.loads`.
    where : str
        The location of the object in its file, for error messages.
    **extra
        Values of fields that the object does not contain.

    Returns
    -------
    T
        The value.

    Raises
    ------
    ModelTableError
        If a key is missing or unknown, or a value has the wrong type or is not allowed.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> from_json(Point, {"x": 3}, "point")
    Point(x=3, y=0)
    """
    if not isinstance(data, Mapping):
        raise ModelTableError(where, f"an object is needed, found {type(data).__name__}")
    known = {field.name: field for field in _fields(cls) if field.name not in extra}
    required = {name for name, field in known.items() if not _has_default(field)}
    for keys, problem in (
        (required - set(data), "missing"),
        (set(data) - set(known) - ({TAG} if hasattr(cls, TAG) else set()), "unknown key"),
    ):
        if keys:
            raise ModelTableError(", ".join(f"{where}.{key}" for key in sorted(keys)), problem)
    hints = get_type_hints(cls)
    values = {
        key: value_of(hints[key], value, f"{where}.{key}")
        for key, value in data.items()
        if key in known
    }
    for key, value in values.items():
        if type(value) is int and value < 1 and value != _default(known[key]):
            raise ModelTableError(f"{where}.{key}", f"{value} is not positive")
    return cls(**extra, **values)


def value_of(hint: Any, value: object, where: str) -> Any:
    """Check a JSON value against an annotation, and convert it."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin is Literal:
        if value not in arguments:
            words = ", ".join(map(str, arguments))
            raise ModelTableError(where, f"{value!r} is not one of {words}")
        return value
    if origin in (types.UnionType, Union):
        return _of_union(arguments, value, where)
    if is_dataclass(hint):
        return from_json(hint, value, where)  # type: ignore[arg-type]
    if origin is tuple and isinstance(value, list | tuple):
        return tuple(value_of(arguments[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if isinstance(origin, type) and issubclass(origin, Mapping) and isinstance(value, Mapping):
        return {key: value_of(arguments[1], v, f"{where}.{key}") for key, v in value.items()}
    if hint is Any or type(value) is hint or (hint is float and type(value) is int):
        return value
    raise ModelTableError(where, f"{value!r} is not {getattr(hint, '__name__', hint)}")


def _of_union(members: tuple[Any, ...], value: object, where: str) -> Any:
    """An optional value, or the dataclass that the object names by its "kind"."""
    if value is None and type(None) in members:
        return None
    tagged = {getattr(member, TAG): member for member in members if hasattr(member, TAG)}
    if tagged:
        kind = value.get(TAG) if isinstance(value, Mapping) else None
        if kind not in tagged:
            raise ModelTableError(f"{where}.{TAG}", f"{kind!r} is not one of {', '.join(tagged)}")
        return from_json(tagged[kind], value, where)
    (member,) = (member for member in members if member is not type(None))
    return value_of(member, value, where)


def complete(value: Any) -> Any:
    """A dataclass as plain JSON values, with all fields.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> complete(Point(3))
    {'x': 3, 'y': 0}
    """
    return _plain(value, lambda field, inner: True)


def canonical(value: Any) -> Any:
    """A dataclass as plain JSON values, without nulls and defaults.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Point:
    ...     x: int
    ...     y: int = 0
    >>> canonical(Point(3)), canonical(Point(3, 4))
    ({'x': 3}, {'x': 3, 'y': 4})
    """
    return _plain(value, lambda field, inner: inner is not None and inner != _default(field))


def _plain(value: Any, wanted: Callable[[Field[Any], Any], bool]) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        tag = getattr(type(value), TAG, None)
        found = {TAG: tag} if tag else {}
        for field in fields(value):
            inner = getattr(value, field.name)
            if wanted(field, inner):
                found[field.name] = _plain(inner, wanted)
        return found
    if isinstance(value, Mapping):
        return {str(key): _plain(inner, wanted) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner, wanted) for inner in value]
    return value


def _fields(cls: Any) -> tuple[Field[Any], ...]:
    return fields(cls)


def _has_default(field: Field[Any]) -> bool:
    return field.default is not MISSING or field.default_factory is not MISSING


def _default(field: Field[Any]) -> Any:
    if field.default_factory is not MISSING:
        return field.default_factory()
    return field.default
