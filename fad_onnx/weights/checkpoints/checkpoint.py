"""A checkpoint of any container: nested dictionaries with LazyTensors as leaves."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Self

from .mapped import Mapped
from .tensors import LazyTensor

MAX_DEPTH = 32
"""Levels of nesting; state dicts have one to four, optimizers a few more."""


class Checkpoint:
    """An open checkpoint.

    `container` is the format, such as `torch_zip`. `tree` is what was saved: a LazyTensor for
    every tensor, NumPy array and NumPy scalar; dictionaries, lists and tuples at most MAX_DEPTH
    deep; text, numbers, and inert placeholders for the rest. Keys that are neither text nor small
    integers are left out.
    """

    def __init__(self, file: Mapped, container: str, tree: object) -> None:
        _check_depth(file, tree)
        self.path, self.container, self.tree = file.path, container, tree
        self._file = file

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The mapping is released with the last array that uses it.
        self.tree = None

    def tensors(self, nesting: Sequence[str] = ()) -> dict[str, LazyTensor]:
        """The tensors by name in the dictionary at a path of keys; empty if there is none."""
        node = self.tree
        for key in nesting:
            node = node.get(key) if isinstance(node, dict) else None
        if not isinstance(node, dict):
            return {}
        return {
            name: value
            for name, value in node.items()
            if isinstance(name, str) and isinstance(value, LazyTensor)
        }

    def nested_tensors(self) -> dict[str, LazyTensor]:
        """The tensors of the only dictionary of tensors one level down; empty if there are several,
        because a training checkpoint may hold a second copy (a moving average) of every tensor.
        """
        keys = self.tree if isinstance(self.tree, dict) else ()
        found = [tensors for key in keys if (tensors := self.tensors((key,)))]
        return found[0] if len(found) == 1 else {}


def _containers(node: object) -> Iterable[object]:
    values: Iterable[object] = node.values() if isinstance(node, dict) else ()
    if type(node) is list or type(node) is tuple:
        values = node
    return (value for value in values if type(value) in (dict, list, tuple))


def _check_depth(file: Mapped, tree: object) -> None:
    """CheckpointError if the tree contains itself or is deeper than MAX_DEPTH.

    Parts can be shared, so there may be too many paths to follow. Therefore this visits the
    containers at each distance from the root, not the paths.
    """
    level = {id(tree): tree}
    for _ in range(MAX_DEPTH):
        level = {id(child): child for node in level.values() for child in _containers(node)}
        if not level:
            return
    raise file.error(f"is nested more than {MAX_DEPTH} deep, or contains itself")
