"""The allow-list: every global that a checkpoint may name, with its inert replacement.

The globals that torch writes are in torch/serialization.py (persistent ids), torch/_utils.py
(`_rebuild_*`), torch/_tensor.py and torch/nn/parameter.py (`__reduce_ex__`) of torch 2.13. A
replacement only describes data: it neither imports nor calls anything that the stream chooses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .mapped import Mapped, quoted
from .numpy_stand_ins import PickledDtype, array, as_bytes, unfilled
from .pickle_machine import UNUSED_SET, Opaque, Span, set_items
from .tensors import ELEMENTS, Element, LazyTensor, Region, strided, whole_numbers

Arguments = tuple[object, ...]
Build = Callable[[Mapped, Arguments], object]


@dataclass(slots=True)
class Storage:
    """A run of `nbytes` bytes named by a persistent id; `region` is its position, once known.

    A view has a root instead, and starts `shift` bytes into it.
    """

    key: str
    element: Element
    nbytes: int
    region: Region | None = None
    root: Storage | None = None
    shift: int = 0


@dataclass(frozen=True, slots=True)
class Callee:
    """A function or class that the stream may apply: its name and its inert replacement."""

    name: str
    build: Build


@dataclass(frozen=True, slots=True)
class StorageType:
    """`torch.FloatStorage` and its like."""

    element: Element


def _rebuild_tensor(file: Mapped, arguments: Arguments) -> object:
    """(storage, offset, size, stride, requires_grad, hooks, metadata) -> tensor."""
    if not 4 <= len(arguments) <= 7:
        raise file.error(f"a tensor is described by {len(arguments)} values")
    storage = arguments[0]
    element = storage.element if isinstance(storage, Storage) else None
    return _tensor(file, arguments[:4], element, arguments[6:7])


def _rebuild_tensor_v3(file: Mapped, arguments: Arguments) -> object:
    """Like `_rebuild_tensor`, with the dtype as seventh value: the storage is untyped."""
    if not 7 <= len(arguments) <= 8 or not isinstance(arguments[6], Element):
        raise file.error("a tensor of a new dtype is described by values of unknown form")
    return _tensor(file, arguments[:4], arguments[6], arguments[7:8])


def _tensor(
    file: Mapped, arguments: Arguments, element: Element | None, metadata: Arguments
) -> LazyTensor:
    storage, offset, size, stride = arguments
    if not isinstance(storage, Storage) or element is None:
        raise file.error("a tensor is described without a storage")
    what = f"a tensor in storage {quoted(storage.key)}"
    if metadata and metadata[0]:
        raise file.error(f"{what} is a conjugate or negative view; save it with .resolve_conj()")
    (start,) = whole_numbers(file, (offset,), f"the offset of {what}")
    return strided(
        file,
        element,
        lambda: _region(file, storage),
        start,
        whole_numbers(file, size, f"the shape of {what}"),
        whole_numbers(file, stride, f"the stride of {what}"),
        what,
        storage.nbytes,
    )


def _region(file: Mapped, storage: Storage) -> Region:
    if storage.root is not None:
        return Region(_region(file, storage.root).start + storage.shift, storage.nbytes)
    if storage.region is None:
        raise file.error(f"storage {quoted(storage.key)} is not in the file")
    return storage.region


def _rebuild_parameter(file: Mapped, arguments: Arguments) -> object:
    """(tensor, requires_grad, hooks[, state]) -> the tensor."""
    if not arguments or not isinstance(arguments[0], LazyTensor):
        raise file.error("a parameter is described without a tensor")
    return arguments[0]


def _size(file: Mapped, arguments: Arguments) -> object:
    return whole_numbers(file, arguments[0] if arguments else (), "a torch.Size")


def _ordered_dict(file: Mapped, arguments: Arguments) -> object:
    """A dictionary from no arguments, or from the list of pairs that Python 2 wrote."""
    made: dict[object, object] = {}
    if not arguments:
        return made
    pairs = arguments[0]
    if type(pairs) is not list or len(arguments) > 1:
        raise file.error("an OrderedDict is made of something that is not a list of pairs")
    for pair in pairs:
        if type(pair) not in (list, tuple) or len(pair) != 2:
            raise file.error("an OrderedDict is made of something that is not a list of pairs")
        set_items(file, made, list(pair))
    return made


def _encode(file: Mapped, arguments: Arguments) -> object:
    """`_codecs.encode(text, "latin1")`: how protocol 2 writes bytes."""
    if len(arguments) != 2 or arguments[1] not in ("latin1", "latin-1"):
        raise file.error("_codecs.encode is asked for another encoding than latin1")
    text = arguments[0]
    if isinstance(text, Span) and text.kind == "text":
        return Span(text.offset, text.length, "latin1")
    if not isinstance(text, str):
        raise file.error("_codecs.encode is given something that is not text")
    file.spend(len(text))
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError as error:
        raise file.error("_codecs.encode is given text that is not Latin-1") from error


def _no_bytes(file: Mapped, arguments: Arguments) -> object:
    if arguments:
        raise file.error("bytes() is given arguments")
    return b""


def _reconstruct(file: Mapped, arguments: Arguments) -> object:
    if len(arguments) != 3 or arguments[0] is not _NDARRAY:
        raise file.error("NumPy's _reconstruct is given something that is not numpy.ndarray")
    return unfilled(file)


def _scalar(file: Mapped, arguments: Arguments) -> object:
    """(dtype, bytes) -> a tensor of shape ()."""
    if not 1 <= len(arguments) <= 2 or not isinstance(arguments[0], PickledDtype):
        raise file.error("a NumPy scalar is described without a dtype")
    return array(file, arguments[0], (), arguments[1] if len(arguments) > 1 else b"", False)


def _from_buffer(file: Mapped, arguments: Arguments) -> object:
    """(bytes, dtype, shape, order), how protocol 5 writes an array."""
    content, dtype, shape, order = arguments if len(arguments) == 4 else (None,) * 4
    if not isinstance(dtype, PickledDtype):
        raise file.error("NumPy's _frombuffer is given values of unknown form")
    lengths = whole_numbers(file, shape, "a NumPy shape")
    return array(file, dtype, lengths, as_bytes(file, content), order == "F")


def _dtype(file: Mapped, arguments: Arguments) -> object:
    if not 1 <= len(arguments) <= 3:
        raise file.error(f"numpy.dtype is given {len(arguments)} values")
    return PickledDtype(arguments[0])


def _opaque(what: str) -> Build:
    return lambda file, arguments: Opaque(what)


_NDARRAY = Opaque("numpy.ndarray")
_FUNCTIONS: dict[str, Build] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter,
    "torch.Size": _size,
    "torch.device": _opaque("torch.device"),
    "collections.OrderedDict": _ordered_dict,
    "_codecs.encode": _encode,
    "numpy.dtype": _dtype,
}
for _core in ("numpy.core", "numpy._core"):
    _FUNCTIONS[f"{_core}.multiarray._reconstruct"] = _reconstruct
    _FUNCTIONS[f"{_core}.multiarray.scalar"] = _scalar
    _FUNCTIONS[f"{_core}.numeric._frombuffer"] = _from_buffer
for _builtins in ("builtins", "__builtin__"):
    _FUNCTIONS[f"{_builtins}.bytes"] = _no_bytes
    _FUNCTIONS[f"{_builtins}.set"] = lambda file, arguments: UNUSED_SET
    for _unused in ("frozenset", "bytearray", "complex"):
        _FUNCTIONS[f"{_builtins}.{_unused}"] = _opaque(_unused)

_STORAGES = {
    "Double": "float64", "Float": "float32", "Half": "float16", "BFloat16": "bfloat16",
    "Long": "int64", "Int": "int32", "Short": "int16", "Char": "int8", "Byte": "uint8",
    "Bool": "bool", "ComplexDouble": "complex128", "ComplexFloat": "complex64",
    "Untyped": "uint8",
}  # fmt: skip

ALLOWED: dict[str, object] = {
    **{name: Callee(name, build) for name, build in _FUNCTIONS.items()},
    **{f"torch.{name}": element for name, element in ELEMENTS.items()},
    **{f"torch.{name}Storage": StorageType(ELEMENTS[of]) for name, of in _STORAGES.items()},
    # Until torch 1.13, tensors on a GPU were written with the storage types of torch.cuda.
    **{f"torch.cuda.{name}Storage": StorageType(ELEMENTS[of]) for name, of in _STORAGES.items()},
    "torch.storage.UntypedStorage": StorageType(ELEMENTS["uint8"]),
    "torch.storage._UntypedStorage": StorageType(ELEMENTS["uint8"]),
    "numpy.ndarray": _NDARRAY,
}
"""The replacements by qualified name. Any other name is an error."""
