"""Checks of entries that go beyond the types of their values."""

from __future__ import annotations

import re

from ..errors import ModelTableError
from .network import DIGESTS, Network
from .preparation import Preparation

NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def check_name(name: str) -> None:
    """ModelTableError for a name of a model that `-m NAME:KEY=VALUE` could not select."""
    if not re.fullmatch(NAME, name):
        problem = "a name has letters, digits, '.', '_' and '-', and starts with a letter or digit"
        raise ModelTableError(f"models.{name}", problem)


def checked_preparation(name: str, preparation: Preparation) -> Preparation:
    """The preparation, if its windows have the lengths that their rules need."""
    rules, needed = preparation.windows, set()
    if rules.cover != "whole" or rules.fill != "none":
        needed.add("length_samples")
    if rules.cover == "windows":
        needed.add("hop_samples")
    if missing := sorted(key for key in needed if getattr(rules, key) is None):
        place = f"preparations.{name}.windows.{missing[0]}"
        raise ModelTableError(place, f"missing, with cover {rules.cover} and fill {rules.fill}")
    return preparation


def checked_network(network: Network) -> Network:
    """The network, after its parts were found to fit; ModelTableError if they do not."""
    where = f"networks.{network.name}"
    for name, checkpoint in network.checkpoints.items():
        for kind, digest in checkpoint.digests.items():
            if not re.fullmatch(DIGESTS.get(kind, "$."), digest):
                place = f"{where}.checkpoints.{name}.digests.{kind}"
                raise ModelTableError(
                    place, f"{digest!r} is not a digest; known kinds: {', '.join(DIGESTS)}"
                )
        for pattern in (*checkpoint.aliases, *checkpoint.computed):
            try:
                re.compile(pattern)
            except re.error as error:
                place = f"{where}.checkpoints.{name}: {pattern}"
                raise ModelTableError(place, f"not a regular expression: {error}") from error
    if not network.outputs:
        raise ModelTableError(f"{where}.outputs", "needs one")
    heads = [network.head] if network.head else []
    parts = {**network.outputs, **({"text": network.text} if network.text else {})}
    for graph in [*(network.graph_of(part) for part in parts.values()), *heads]:
        if graph not in network.hashes:
            raise ModelTableError(where, f"the graph {graph!r} is not in `graphs`")
    if network.tiles and not network.head:
        for name, output in network.outputs.items():
            if output.samples_per_embedding != network.tiles.step_samples:
                said = f"without a head, a step must be an embedding of the output {name!r}"
                raise ModelTableError(f"{where}.tiles.step_samples", said)
    for name, output in parts.items():
        for key in output.checkpoints:
            if key not in network.checkpoints:
                raise ModelTableError(f"{where}.outputs.{name}", f"no checkpoint {key!r}")
    return network
