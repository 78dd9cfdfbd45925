"""Known-answer tests of an ONNX Runtime and a provider.

For every model, the graphs of this release run with a synthetic checkpoint, one network at a time.
Their embeddings are compared with those of the reference implementation, in torch, for the same
tensors and clips (fad_onnx/networks/golden, written by `python -m exporters golden`). Converted
models in the cache are compared with their hashes. Nothing is downloaded; the weights of one
network at a time (up to 6.2 GB) are written to a temporary folder.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..cache.filesystem import guarded
from ..errors import DamagedModelError, ModelTableError
from ..networks import synthetic
from ..networks.embedder import Embedder
from ..networks.runtime import Session, Settings
from ..networks.selection import Selection, selection_of, text_tower, variants
from ..networks.spec import ModelSpec
from ..networks.table import PACKAGE, Model
from ..weights import converted, prepare
from ..weights.binding import publish_synthetic
from ..weights.checkpoints import npz

GOLDEN = PACKAGE / "networks" / "golden"
# The largest accepted error of the embeddings; see `spread_error`.
TOLERANCE = 1e-4
REFERENCE = "the reference implementation in torch, synthetic weights"


@dataclass(frozen=True)
class Check:
    """One comparison of `verify`.

    Parameters
    ----------
    model : str
        The model.
    what : str
        What was computed, or why nothing was.
    source : str
        The source of the expected answer.
    error : float or None
        The error relative to the spread of the embeddings.
    passed : bool or None
        None if nothing was checked.

    Examples
    --------
    >>> import fad_onnx
    >>> check = fad_onnx.verify("logmel", provider="cpu")[0]
    >>> check.model, check.passed
    ('logmel', True)
    """

    model: str
    what: str
    source: str
    error: float | None
    passed: bool | None


def spread_error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """The error of embeddings (n, dim), relative to their spread about the mean embedding.

    This is |got - expected| / |expected - mean embedding|, with Frobenius norms in float64, so that
    a network with a constant output fails. For a single embedding, the spread is that of its
    numbers about their mean. The error is infinite if the shapes differ.
    """
    if got.shape != expected.shape:
        return float("inf")
    wide = expected.astype(np.float64)
    centre = wide.mean(axis=0) if len(wide) > 1 else wide.mean()
    spread = np.linalg.norm(wide - centre)
    return float(np.linalg.norm(got - wide) / spread) if spread else float("inf")


def every(model: Model, settings: Settings, texts: set[str] | None = None) -> Iterator[Check]:
    """The known answers of one model, its converted files, and its published weights.

    `texts` holds the graphs of text towers that were checked already, because models share them;
    those that are checked now are added.
    """
    yield from verify(model, settings)
    yield from verify_text(model, settings, texts)
    yield from converted_files(model)
    yield from published(model, settings)


def verify(model: Model, settings: Settings | None = None) -> Iterator[Check]:
    """Check one model; ProviderError if the provider does not load."""
    if model.network.places:
        yield Check(model.name, "a registered model: there is no known answer", "-", None, None)
        return
    golden = npz.read(GOLDEN / f"{model.name}.npz")
    by_graph: dict[str, list[Selection]] = {}
    for selection in variants(model):
        by_graph.setdefault(selection.graph, []).append(selection)
    for alike in by_graph.values():
        with tempfile.TemporaryDirectory(prefix="fad-onnx-verify-") as folder:
            graph = publish_synthetic(alike[0], int(golden["seed"]), Path(folder))
            session = Session(graph, settings or Settings("cpu"))
            for selection in alike:
                yield _check(Embedder(selection, session, {}, ""), golden)


def verify_text(
    model: Model, settings: Settings | None = None, texts: set[str] | None = None
) -> Iterator[Check]:
    """Check the text tower of a model, if it has one; see `every`."""
    tower, checked = text_tower(model), set() if texts is None else texts
    if tower is None or tower.graph in checked:
        return
    checked.add(tower.graph)
    golden = npz.read(GOLDEN / f"{Path(tower.graph).stem}.npz")
    with tempfile.TemporaryDirectory(prefix="fad-onnx-verify-") as folder:
        graph = publish_synthetic(tower, int(golden["seed"]), Path(folder))
        session = Session(graph, settings or Settings("cpu"))
        captions = [ids for name, ids in golden.items() if name.startswith("ids/")]
        found = [session.run((ids[None],), (tower.output.tensor,))[0][0] for ids in captions]
    error = spread_error(np.stack(found), golden["embeddings"])
    what = f"golden embeddings of captions, {tower.graph}"
    yield Check(model.name, what, REFERENCE, error, error <= TOLERANCE)


def published(model: Model, settings: Settings | None = None) -> Iterator[Check]:
    """Check the official weights of a model against published answers.

    If the weights are not in the cache, or nothing is published, the Check says so.
    """
    if not model.published:
        yield Check(model.name, "no answer is published for its weights", "-", None, None)
    for truth in model.published:
        selection = selection_of(model, truth.options)
        if prepare.ready(selection) is None:
            what = f"published answer not checked: run `fad-onnx pull {model.name}` first"
            yield Check(model.name, what, truth.source, None, None)
            continue
        spec = ModelSpec(model.name, truth.options)
        request = prepare.Request(spec, settings=settings or Settings("cpu"))
        rate = selection.preparation.sample_rate_hz
        turns = np.arange(round(truth.seconds * rate)) / rate * truth.sine_hz
        found = prepare.load(request).embed(np.sin(2 * np.pi * turns), rate)
        error = max(abs(found.mean() / truth.mean - 1), abs(found.std() / truth.deviation - 1))
        what = f"mean and standard deviation of a {truth.sine_hz:g} Hz sine, {selection.label}"
        yield Check(model.name, what, truth.source, float(error), bool(error <= truth.tolerance))


def converted_files(model: Model) -> Iterator[Check]:
    """Check the model's converted files in the cache against their hashes.

    Every byte is read, even if the hash of an unchanged file is known. A damaged model is converted
    again at its next use.
    """
    for folder in converted.folders():
        if folder.name.rpartition("-")[0] != model.name:
            continue
        what, damage = f"converted files in {folder.name}", None
        try:
            converted.check(folder, converted.read_sha256)
        except DamagedModelError as error:
            what, damage = f"{error}; its next use converts it again", Path(error.path)
        yield Check(model.name, what, "their hashes at conversion", None, damage is None)
        if damage:
            # A new modification time invalidates the remembered hash.
            with guarded(damage):
                os.utime(damage)


def options_key(selection: Selection) -> str:
    """The name of a selection in a golden file: the options and output that it differs in."""
    parts = [f"{name}={value}" for name, value in selection.output_options.items()]
    if selection.output_name != next(iter(selection.network.outputs)):
        parts.append(f"output={selection.output_name}")
    return ",".join(parts) or "default"


def _check(embedder: Embedder, golden: Mapping[str, NDArray[Any]]) -> Check:
    selection, preparation = embedder.selection, embedder.preparation
    key = options_key(selection)
    got, expected = [], []
    for index, (seed, samples) in enumerate(golden["clips"]):
        want = golden[f"{key}/{index}"]
        clip = synthetic.clip(int(seed), int(samples), preparation.channel_count)
        own = embedder.embed(clip.T, preparation.sample_rate_hz)
        if own.shape[1] != selection.width:
            problem = f"{selection.width}, the graph gives {own.shape[1]}"
            raise ModelTableError(f"networks.{selection.network.name}.outputs", problem)
        got.append(own[:: -(-len(own) // len(want))])
        expected.append(want)
    error = spread_error(np.concatenate(got), np.concatenate(expected))
    what = f"golden embeddings, {key}"
    return Check(selection.model.name, what, REFERENCE, error, error <= TOLERANCE)
