"""The initializers of an ONNX model: names, dtypes, shapes, and the positions of their bytes.

Read straight from the protocol buffers, so the package `onnx` is not needed. Field numbers:
onnx/onnx.proto3 (ModelProto, GraphProto, TensorProto, StringStringEntryProto).
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

from .mapped import Mapped, Path, quoted
from .onnx_tensors import TensorInfo, tensor
from .protobuf import BYTES, Field, fields, message, text, varints, written
from .tensors import ELEMENTS, Element, LazyTensor, whole_numbers

_MODEL_GRAPH, _MODEL_IR = 7, 1
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_OUTPUT = 1, 5, 12
_NODE_INPUT, _NODE_OUTPUT, _NODE_ATTRIBUTE = 1, 2, 5
_ATTRIBUTE_GRAPHS = (6, 11)
_VALUE_NAME = 1  # field of ValueInfoProto
# TensorProto.DataType -> element, and the field that holds it when raw_data does not.
_FLOATS, _INT32S, _INT64S, _DOUBLES, _UINT64S = 4, 5, 7, 10, 11
_TYPES = {
    1: ("float32", _FLOATS),
    2: ("uint8", _INT32S),
    3: ("int8", _INT32S),
    4: ("uint16", _INT32S),
    5: ("int16", _INT32S),
    6: ("int32", _INT32S),
    7: ("int64", _INT64S),
    9: ("bool", _INT32S),
    10: ("float16", _INT32S),
    11: ("float64", _DOUBLES),
    12: ("uint32", _UINT64S),
    13: ("uint64", _UINT64S),
    14: ("complex64", _FLOATS),
    15: ("complex128", _DOUBLES),
    16: ("bfloat16", _INT32S),
}
_RAW, _NAME, _DIMS, _TYPE, _EXTERNAL, _LOCATION = 9, 8, 1, 2, 13, 14
_COST_BYTES = 3000


def initializers(path: Path) -> dict[str, TensorInfo]:
    """Name -> initializer of the main graph, in the graph's order; nothing is read.

    CheckpointError if the file is no ONNX model, is damaged, names a tensor twice or has an
    element type that NumPy lacks (text, 4 and 8 bit floats).
    """
    return _initializers(Mapped(path))


def behind(path: Path, value: str) -> set[str]:
    """The names of a value and of everything in the main graph from which it is computed."""
    file = Mapped(path)
    return _behind(file, _graph(file), {value})[0]


def pruned(path: Path, outputs: Iterable[str]) -> bytes | None:
    """The model with only these outputs, and the nodes and initializers that they need.

    Returns
    -------
    bytes or None
        A model; external tensors stay where they are. None if every node is needed.
    """
    file, wanted = Mapped(path), set(outputs)
    graph = _graph(file)
    needed, unneeded = _behind(file, graph, wanted)
    if not unneeded:
        return None
    names = {_GRAPH_INITIALIZER: (_NAME, needed), _GRAPH_OUTPUT: (_VALUE_NAME, wanted)}

    def kept(field: Field) -> bool:
        if field.number == _GRAPH_NODE:
            return field.start not in unneeded
        number, among = names.get(field.number, (0, set()))
        return not number or bool(_names(file, field, number) & among)

    inner = b"".join(
        written(file, field) for field in fields(file, graph.start, graph.end) if kept(field)
    )
    return b"".join(
        message(_MODEL_GRAPH, inner) if field.number == _MODEL_GRAPH else written(file, field)
        for field in fields(file, 0, file.size)
    )


def outputs(path: Path) -> list[str]:
    """The names of the model's outputs, in its order."""
    file = Mapped(path)
    graph = _graph(file)
    found = (one for one in fields(file, graph.start, graph.end) if one.number == _GRAPH_OUTPUT)
    return [name for field in found for name in _names(file, field, _VALUE_NAME)]


def _graph(file: Mapped) -> Field:
    return next(one for one in fields(file, 0, file.size) if one.number == _MODEL_GRAPH)


def _behind(file: Mapped, graph: Field, values: set[str]) -> tuple[set[str], set[int]]:
    """The names of everything that these values need, and where the other nodes start."""
    nodes = [one for one in fields(file, graph.start, graph.end) if one.number == _GRAPH_NODE]
    found, unneeded = set(values), set()
    for node in reversed(nodes):  # ONNX has them in the order of their computation
        outputs = _names(file, node, _NODE_OUTPUT)
        if found & outputs:
            found |= outputs | _taken(file, node)
        else:
            unneeded.add(node.start)
    return found, unneeded


def _names(file: Mapped, message: Field, number: int) -> set[str]:
    inner = fields(file, message.start, message.end)
    return {text(file, one, "a value's name") for one in inner if one.number == number}


def _taken(file: Mapped, node: Field) -> set[str]:
    """The inputs of a node, and all names in the graphs within it, which see the outer values."""
    found = _names(file, node, _NODE_INPUT)
    for attribute in fields(file, node.start, node.end):
        if attribute.number != _NODE_ATTRIBUTE:
            continue
        for graph in fields(file, attribute.start, attribute.end):
            if graph.number in _ATTRIBUTE_GRAPHS and graph.kind == BYTES:
                found |= _named_within(file, graph)
    return found


def _named_within(file: Mapped, graph: Field) -> set[str]:
    found: set[str] = set()
    for inner in fields(file, graph.start, graph.end):
        if inner.number == _GRAPH_NODE:
            found |= _taken(file, inner)
        elif inner.number == _GRAPH_OUTPUT:
            found |= _names(file, inner, _VALUE_NAME)
    return found


def holds(file: Mapped) -> bool:
    """Whether the file starts as an ONNX model does: with its IR version."""
    return file.size > 2 and file.data[0] == _MODEL_IR << 3 and 1 <= file.data[1] <= 64


def read(file: Mapped) -> dict[str, LazyTensor]:
    """Name -> initializer; external ones are looked for in the model's folder when read."""
    return {name: tensor(file, info) for name, info in _initializers(file).items()}


def _initializers(file: Mapped) -> dict[str, TensorInfo]:
    found: dict[str, TensorInfo] = {}
    graphs = 0
    for field in fields(file, 0, file.size):
        if field.number != _MODEL_GRAPH or field.kind != BYTES:
            continue
        graphs += 1
        for inner in fields(file, field.start, field.end):
            if inner.number == _GRAPH_INITIALIZER and inner.kind == BYTES:
                info = _info(file, inner)
                if info.name in found:
                    raise file.error(f"two initializers are called {quoted(info.name)}")
                found[info.name] = info
    if graphs != 1:
        raise file.error(f"holds {graphs} graphs; is it an ONNX model?")
    return found


def _info(file: Mapped, message: Field) -> TensorInfo:
    file.spend(_COST_BYTES)
    name, kind, located, shape = "", 0, 0, list[int]()
    external: dict[str, str] = {}
    content: Field | None = None
    for field in fields(file, message.start, message.end):
        if field.number == _DIMS:
            shape += _dimensions(file, field, len(shape))
        elif field.number == _TYPE:
            kind = field.value
        elif field.number == _NAME:
            name = text(file, field, "an initializer's name")
        elif field.number == _LOCATION:
            located = field.value
        elif field.number == _EXTERNAL and field.kind == BYTES:
            _add_once(file, external, field)
        elif field.number in (_RAW, _FLOATS, _INT32S, _INT64S, _DOUBLES, _UINT64S):
            if content is not None or field.kind != BYTES:
                raise file.error(f"initializer {quoted(name)} holds its elements in pieces")
            content = field
    what = f"initializer {quoted(name)}"
    if kind not in _TYPES:
        raise file.error(f"{what} is of ONNX type {kind}, which NumPy lacks")
    lengths = whole_numbers(file, shape, f"the shape of {what}")
    element = ELEMENTS[_TYPES[kind][0]]
    nbytes = prod(lengths) * element.stored.itemsize
    if located == 1:
        return _external(file, name, element, lengths, external, nbytes)
    if content is None:
        content = Field(_RAW, BYTES, 0, message.end, 0)
    elif content.number not in (_RAW, _TYPES[kind][1]):
        raise file.error(f"{what} of {element.name} has its elements in field {content.number}")
    raw = content.number == _RAW
    if raw and content.length != nbytes:
        raise file.error(f"{what}: {content.length} bytes, shape {lengths} needs {nbytes}")
    return _made(name, element, lengths, "", content.start, content.length, raw)


def _made(
    name: str,
    element: Element,
    shape: tuple[int, ...],
    location: str,
    offset: int,
    length: int,
    raw: bool,
) -> TensorInfo:
    dtype = element.read_as or element.stored
    return TensorInfo(name, dtype, shape, bool(location), location, offset, length, raw, element)


def _dimensions(file: Mapped, field: Field, have: int) -> list[int]:
    if have + field.length > 1024:
        raise file.error("an initializer has too many dimensions")
    return list(varints(file, field))


def _external(
    file: Mapped,
    name: str,
    element: Element,
    shape: tuple[int, ...],
    entries: dict[str, str],
    nbytes: int,
) -> TensorInfo:
    what = f"initializer {quoted(name)}"
    location = entries.get("location", "")
    parts = location.replace("\\", "/").split("/")
    if (
        not location
        or "\0" in location
        or parts[0] in ("", "~")
        or ".." in parts
        or ":" in parts[0]
    ):
        raise file.error(f"{what} is in {quoted(location)}, outside the model's folder; refused")
    offset, length = (
        _decimal(file, entries.get(key, default), what)
        for key, default in (("offset", "0"), ("length", str(nbytes)))
    )
    if length != nbytes:
        raise file.error(f"{what}: {length} bytes, shape {shape} needs {nbytes}")
    return _made(name, element, shape, location, offset, length, True)


def _decimal(file: Mapped, digits: str, what: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
        raise file.error(f"{what} lies at {quoted(digits)}, which is not a number")
    return int(digits)


def _entry(file: Mapped, message: Field) -> tuple[str, str]:
    inner = _first_two(file, message)
    key, value = (text(file, inner[n], "an entry") if n in inner else "" for n in (1, 2))
    return key, value


def _first_two(file: Mapped, message: Field) -> dict[int, Field]:
    """Fields 1 and 2 of a message: key and value, or domain and version."""
    file.spend(500)
    inner = fields(file, message.start, message.end)
    return {field.number: field for field in inner if field.number in (1, 2)}


def _add_once(file: Mapped, entries: dict[str, str], message: Field) -> None:
    key, value = _entry(file, message)
    if key in entries or len(entries) > 8:
        raise file.error(f"an initializer says twice where it lies ({quoted(key)})")
    entries[key] = value
