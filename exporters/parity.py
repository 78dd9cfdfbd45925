"""Compares a graph with the original package: what verify, golden and the tests share.

A family module offers ``GRAPHS`` and, for the models that it serves, ``ORIGINALS``: it maps a
model's name to a function that takes the tensors of a checkpoint (and, by keyword, the options that
select an output, and ``output`` if it is not the first) and returns a function from samples,
float32 (channels, n) at the model's rate, to embeddings, float32 (m, width), computed by the
original package's own torch code. ``FEATURES`` does the same for the input of the network, and
names the value in the graph that it is compared with. ``TEXTS`` maps the graph of a text tower to a
function that takes the tensors of a checkpoint and returns a function from ids, int64 (length,), to
an embedding, float32 (width,). ``CLIP_SAMPLES`` gives the lengths to compare at if not every length
is exact. ``PACKAGES`` names the package of an original that needs an environment of its own.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

import exporters
from fad_onnx.networks import synthetic
from fad_onnx.networks.embedder import Embedder
from fad_onnx.networks.preparation import Pooling
from fad_onnx.networks.runtime import Session, Settings
from fad_onnx.networks.selection import Selection, parts
from fad_onnx.networks.table import Model
from fad_onnx.tools.known_answers import spread_error
from fad_onnx.weights.binding import external as bound  # the checkpoint's tensors in a graph
from fad_onnx.weights.binding import write_model
from fad_onnx.weights.checkpoints.onnx_file import pruned

from .skeleton import GRAPHS_FOLDER, Graph

Tensors = Mapping[str, NDArray[Any]]
Embed = Callable[[NDArray[np.float32]], NDArray[np.float32]]


@cache
def families() -> tuple[ModuleType, ...]:
    """The modules of this package that export graphs, in alphabetical order."""
    names = [info.name for info in pkgutil.iter_modules(exporters.__path__)]
    modules = (importlib.import_module(f"exporters.{name}") for name in sorted(names)
               if not name.startswith("_"))  # fmt: skip
    return tuple(module for module in modules if hasattr(module, "GRAPHS"))


def graphs() -> dict[str, Graph]:
    """All graphs by name."""
    return {graph.name: graph for family in families() for graph in family.GRAPHS}


def offered(name: str) -> dict[str, Any]:
    """Collect what all families offer.

    Parameters
    ----------
    name : str
        ``"ORIGINALS"``, ``"FEATURES"``, ``"TEXTS"``, ``"CLIP_SAMPLES"`` or ``"PACKAGES"``.

    Returns
    -------
    dict
        What the families offer, by the name of the model (or graph).
    """
    return {
        model: value for family in families() for model, value in getattr(family, name, {}).items()
    }


def at_hand(model: str) -> bool:
    """Whether the original of a model can run in this environment."""
    package = offered("PACKAGES").get(model)
    return package is None or importlib.util.find_spec(package) is not None


def graph_files(model: Model) -> set[str]:
    """The graph files that a model uses, including the head and the text tower."""
    network = model.network
    heads = {network.head} if network.head else set()
    return {selection.graph for selection in parts(model)} | heads


def graph_path(selection: Selection) -> Path:
    """The path at which the graph of a selection is committed."""
    return GRAPHS_FOLDER / selection.graph


def checkpoint(selection: Selection, seed: int) -> Tensors:
    """Make a synthetic checkpoint.

    Parameters
    ----------
    selection : Selection
        Selects the graph.
    seed : int
        Of `fad_onnx.networks.synthetic.tensors`.

    Returns
    -------
    mapping of str to ndarray
        Every tensor that the graph binds.
    """
    return synthetic.tensors(bound(graph_path(selection)), seed)


def embedder(selection: Selection, tensors: Tensors, folder: Path) -> Embedder:
    """Load the run time's own model, on one thread of the CPU.

    Parameters
    ----------
    selection : Selection
        The model with its output and preparation.
    tensors : mapping of str to ndarray
        The checkpoint.
    folder : Path
        An existing folder for the graph and its weights.

    Returns
    -------
    Embedder
        The loaded model.
    """
    write_model(selection, tensors.__getitem__, folder)
    session = Session(folder / "model.onnx", Settings("cpu"), frozenset(selection.tensors), pruned)
    return Embedder(selection, session, {}, "")


def original(selection: Selection, tensors: Tensors) -> Embed:
    """Load the original network.

    Parameters
    ----------
    selection : Selection
        The model with its output.
    tensors : mapping of str to ndarray
        The checkpoint.

    Returns
    -------
    callable
        From samples, float32 (channels, n), to embeddings, float32 (m, width).
    """
    options = dict(selection.output_options)
    if selection.output_name != next(iter(selection.network.outputs)):
        options["output"] = selection.output_name
    embed: Embed = offered("ORIGINALS")[selection.model.name](tensors, **options)
    return embed


def ids(seed: int, length: int) -> NDArray[np.int64]:
    """A caption of random numbers between RoBERTa's <s> and </s>."""
    found = np.random.RandomState(seed).randint(4, 50_000, size=length)
    found[0], found[-1] = 0, 2
    return found.astype(np.int64)


def clip_samples(model: Model) -> tuple[int, ...]:
    """Choose lengths of clips: the shortest, both sides of boundaries, no multiples of a hop.

    Parameters
    ----------
    model : Model
        The entry of the table.

    Returns
    -------
    tuple of int
        Samples at the model's rate, in ascending order.
    """
    named = offered("CLIP_SAMPLES").get(model.name)
    if named is not None:
        return tuple(named)
    preparation, tiles = model.preparation, model.network.tiles
    rate, minimum, rules = (
        preparation.sample_rate_hz,
        preparation.minimum_samples,
        preparation.windows,
    )
    lengths, length, hop = {minimum, minimum + 1}, rules.length_samples, rules.hop_samples
    if rules.tail == "pad" and length:
        return (length,)  # only the family knows how its network treats padding
    if length and hop:
        lengths |= {length + hop - 1, length + hop}
    lengths |= {round(seconds * rate) + 13 for seconds in (1.37, 2.9, 5.003)}
    if tiles:
        lengths.add(2 * tiles.steps * tiles.step_samples + 13)  # the first in tiles
    if rules.cover == "crop" and length:
        lengths = {samples for samples in lengths if samples <= length} | {length}
    return tuple(sorted(samples for samples in lengths if samples >= minimum))


@dataclass(frozen=True)
class Comparison:
    """Embeddings (m, width) of one clip, by the graph and by the original."""

    samples: int
    got: NDArray[np.float32]
    expected: NDArray[np.float32]

    @property
    def spread_error(self) -> float:
        """The error relative to the spread of this clip alone."""
        return spread_error(self.got, self.expected)


def compare(ours: Embedder, theirs: Embed, lengths: Sequence[int], seed: int) -> list[Comparison]:
    """Compare the embeddings of synthetic clips.

    Parameters
    ----------
    ours : Embedder
        The run time's model.
    theirs : callable
        The original network.
    lengths : sequence of int
        Samples of each clip, at the model's rate.
    seed : int
        Of the first clip.

    Returns
    -------
    list of Comparison
        One for each length.
    """
    results = []
    for samples in lengths:
        clip = synthetic.clip(seed + samples, samples, ours.preparation.channel_count)
        got = ours.embed(clip.T, ours.preparation.sample_rate_hz)
        results.append(Comparison(samples, got, theirs(clip)))
    return results


def pooled(comparisons: Sequence[Comparison]) -> Comparison:
    """Join the embeddings of all clips, from which a score is computed."""
    return Comparison(
        sum(one.samples for one in comparisons),
        np.concatenate([one.got for one in comparisons]),
        np.concatenate([one.expected for one in comparisons]),
    )


def up_to(tensor: str, width: int, ours: Embedder) -> Embedder:
    """The same network, but only up to another tensor of the graph, in one pass and unpooled."""
    one = ours.selection
    network = replace(one.network, tiles=None)
    output = replace(one.output, tensor=tensor, width=width, samples_per_embedding=None)
    model = replace(one.model, network=network)
    prepared = replace(one.preparation, pooling=Pooling())
    return replace(ours, selection=replace(one, model=model, output=output, preparation=prepared))
