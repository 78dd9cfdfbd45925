"""Known answers: is this ONNX Runtime, with this provider, still computing the same rows?

For every model the graphs of this release run on a synthetic checkpoint, one network at a
time, and are compared with what the original network, in torch, gave for the same tensors and
clips (fad_onnx/golden, written by `python -m exporters golden`). Needs no download; disk for
one set of weights at a time (at most 0.4 GB), which is removed again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import synthetic
from .checkpoints import npz
from .embedder import Embedder
from .manifest import PACKAGE, Model, Variant
from .session import Network, Settings
from .weights import publish_synthetic

GOLDEN = PACKAGE / "golden"
# The error of the rows relative to their spread about the mean row: what equivalence means here.
TOLERANCE = 1e-4


@dataclass(frozen=True)
class Check:
    """One comparison: the model, what was computed, whose answer it was held against."""

    model: str
    what: str
    source: str
    error: float
    passed: bool


def spread_error(got: NDArray[Any], expected: NDArray[Any]) -> float:
    """|got - expected| / |expected - mean row|, Frobenius norms in float64; shapes (n, dim).

    Relative to the spread, so that a network that answers the same row to everything fails.
    """
    if got.shape != expected.shape:
        return float("inf")
    wide = expected.astype(np.float64)
    spread = np.linalg.norm(wide - wide.mean(axis=0))
    return float(np.linalg.norm(got - wide) / spread) if spread else float("inf")


def verify(model: Model, settings: Settings | None = None) -> Iterator[Check]:
    """The checks of one model; ProviderError if the provider does not load."""
    golden = npz.read(GOLDEN / f"{model.name}.npz")
    by_graph: dict[str, list[Variant]] = {}
    for variant in model.variants:
        by_graph.setdefault(variant.graph, []).append(variant)
    for variants in by_graph.values():
        with tempfile.TemporaryDirectory(prefix="fad-onnx-verify-") as folder:
            graph = publish_synthetic(model, variants[0], int(golden["seed"]), Path(folder))
            for variant in variants:
                yield _check(model, variant, graph, golden, settings or Settings("cpu"))


def _check(
    model: Model,
    variant: Variant,
    graph: Path,
    golden: Mapping[str, NDArray[Any]],
    settings: Settings,
) -> Check:
    chosen = model.choose(variant.when)
    embedder = Embedder(model, chosen, Network(graph, variant.output, settings), {}, "")
    key = ",".join(f"{name}={value}" for name, value in sorted(variant.when.items())) or "default"
    got, expected = [], []
    for index, (seed, samples) in enumerate(golden["clips"]):
        want = golden[f"{key}/{index}"]
        clip = synthetic.clip(int(seed), int(samples), model.channels)
        rows = embedder.embed(clip.T, model.sample_rate_hz)
        got.append(rows[:: -(-len(rows) // len(want))])
        expected.append(want)
    error = spread_error(np.concatenate(got), np.concatenate(expected))
    source = "the original network in torch, synthetic weights"
    return Check(model.name, f"golden rows, {key}", source, error, error <= TOLERANCE)
