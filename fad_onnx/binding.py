"""Tensors of a checkpoint + a weightless graph -> a model that ONNX Runtime opens.

The graph's initializers carry the checkpoint's own tensor names and fixed places in a file
`weights.bin`: every name, shape and type is checked, then each tensor is written at its place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import checkpoints, synthetic
from .checkpoints import LazyTensor
from .checkpoints.onnx_file import initializers
from .checkpoints.onnx_tensors import TensorInfo
from .converted import WEIGHTS_FILE, write_note
from .disk import guarded
from .embedder import HEAD_FILE
from .errors import CheckpointError, ChecksumError, ManifestError
from .frontends import fourier_kernels
from .manifest import Model, Tiles, Variant

GRAPHS = Path(__file__).resolve().parent / "graphs"


@dataclass(frozen=True)
class Source:
    """A checkpoint on disk: its hash, and against what that was checked."""

    path: Path
    sha256: str
    checked: str
    file: str  # the checkpoint's own name; path may be a model that was converted from it
    ours: bool = False  # a download in the cache, which may go once it is converted

    def facts(self) -> dict[str, str]:
        """What results say of the checkpoint."""
        return {"file": self.file, "sha256": self.sha256, "checked": self.checked}


def graph_file(model: Model, variant: Variant) -> Path:
    """The graph of a variant in the package, after its hash was compared with the row's."""
    path = GRAPHS / variant.graph
    if not path.is_file():
        raise ManifestError(f"models.{model.name}", f"graph {variant.graph} is not in the package")
    return _checked(path, variant.sha256)


def _checked(path: Path, sha256: str) -> Path:
    if not sha256:
        remedy = f"run `python -m exporters {path.stem}`"
        raise ManifestError("sha256", f"that of {path.name} is not filled in; {remedy}")
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != sha256:
        raise ChecksumError(path, sha256, got, "reinstall fad-onnx")
    return path


def bind(model: Model, variant: Variant, sources: Mapping[str, Source], folder: Path) -> None:
    """Write model.onnx, weights.bin and meta.json into an empty folder."""
    graph = graph_file(model, variant)
    wanted = external(graph)
    with ExitStack() as stack:
        tensors = dict(open_all(model, sources, stack))
        _check_names(wanted, tensors, sources)
        _check_kernels(model, tensors)
        tensors_sha256, weights_sha256 = write_tensors(
            graph,
            wanted,
            lambda name: _fitted(name, *tensors[name], wanted[name]),
            folder,
            model.tiles,
        )
    files = {"model.onnx": variant.sha256, WEIGHTS_FILE: weights_sha256}
    if model.tiles:
        files[HEAD_FILE] = model.tiles.head_sha256
    facts = {
        "model": model.name,
        "graph": graph.name,
        "tensors_sha256": tensors_sha256,
        "files": files,
        # With the place it was at, which only `fad-onnx cache info` tells.
        "weights": {
            name: {**source.facts(), "path": str(source.path.absolute())}
            for name, source in sources.items()
        },
    }
    write_note(folder, facts)


def write_tensors(
    graph: Path,
    wanted: Mapping[str, TensorInfo],
    read: Callable[[str], NDArray[Any]],
    folder: Path,
    tiles: Tiles | None = None,
) -> tuple[str, str]:
    """Make `folder` a runnable model: the graph, each tensor at its place beside it, and the
    head graph of a model that has one.

    Returns the SHA-256 of all tensors (names, types, shapes, values), and that of weights.bin.
    """
    hashes, whole = {}, hashlib.sha256()
    with open(folder / WEIGHTS_FILE, "wb") as out:
        for name, info in sorted(wanted.items(), key=lambda item: item[1].offset):
            array = np.ascontiguousarray(read(name), info.dtype)
            # What is hashed is what was meant, not what the disk gives back.
            gap = bytes(info.offset - out.tell())
            for part in (gap, array.data):
                whole.update(part)
                out.write(part)
            digest = hashlib.sha256(array.data).hexdigest()
            hashes[name] = (str(array.dtype), array.shape, digest)
    shutil.copyfile(graph, folder / "model.onnx")
    if tiles is not None:
        shutil.copyfile(_checked(GRAPHS / tiles.head, tiles.head_sha256), folder / HEAD_FILE)
    tensors_sha256 = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
    return tensors_sha256, whole.hexdigest()


def open_all(
    model: Model, sources: Mapping[str, Source], stack: ExitStack
) -> Iterator[tuple[str, tuple[Path, LazyTensor]]]:
    """Every tensor of every checkpoint, by name, without the prefix of a parallel wrapper."""
    for name, source in sources.items():
        checkpoint = stack.enter_context(checkpoints.open(source.path))
        nesting = model.checkpoints[name].nesting
        tensors = checkpoint.tensors(nesting) or checkpoint.tensors()
        # torch.nn.DataParallel writes every name behind "module.".
        for key, tensor in tensors.items():
            yield key.removeprefix("module."), (source.path, tensor)


def _check_names(
    wanted: Mapping[str, TensorInfo],
    tensors: Mapping[str, object],
    sources: Mapping[str, Source],
) -> None:
    missing = sorted(wanted.keys() - tensors.keys())
    if missing:
        raise CheckpointError(
            " + ".join(str(source.path) for source in sources.values()),
            f"{len(missing)} of the {len(wanted)} tensors of the graph are not in it, first"
            f" {missing[0]!r} {wanted[missing[0]].shape}; is it of this architecture?",
        )


def publish_synthetic(model: Model, variant: Variant, seed: int, folder: Path) -> Path:
    """The graph of a variant with weights from a seed, in `folder`; where it can be opened.

    Raises CacheError if the disk does not take it.
    """
    graph = graph_file(model, variant)
    wanted = external(graph)
    tensors = synthetic.tensors(wanted, seed)
    with guarded(folder):
        write_tensors(graph, wanted, tensors.__getitem__, folder, model.tiles)
    return folder / "model.onnx"


def external(graph: Path) -> dict[str, TensorInfo]:
    return {name: info for name, info in initializers(graph).items() if info.external}


def _fitted(name: str, path: Path, tensor: LazyTensor, info: TensorInfo) -> NDArray[Any]:
    """The tensor as the graph wants it; torch's load_state_dict casts between floats too."""
    if _squeezed(tensor.shape) != _squeezed(info.shape):
        raise CheckpointError(path, f"{name}: shape {tensor.shape}, the graph needs {info.shape}")
    if (tensor.dtype.kind == "f") != (info.dtype.kind == "f"):
        raise CheckpointError(path, f"{name}: {tensor.dtype}, the graph needs {info.dtype}")
    array = tensor.read().astype(info.dtype, copy=False).reshape(info.shape)
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise CheckpointError(path, f"{name}: holds NaN or infinity")
    return array


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)


def _check_kernels(model: Model, tensors: Mapping[str, tuple[Path, LazyTensor]]) -> None:
    """A checkpoint that carries Fourier kernels must carry those of the row's front end."""
    names = model.frontend.kernels
    if not names or not all(name in tensors for name in names):
        return
    for name, expected in zip(names, fourier_kernels(model.frontend), strict=True):
        path, tensor = tensors[name]
        # torchlibrosa makes them in complex128 by repeated powers and stores float32.
        if tensor.shape != expected.shape or np.abs(tensor.read() - expected).max() > 1e-4:
            raise CheckpointError(
                path,
                f"{name}: not the Fourier transform with the Hann window of {model.name};"
                " this front end cannot honour other kernels",
            )
