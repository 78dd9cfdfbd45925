"""Writes the containers byte by byte, so that tests need neither torch nor onnx."""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
from dataclasses import dataclass, field

import numpy as np

from fad_onnx.weights.checkpoints.tensors import LazyTensor

STORAGES = {
    "<f8": "Double", "<f4": "Float", "<f2": "Half", "<i8": "Long", "<i4": "Int", "<i2": "Short",
    "|i1": "Char", "|u1": "Byte", "|b1": "Bool", "<c8": "ComplexFloat", "<c16": "ComplexDouble",
}  # fmt: skip


def line(module, name):
    """The opcode GLOBAL."""
    return f"c{module}\n{name}\n".encode()


@dataclass
class Code:
    """Opcodes as they are."""

    data: bytes


@dataclass
class Call:
    """A global applied to arguments, then given items and a state."""

    module: str
    name: str
    arguments: tuple = ()
    items: dict | None = None
    state: object = None


@dataclass
class Storage:
    """Elements; every tensor on the same Storage object shares them."""

    elements: np.ndarray
    location: str = "cpu"
    type_name: str | None = None
    module: str = "torch"

    @property
    def kind(self):
        return self.type_name or STORAGES[self.elements.dtype.str]


@dataclass
class Tensor:
    """A strided look into a storage, in elements."""

    storage: Storage
    offset: int
    shape: tuple
    stride: tuple
    rest: tuple = (False, Call("collections", "OrderedDict"))


def tensor(array, **options):
    """A contiguous tensor with a storage of its own."""
    array = np.asarray(array)
    stride = tuple(step // array.itemsize for step in np.empty(array.shape, array.dtype).strides)
    return Tensor(Storage(array.reshape(-1), **options), 0, array.shape, stride)


def ordered(**items):
    """A state_dict: an OrderedDict with _metadata, as nn.Module.state_dict() makes it."""
    metadata = {"_metadata": Call("collections", "OrderedDict", (), {"": {"version": 1}})}
    return Call("collections", "OrderedDict", (), items, metadata)


@dataclass
class Pickler:
    """Protocol 2 without memo: what it is told to write, however wrong."""

    legacy: bool = False
    storages: list = field(default_factory=list)

    def dumps(self, value):
        return b"\x80\x02" + self.body(value) + b"."

    def body(self, value):
        match value:
            case Code():
                return value.data
            # Before float, which float64 is too.
            case np.ndarray() | np.generic():
                # NumPy's own pickling, without PROTO and STOP.
                return pickle.dumps(value, 2)[2:-1]
            case None:
                return b"N"
            case True:
                return b"\x88"
            case False:
                return b"\x89"
            case int():
                return self.integer(value)
            case float():
                return b"G" + struct.pack(">d", value)
            case str():
                raw = value.encode()
                return b"X" + struct.pack("<I", len(raw)) + raw
            case tuple():
                return b"(" + b"".join(map(self.body, value)) + b"t"
            case list():
                return b"](" + b"".join(map(self.body, value)) + b"e"
            case dict():
                return b"}" + self.items(value)
            case Call():
                return self.call(value)
            case Tensor():
                return self.tensor(value)
        raise TypeError(type(value))

    def integer(self, value):
        if -(2**31) <= value < 2**31:
            return b"J" + struct.pack("<i", value)
        raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        return b"\x8a" + bytes([len(raw)]) + raw

    def items(self, items):
        pairs = b"".join(self.body(part) for pair in items.items() for part in pair)
        return b"(" + pairs + b"u"

    def call(self, call):
        code = line(call.module, call.name) + self.body(call.arguments) + b"R"
        if call.items is not None:
            code += self.items(call.items)
        if call.state is not None:
            code += self.body(call.state) + b"b"
        return code

    def tensor(self, value):
        identity = self.storage(value.storage)
        shape = (value.offset, value.shape, value.stride, *value.rest)
        arguments = b"(" + identity + b"".join(map(self.body, shape)) + b"t"
        return line("torch._utils", "_rebuild_tensor_v2") + arguments + b"R"

    def storage(self, storage):
        if not any(storage is known for known in self.storages):
            self.storages.append(storage)
        key = str(next(i for i, known in enumerate(self.storages) if known is storage))
        kind = Code(line(storage.module, storage.kind + "Storage"))
        identity = ("storage", kind, key, storage.location, len(storage.elements))
        return self.body(identity + ((None,) if self.legacy else ())) + b"Q"


def torch_zip(value, root="archive", byteorder=b"little", extra=()):
    """The bytes of the zip container; `extra` are further members (name, bytes)."""
    pickler = Pickler()
    members = [(f"{root}/data.pkl", pickler.dumps(value))]
    if byteorder is not None:
        members.append((f"{root}/byteorder", byteorder))
    for key, storage in enumerate(pickler.storages):
        members.append((f"{root}/data/{key}", storage.elements.tobytes()))
    return zipped([*members, *extra, (f"{root}/version", b"3\n")])


def zipped(members, method=zipfile.ZIP_STORED):
    """A zip archive of (name, bytes)."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name), data, compress_type=method)
    return out.getvalue()


def torch_legacy(value, little_endian=True, keys=None):
    """The bytes of the legacy container."""
    pickler = Pickler(legacy=True)
    body = pickler.dumps(value)
    facts = {"protocol_version": 1001, "little_endian": little_endian, "type_sizes": {"int": 4}}
    keys = [str(key) for key in range(len(pickler.storages))] if keys is None else keys
    head = [0x1950A86A20F9469CFC6C, 1001, facts]
    out = b"".join(Pickler().dumps(part) for part in head) + body + Pickler().dumps(keys)
    for storage in pickler.storages:
        out += struct.pack("<q", len(storage.elements)) + storage.elements.tobytes()
    return out


CONTAINERS = {"torch_zip": torch_zip, "torch_legacy": torch_legacy}


def safetensors(arrays):
    """The bytes of a safetensors file."""
    import json

    names = {"<f4": "F32", "<f8": "F64", "<f2": "F16", "<i8": "I64", "|b1": "BOOL", "|u1": "U8"}
    header, data = {"__metadata__": {"format": "pt"}}, b""
    for name, array in arrays.items():
        start, data = len(data), data + array.tobytes()
        shape, offsets = list(array.shape), [start, len(data)]
        header[name] = {"dtype": names[array.dtype.str], "shape": shape, "data_offsets": offsets}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def varint(value):
    value &= 2**64 - 1
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def message(*fields):
    """A protocol buffer of (number, int or bytes)."""
    out = b""
    for number, value in fields:
        if isinstance(value, int):
            out += varint(number << 3) + varint(value)
        else:
            out += varint(number << 3 | 2) + varint(len(value)) + value
    return out


ONNX_TYPES = {"<f4": 1, "|u1": 2, "|i1": 3, "<i4": 6, "<i8": 7, "|b1": 9, "<f2": 10, "<f8": 11}


def initializer(name, array, *content):
    """A TensorProto, by default with raw_data."""
    dims = b"".join(varint(length) for length in array.shape)
    content = content or ((9, array.tobytes()),)
    kind = ONNX_TYPES[array.dtype.str]
    return message((1, dims), (2, kind), (8, name.encode()), *content)


def external(**entries):
    """The fields of a TensorProto whose bytes lie in another file."""
    pairs = [message((1, key.encode()), (2, value.encode())) for key, value in entries.items()]
    return (*((13, pair) for pair in pairs), (14, 1))


def onnx_model(*initializers):
    """A ModelProto with these initializers, opset 18 and one metadata entry."""
    graph = message((2, b"graph"), *((5, one) for one in initializers))
    opset, entry = message((1, b""), (2, 18)), message((1, b"a key"), (2, b"a value"))
    return message((1, 8), (7, graph), (8, opset), (14, entry))


def nestings(checkpoint):
    """The paths of keys to all dictionaries with tensors below dictionaries only."""
    level = [((), checkpoint.tree)]
    found, seen = [], set()
    while level:
        below = []
        for path, node in level:
            if not isinstance(node, dict) or id(node) in seen:
                continue
            seen.add(id(node))
            if any(isinstance(value, LazyTensor) for value in node.values()):
                found.append(path)
            below += [((*path, key), v) for key, v in node.items() if isinstance(key, str)]
        level = below
    return tuple(found)
