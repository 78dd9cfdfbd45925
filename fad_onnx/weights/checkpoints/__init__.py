"""Checkpoints of any container as lazy mappings of names to arrays; no code in them runs.

Torch's two containers, safetensors, indexes of several files, NumPy archives, ONNX models and the
HDF5 files of Keras 2 are recognised by their contents, mapped into memory, and read tensor by
tensor. A pickle may name tensors, NumPy arrays, dictionaries and plain values; any other name is
an error.
"""

from __future__ import annotations

import pathlib

from ...audio import lookalikes
from . import (
    gzipped,
    hdf5,
    npz,
    onnx_file,
    safetensors,
    sharded,
    torch_legacy,
    torch_zip,
)
from .checkpoint import Checkpoint
from .mapped import Mapped, Path
from .tensors import LazyTensor
from .zip_directory import members

__all__ = ["Checkpoint", "LazyTensor", "open", "shards"]

KNOWN = (
    "torch checkpoints (zip and legacy), safetensors, their indexes of several files, .npz, ONNX"
    " models and weights of Keras 2 (.h5, .h5.gz) are known"
)


def open(path: Path) -> Checkpoint:
    """Open a checkpoint: every tensor is described, and none is read yet.

    Raises CheckpointError if the file cannot be read, is of no known container, is damaged,
    or names anything but tensors and plain values.
    """
    file = Mapped(path)
    if gzipped.holds(file):
        file = gzipped.unpack(file)
    if bytes(file.data[:2]) == b"PK":
        return _open_zip(file)
    if torch_legacy.holds(file):
        return Checkpoint(file, "torch_legacy", torch_legacy.read(file))
    if safetensors.holds(file):
        return Checkpoint(file, "safetensors", safetensors.read(file))
    if onnx_file.holds(file):
        return Checkpoint(file, "onnx", onnx_file.read(file))
    if sharded.holds(file):
        return Checkpoint(file, "sharded", sharded.read(file, _tensors))
    if hdf5.holds(file):
        return Checkpoint(file, "hdf5", hdf5.read(file))
    raise file.error(_unknown(bytes(file.data[:64])))


def _tensors(path: Path) -> dict[str, LazyTensor]:
    """The tensors of a shard; CheckpointError if it is an index itself."""
    if sharded.holds(file := Mapped(path)):
        raise file.error("is an index of tensors, named by another index; refused")
    return open(path).tensors()


def shards(path: Path) -> dict[str, pathlib.Path]:
    """The further files that a checkpoint consists of, by name."""
    file = Mapped(path)
    return sharded.shards(file) if sharded.holds(file) else {}


def _open_zip(file: Mapped) -> Checkpoint:
    found = members(file)
    if torch_zip.holds(found):
        return Checkpoint(file, "torch_zip", torch_zip.read(file, found))
    if npz.holds(found):
        return Checkpoint(file, "npz", npz.describe(file, found))
    raise file.error(f"is a zip archive, but of no checkpoint; {KNOWN}")


def _unknown(start: bytes) -> str:
    if instead := lookalikes.known(start):
        return instead
    if start[:1] == b"\x80":
        return "is a plain pickle, not a torch checkpoint; save it with torch.save"
    return f"starts with {start[:8].hex(' ')}, which is no container known here; {KNOWN}"
