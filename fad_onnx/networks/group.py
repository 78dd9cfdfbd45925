"""Models of a call that share the runs of one network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..errors import ModelTableError
from . import frontends
from .pooling import pool
from .preparation import Pooling
from .windows import Window

if TYPE_CHECKING:
    from .embedder import Embedder

Embeddings = NDArray[np.float32]
Value = tuple[tuple[str, ...], int | None]  # names in the graph; samples per embedding


@dataclass(frozen=True)
class Group:
    """Models that differ only in what follows the network, and share its runs.

    Attributes
    ----------
    members : tuple of Embedder
        The models; they share the session of the first one.
    places : tuple of int
        The index of each model among the models of the call.
    """

    members: tuple[Embedder, ...]
    places: tuple[int, ...] = (0,)

    @property
    def first(self) -> Embedder:
        """The model whose windows and session all members share."""
        return self.members[0]

    def run(self, windows: Sequence[Window]) -> list[tuple[Embeddings, ...]]:
        """For each window, the embeddings (n, width) of each member, or the steps of a tile.

        The windows must have the same shape.
        """
        # A single window may be an hour long: do not copy it.
        single = len(windows) == 1
        stack = windows[0].samples[None] if single else np.stack([w.samples for w in windows])
        tiles = self.first.selection.network.tiles if windows[0].steps is not None else None
        wanted = [((tiles.tensor,), None) if tiles else _value(member) for member in self.members]
        tensors = list(dict.fromkeys(tensor for names, _ in wanted for tensor in names))
        found = dict(zip(tensors, self._computed(stack, tensors), strict=True))
        # Members with the same output share an array.
        own = {
            (names, samples): [
                _trim(embeddings, window, samples)
                for embeddings, window in zip(_joined(found, names), windows, strict=True)
            ]
            for names, samples in wanted
        }
        return list(zip(*(own[value] for value in wanted), strict=True))

    def _computed(
        self, stack: NDArray[np.float32], tensors: Sequence[str]
    ) -> Sequence[NDArray[np.float32]]:
        """The values of these tensors for windows (batch, channels, samples)."""
        first = self.first
        sides = [stack]
        if first.preparation.channels == "each":
            sides = [stack[:, :1], stack[:, 1:]]
        made = [
            first.session.run(frontends.apply(first.preparation.frontend, side), tensors)
            for side in sides
        ]
        return (
            made[0] if len(made) == 1 else [np.concatenate(v, -1) for v in zip(*made, strict=True)]
        )

    def join(
        self,
        parts: Sequence[tuple[Embeddings, ...]],
        valid_samples: Sequence[int],
        seconds: float,
        tiled: bool,
    ) -> tuple[Embeddings, ...]:
        """The embeddings of a clip for each member, from its windows or the steps of its tiles.

        `valid_samples` lists the samples of each window without padding; `seconds` is the length
        of the clip.
        """
        if not (tiled and self.first.selection.network.head):
            # Tiles overlap, so only the own steps of each tile count.
            sizes = [len(part[0]) for part in parts] if tiled else valid_samples
            own = zip(self.members, zip(*parts, strict=True), strict=True)
            return tuple(_pooled(member, embeddings, sizes, seconds) for member, embeddings in own)
        steps = np.concatenate([part[0] for part in parts])[None]
        tensors = list(dict.fromkeys(one.selection.output.tensor for one in self.members))
        found = dict(zip(tensors, self.first.head.run((steps,), tensors), strict=True))
        whole = [sum(valid_samples)]
        return tuple(
            _pooled(member, [found[member.selection.output.tensor]], whole, seconds)
            for member in self.members
        )


def grouped(embedders: Sequence[Embedder]) -> list[Group]:
    """Group the models of a call into as few groups as possible, in the order given."""
    groups: list[Group] = []
    for place, embedder in enumerate(embedders):
        for i, group in enumerate(groups):
            if _shared(embedder) == _shared(group.first):
                groups[i] = Group((*group.members, embedder), (*group.places, place))
                break
        else:
            groups.append(Group((embedder,), (place,)))
    return groups


def _shared(embedder: Embedder) -> tuple[Any, ...]:
    """The settings that the models of a group share: everything up to the network."""
    session, own = embedder.session, embedder.preparation
    preparation = replace(own, pooling=Pooling(), embedding_type="float32")
    return session.graph, session.settings, embedder.selection.network, preparation


def _value(member: Embedder) -> Value:
    output = member.selection.output
    return output.values, output.samples_per_embedding


def _joined(found: Mapping[str, Embeddings], names: Sequence[str]) -> Embeddings:
    """The values, concatenated along the last axis."""
    return found[names[0]] if len(names) == 1 else np.concatenate([found[n] for n in names], -1)


def _trim(embeddings: Embeddings, window: Window, samples: int | None) -> Embeddings:
    embeddings = np.atleast_2d(embeddings)
    if window.steps is not None:
        embeddings = embeddings[window.steps]
    elif samples is not None:
        embeddings = embeddings[: -(-window.valid_samples // samples)]
    return embeddings.copy()


def _pooled(
    member: Embedder, parts: Sequence[Embeddings], valid_samples: Sequence[int], seconds: float
) -> Embeddings:
    shares = [samples / len(part) for samples, part in zip(valid_samples, parts, strict=True)]
    weights = np.repeat(shares, [len(part) for part in parts])
    used = member.preparation.used_seconds(seconds)
    pooled = pool(member.preparation.pooling, np.concatenate(parts), used, weights)
    return _kept(member, pooled)


def _kept(member: Embedder, embeddings: Embeddings) -> Embeddings:
    """The embeddings in their number type; ModelTableError if they are not as wide as declared."""
    chosen, width = member.selection, embeddings.shape[-1]
    if width != chosen.width:
        place = f"networks.{chosen.network.name}.outputs.{chosen.output_name}.width"
        raise ModelTableError(place, f"{chosen.width}, but the graph gives {width}")
    return embeddings.astype(member.preparation.embedding_type).astype(np.float32, copy=False)
