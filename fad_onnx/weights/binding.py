"""Bind the tensors of a checkpoint to a weightless graph, as a model that ONNX Runtime opens.

The graph's initializers have the tensor names of the checkpoint and fixed offsets in a file
`weights.bin`. Every name, shape and type is checked, then each tensor is written at its offset.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache.filesystem import guarded
from ..errors import CheckpointError, ChecksumError, ModelTableError
from ..networks import synthetic
from ..networks.frontends import fourier_kernels
from ..networks.network import HEAD_FILE, Network, TextTower
from ..networks.preparation import Stft
from ..networks.selection import Selection
from ..networks.table import PACKAGE
from ..networks.tokenizer import TOKENIZERS, Tokenizer
from .checkpoints.onnx_file import behind, initializers, outputs
from .checkpoints.onnx_tensors import TensorInfo
from .computed import constant
from .converted import WEIGHTS_FILE, write_note
from .naming import Tensors, joined, open_all

GRAPHS = PACKAGE / "networks" / "graphs"


@dataclass(frozen=True)
class CheckpointFile:
    """A checkpoint on disk, its hash, and the published digest with which it was compared."""

    path: Path
    sha256: str
    checked: str
    file: str  # the name of the checkpoint; `path` may be a model converted from it
    ours: bool = False  # a download in the cache, which may be removed after conversion

    def facts(self) -> dict[str, str]:
        """The facts about the checkpoint that results report."""
        return {"file": self.file, "sha256": self.sha256, "checked": self.checked}


def graph_file(selection: Selection) -> Path:
    """The graph of a selection, after its hash was compared with that in the table."""
    return _checked(selection.network, selection.graph)


def _checked(network: Network, graph: str) -> Path:
    path, sha256 = network.places.get(graph, GRAPHS / graph), network.hashes[graph]
    if not path.is_file():
        raise ModelTableError(f"networks.{network.name}", f"there is no graph {path}")
    if not sha256:
        remedy = f"run `python -m exporters {path.stem}`"
        raise ModelTableError(f"graphs.{graph}", f"its hash is not filled in; {remedy}")
    got = hashlib.sha256(path.read_bytes()).hexdigest()
    if got != sha256:
        remedy = "register it again" if graph in network.places else "reinstall fad-onnx"
        raise ChecksumError(path, sha256, got, remedy)
    return path


def check_output(selection: Selection, graph: Path) -> None:
    """ModelTableError if a graph does not have the output of a selection, or that of its tiles."""
    network, known = selection.network, outputs(graph)
    needed = {f"outputs.{selection.output_name}": selection.output.tensor}
    if network.tiles:
        needed["tiles"] = network.tiles.tensor
    for place, tensor in needed.items():
        if tensor not in known:
            raise ModelTableError(
                f"networks.{network.name}.{place}",
                f"{graph.name} has no output {tensor!r}, but {', '.join(known)}",
            )


def bind(selection: Selection, sources: Mapping[str, CheckpointFile], folder: Path) -> None:
    """Write model.onnx, weights.bin and meta.json into an empty folder."""
    wanted = external(graph_file(selection))
    check_output(selection, graph_file(selection))
    with ExitStack() as stack:
        paths = {name: source.path for name, source in sources.items()}
        tensors = open_all(selection.network, paths, stack)
        _check_names(wanted, tensors, sources)
        _check_kernels(selection, tensors)

        def read(name: str) -> NDArray[Any]:
            parts, rule = tensors.parts(name), tensors.rule(name)
            if rule and not parts:
                return constant(rule, wanted[name].shape)
            return joined(parts, wanted[name].shape, wanted[name].dtype)

        hashes, weights_sha256 = write_model(selection, read, folder)
    files = {"model.onnx": selection.graph_sha256, WEIGHTS_FILE: weights_sha256}
    if selection.head_sha256:
        files[HEAD_FILE] = selection.head_sha256
    files |= _kept_texts(selection, sources, folder)
    facts = {
        "model": selection.model.name,
        "graph": selection.graph,
        "tensors": hashes,
        "files": files,
        # The note includes its path, which only `fad-onnx cache info` shows.
        "weights": {
            name: {**source.facts(), "path": str(source.path.absolute())}
            for name, source in sources.items()
        },
    }
    write_note(folder, facts)


def _kept_texts(
    selection: Selection, sources: Mapping[str, CheckpointFile], folder: Path
) -> dict[str, str]:
    """Copy the files that hold no tensors; return their hashes by name."""
    copied = {}
    for name, file in text_files(selection, folder).items():
        data = sources[name].path.read_bytes()
        file.write_bytes(data)
        copied[file.name] = hashlib.sha256(data).hexdigest()
    if copied:
        loaded_tokenizer(selection, folder)  # raises CheckpointError unless it is a vocabulary
    return copied


def text_files(selection: Selection, folder: Path) -> dict[str, Path]:
    """The paths, in the folder of a model, of the checkpoints without tensors."""
    checkpoints = selection.network.checkpoints
    return {
        name: folder / checkpoints[name].file
        for name in selection.output.checkpoints
        if checkpoints[name].holds == "text"
    }


def loaded_tokenizer(selection: Selection, folder: Path) -> Tokenizer:
    """The tokenizer of a text tower, from the folder of its model."""
    assert isinstance(selection.output, TextTower)
    return TOKENIZERS[selection.output.tokenizer](text_files(selection, folder))


Hashes = Mapping[str, tuple[str, Sequence[int], str]]


def write_model(
    selection: Selection, read: Callable[[str], NDArray[Any]], folder: Path
) -> tuple[Hashes, str]:
    """Make `folder` a runnable model: the graph, its tensors in weights.bin, the head graph.

    Returns the type, shape and SHA-256 of every tensor by name, and the SHA-256 of weights.bin.
    """
    graph, network = graph_file(selection), selection.network
    hashes: dict[str, tuple[str, Sequence[int], str]] = {}
    whole = hashlib.sha256()
    with open(folder / WEIGHTS_FILE, "wb") as out:
        for name, info in sorted(external(graph).items(), key=lambda item: item[1].offset):
            array = np.ascontiguousarray(read(name), info.dtype)
            # Hash the bytes in memory, not what the disk returns.
            gap = bytes(info.offset - out.tell())
            for part in (gap, array.data):
                whole.update(part)
                out.write(part)
            digest = hashlib.sha256(array.data).hexdigest()
            hashes[name] = (str(array.dtype), array.shape, digest)
    shutil.copyfile(graph, folder / "model.onnx")
    if network.head:
        shutil.copyfile(_checked(network, network.head), folder / HEAD_FILE)
    return hashes, whole.hexdigest()


def tensors_sha256(selection: Selection, hashes: Hashes) -> str:
    """SHA-256 of the tensors that the output is computed from.

    If an output with tensors of its own is added to a graph, other fingerprints do not change.
    """
    needed = _behind(graph_file(selection), selection.output.tensor)
    own = {name: facts for name, facts in hashes.items() if name in needed}
    return hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()


_behind = cache(behind)


def _check_names(
    wanted: Mapping[str, TensorInfo],
    tensors: Tensors,
    sources: Mapping[str, CheckpointFile],
) -> None:
    missing = sorted(
        name for name in wanted.keys() - tensors.held(wanted) if not tensors.rule(name)
    )
    if missing:
        raise CheckpointError(
            " + ".join(str(source.path) for source in sources.values()),
            f"{len(missing)} of the {len(wanted)} tensors of the graph are not in it, first"
            f" {missing[0]!r} {wanted[missing[0]].shape}; is it of this architecture?",
        )


def publish_synthetic(selection: Selection, seed: int, folder: Path) -> Path:
    """Write the graph of a selection with weights from a seed into `folder`; return its path.

    Raises CacheError if it cannot be written.
    """
    tensors = synthetic.tensors(external(graph_file(selection)), seed)
    with guarded(folder):
        write_model(selection, tensors.__getitem__, folder)
    return folder / "model.onnx"


def external(graph: Path) -> dict[str, TensorInfo]:
    return {name: info for name, info in initializers(graph).items() if info.external}


def _check_kernels(selection: Selection, tensors: Tensors) -> None:
    """CheckpointError if the Fourier kernels of a checkpoint differ from the front end's."""
    names, frontend = selection.network.fourier_kernels, selection.preparation.frontend
    parts = [part for name in names for part in tensors.parts(name)]
    if not parts or len(parts) != len(names):
        return
    assert isinstance(frontend, Stft)
    for part, expected in zip(parts, fourier_kernels(frontend), strict=True):
        tensor = part.tensor
        # torchlibrosa computes them in complex128 by repeated powers and stores float32.
        if tensor.shape != expected.shape or np.abs(tensor.read() - expected).max() > 1e-4:
            raise CheckpointError(
                part.path,
                f"{part.name}: not the Fourier transform with the Hann window of"
                f" {selection.model.name}; this front end cannot honour other kernels",
            )
