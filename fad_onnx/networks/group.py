"""Models of one call that one run of a network serves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import frontends
from .pooling import pool
from .preparation import Pooling
from .windows import Window

if TYPE_CHECKING:
    from .embedder import Embedder

Rows = NDArray[np.float32]
Value = tuple[str, int | None]  # a tensor of the graph, and the samples behind one embedding


@dataclass(frozen=True)
class Group:
    """Models that differ by their output and pooling alone: one run of their network serves all.

    Attributes
    ----------
    members : tuple of Embedder
        The models; the first one's session runs.
    places : tuple of int
        The place of each among the models of a call.
    """

    members: tuple[Embedder, ...]
    places: tuple[int, ...] = (0,)

    @property
    def first(self) -> Embedder:
        """The model whose windows and session serve all."""
        return self.members[0]

    def run(self, windows: Sequence[Window]) -> list[tuple[Rows, ...]]:
        """For each of these windows of equal shape, the embeddings (n, width) of each member; of
        tiles, their steps.
        """
        # A view of a single window, which may be an hour long.
        single = len(windows) == 1
        stack = windows[0].samples[None] if single else np.stack([w.samples for w in windows])
        tiles = self.first.selection.network.tiles if windows[0].steps is not None else None
        wanted = [(tiles.tensor, None) if tiles else _value(member) for member in self.members]
        tensors = list(dict.fromkeys(tensor for tensor, _ in wanted))
        inputs = frontends.apply(self.first.preparation.frontend, stack)
        found = dict(zip(tensors, self.first.session.run(inputs, tensors), strict=True))
        # Members that want the same share one array.
        own = {
            (tensor, samples): [
                _trim(rows, window, samples)
                for rows, window in zip(found[tensor], windows, strict=True)
            ]
            for tensor, samples in wanted
        }
        return list(zip(*(own[value] for value in wanted), strict=True))

    def join(
        self,
        parts: Sequence[tuple[Rows, ...]],
        valid_samples: Sequence[int],
        seconds: float,
        tiled: bool,
    ) -> tuple[Rows, ...]:
        """The embeddings of a clip by each member, from those of its windows, or from the steps
        of its tiles.

        valid_samples: of each window; seconds: the clip's length.
        """
        if not tiled:
            own = zip(self.members, zip(*parts, strict=True), strict=True)
            return tuple(_pooled(member, rows, valid_samples, seconds) for member, rows in own)
        steps = np.concatenate([part[0] for part in parts])[None]
        tensors = list(dict.fromkeys(one.selection.output.tensor for one in self.members))
        found = dict(zip(tensors, self.first.head.run((steps,), tensors), strict=True))
        return tuple(
            _kept(member, found[member.selection.output.tensor]) for member in self.members
        )


def grouped(embedders: Sequence[Embedder]) -> list[Group]:
    """The models of a call in as few groups as may be, in the order given."""
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
    """What the models of a group have in common: all but what follows the network."""
    session, own = embedder.session, embedder.preparation
    preparation = replace(own, pooling=Pooling(), embedding_type="float32")
    return session.graph, session.settings, embedder.selection.network, preparation


def _value(member: Embedder) -> Value:
    output = member.selection.output
    return output.tensor, output.samples_per_embedding


def _trim(rows: Rows, window: Window, samples: int | None) -> Rows:
    rows = np.atleast_2d(rows)
    if window.steps is not None:
        rows = rows[window.steps]
    elif samples is not None:
        rows = rows[: -(-window.valid_samples // samples)]
    return rows.copy()


def _pooled(
    member: Embedder, parts: Sequence[Rows], valid_samples: Sequence[int], seconds: float
) -> Rows:
    shares = [samples / len(part) for samples, part in zip(valid_samples, parts, strict=True)]
    weights = np.repeat(shares, [len(part) for part in parts])
    pooled = pool(member.preparation.pooling, np.concatenate(parts), seconds, weights)
    return _kept(member, pooled)


def _kept(member: Embedder, rows: Rows) -> Rows:
    return rows.astype(member.preparation.embedding_type).astype(np.float32, copy=False)
