"""Scores of published harnesses by their own code, on synthetic weights, to test protocols.

Each module serves one harness and offers ``CASES``: a model's name to a function that takes the
tensors of a checkpoint and two folders, reference and evaluation, and returns the harness' numbers
by the names of our metrics.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import numpy as np
import torch

import fad_onnx
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select, text_tower, variants
from fad_onnx.weights.binding import external

from ..parity import Tensors, graph_path
from . import captions

# Differences are relative; that of the inception score is relative to its excess over 1.
LIMITS = {"fad": 1e-3, "kl": 1e-3, "kad": 2e-3, "isc": 5e-3, "clap-score": 1e-3}
Numbers = dict[str, float]
Harness = Callable[[Tensors, Path, Path], Numbers]


def cases() -> dict[tuple[str, str], Harness]:
    """Every function by protocol and model."""
    found: dict[tuple[str, str], Harness] = {}
    for info in iter_modules(__path__):
        module = import_module(f"{__name__}.{info.name}")
        for protocol, functions in getattr(module, "CASES", {}).items():
            models: Mapping[str, Harness] = functions
            found |= {(protocol, model): function for model, function in models.items()}
    return found


@dataclass(frozen=True)
class Compared:
    """One of our numbers, and that of the harness."""

    protocol: str
    model: str
    metric: str
    ours: float
    theirs: float

    @property
    def difference(self) -> float:
        """The relative difference; for the inception score, which is at least 1, of its excess."""
        floor = 1.0 if self.metric == "isc" else 0.0
        return abs(self.ours - self.theirs) / abs(self.theirs - floor)


def compared(
    protocol: str, model: str, folders: tuple[Path, Path], seed: int = 0
) -> list[Compared]:
    """Compute every number that the harness computes, by its own code and by the run time.

    Parameters
    ----------
    protocol, model : str
        A key of `cases`.
    folders : tuple of Path
        Reference and evaluation.
    seed : int
        The seed of the synthetic checkpoint.

    Returns
    -------
    list of Compared
        One for each metric.
    """
    tensors = checkpoint(model, seed, speaks(protocol, model))
    theirs = cases()[protocol, model](tensors, *folders)
    ours = scored(protocol, model, tensors, folders, list(theirs))
    return [Compared(protocol, model, name, ours[name], theirs[name]) for name in theirs]


def speaks(protocol: str, model: str) -> bool:
    """Whether the harness computes a CLAP score with the model."""
    harness = select(model).model.protocols.get(protocol)
    return bool(harness and model in getattr(harness.metrics.get("clap-score"), "models", ()))


def checkpoint(model: str, seed: int, text: bool = False) -> Tensors:
    """Every tensor of the model's main file that one of its graphs binds, and, if requested,
    those of its text tower.
    """
    one = select(model)
    found = {}
    for variant in variants(one.model):
        if variant.output.checkpoints == one.output.checkpoints:
            found |= external(graph_path(variant))
    if text:
        tower = text_tower(one.model)
        assert tower
        found |= external(graph_path(tower))
    return synthetic.tensors(found, seed)


def saved(tensors: Tensors, folder: Path) -> Path:
    """A checkpoint with these tensors in this folder, as torch writes it."""
    path = folder / "weights.pth"
    torch.save({name: torch.from_numpy(np.array(array)) for name, array in tensors.items()}, path)
    return path


def scored(
    protocol: str, model: str, tensors: Tensors, folders: tuple[Path, Path],
    metrics: Sequence[str],
) -> Numbers:  # fmt: skip
    """The run time's numbers by metric."""
    named = [f"{metric}:{model}:protocol={protocol}" for metric in metrics]
    with tempfile.TemporaryDirectory() as name:
        weights, given = {"main": saved(tensors, Path(name))}, None
        if "clap-score" in metrics:
            weights |= captions.files(model, Path(name))
            given = captions.write(folders[1], Path(name))
        found = fad_onnx.evaluate(
            folders[1], folders[0], named, captions=given,
            weights={f"{model}:{file}": path for file, path in weights.items()},
            short="pad", cache=False, offline=True, provider="cpu",
        )  # fmt: skip
    values = {one.metric.name: one.value.value for one in found.measured}
    return {name: float("nan") if values[name] is None else values[name] for name in metrics}
