"""The tensors of checkpoints under the names that a graph uses."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import CheckpointError
from ..networks.network import Checkpoint, Network, SlaneyFilters, SwinMask
from . import checkpoints
from .checkpoints import LazyTensor

WRAPPER = "module."  # the prefix that torch.nn.DataParallel adds to every name


@dataclass(frozen=True)
class Part:
    """A tensor of a checkpoint: the file, its name there, and the tensor."""

    path: Path
    name: str
    tensor: LazyTensor


@dataclass(frozen=True)
class Tensors:
    """The tensors in the checkpoints of a network.

    Attributes
    ----------
    own : mapping of str to Part
        The tensors by their names, without the prefixes of wrappers.
    aliases : sequence of (pattern, tuple of str)
        `Checkpoint.aliases` of all checkpoints.
    computed : sequence of (pattern, rule)
        `Checkpoint.computed` of all checkpoints.
    """

    own: Mapping[str, Part]
    aliases: Sequence[tuple[re.Pattern[str], tuple[str, ...]]]
    computed: Sequence[tuple[re.Pattern[str], SwinMask | SlaneyFilters]] = ()

    def parts(self, name: str) -> tuple[Part, ...]:
        """The tensors to join along axis 0 for a tensor of the graph; empty if there are none.

        A tensor of the same name is preferred, then the first alias whose tensors are all there.
        """
        if name in self.own:
            return (self.own[name],)
        for pattern, templates in self.aliases:
            if found := pattern.fullmatch(name):
                names = [found.expand(template) for template in templates]
                if all(one in self.own for one in names):
                    return tuple(self.own[one] for one in names)
        return ()

    def rule(self, name: str) -> SwinMask | SlaneyFilters | None:
        """The rule that computes this tensor if no checkpoint holds it, or None."""
        return next((rule for pattern, rule in self.computed if pattern.fullmatch(name)), None)

    def held(self, names: Iterable[str]) -> set[str]:
        """The names for which there are tensors."""
        return {name for name in names if self.parts(name)}


def open_all(network: Network, paths: Mapping[str, Path], stack: ExitStack) -> Tensors:
    """Open checkpoints of a network.

    Parameters
    ----------
    network : Network
        The network, whose checkpoints define how their tensors are named.
    paths : mapping of str to path
        The files by the names of the checkpoints.
    stack : ExitStack
        The stack that closes the files.

    Returns
    -------
    Tensors
        Their tensors.
    """
    own: dict[str, Part] = {}
    aliases: list[tuple[re.Pattern[str], tuple[str, ...]]] = []
    computed: list[tuple[re.Pattern[str], SwinMask | SlaneyFilters]] = []
    for name, path in paths.items():
        checkpoint = network.checkpoints[name]
        if checkpoint.holds == "text":
            continue
        for key, tensor in _tensors(checkpoint, path, stack).items():
            bare = key.removeprefix(WRAPPER).removeprefix(checkpoint.prefix)
            own[bare] = Part(path, key, tensor)
        aliases += [(re.compile(one), made) for one, made in checkpoint.aliases.items()]
        computed += [(re.compile(one), rule) for one, rule in checkpoint.computed.items()]
    return Tensors(own, aliases, computed)


def _tensors(checkpoint: Checkpoint, path: Path, stack: ExitStack) -> dict[str, LazyTensor]:
    opened = stack.enter_context(checkpoints.open(path))
    return opened.tensors(checkpoint.nesting) or opened.tensors() or opened.nested_tensors()


def joined(parts: Sequence[Part], shape: Sequence[int], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The tensor in the shape and type of the graph, from the tensors of `Tensors.parts`.

    Axes of length 1 may be missing or added, and floats are cast, as torch's load_state_dict does.

    Raises
    ------
    CheckpointError
        If the shape or the kind of numbers differs, or a number is NaN or infinite.
    """
    arrays = []
    for part in parts:
        if (part.tensor.dtype.kind == "f") != (dtype.kind == "f"):
            raise CheckpointError(
                part.path, f"{part.name}: {part.tensor.dtype}, the graph needs {dtype}"
            )
    found = _joined_shape([part.tensor.shape for part in parts])
    if found is None or _squeezed(found) != _squeezed(shape):
        shapes = " and ".join(str(part.tensor.shape) for part in parts)
        names = " and ".join(part.name for part in parts)
        raise CheckpointError(
            parts[0].path, f"{names}: shape {shapes}, the graph needs {tuple(shape)}"
        )
    for part in parts:
        array = part.tensor.read().astype(dtype, copy=False)
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise CheckpointError(part.path, f"{part.name}: holds NaN or infinity")
        arrays.append(array)
    whole = arrays[0] if len(arrays) == 1 else np.concatenate(arrays)
    return whole.reshape(tuple(shape))


def _joined_shape(shapes: Sequence[tuple[int, ...]]) -> tuple[int, ...] | None:
    """The shape of the tensors joined along axis 0; None if they do not fit."""
    if len(shapes) == 1:
        return shapes[0]
    if any(not shape or shape[1:] != shapes[0][1:] for shape in shapes):
        return None
    return (sum(shape[0] for shape in shapes), *shapes[0][1:])


def _squeezed(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
