"""frechet-audio-distance 0.3.4: its own class, with its loading, statistics and distance.

Left out is its constructor, which downloads.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from fad_onnx.networks import table

from .. import clap, encodec, laion, panns, vggish
from ..clap import fusion_preprocessing
from ..mocks import stand_ins
from ..parity import Embed, Tensors
from . import Harness, Numbers, captions


class Vggish:
    """What torchvggish's class does in addition to its network, without its download."""

    def __init__(self, tensors: Tensors) -> None:
        self._embed: Embed = vggish.original(tensors)

    def forward(self, samples: NDArray[Any], rate: int) -> torch.Tensor:
        """Embed, as in torchvggish/vggish.py; it would resample too, which is not needed here."""
        if rate != vggish.SAMPLE_RATE_HZ:
            raise ValueError(f"{rate} Hz")
        return torch.from_numpy(self._embed(np.asarray(samples)[None]))


def _root(matrix: NDArray[Any], disp: bool) -> tuple[NDArray[Any], float]:
    """SciPy's square root, also of a single number, for which SciPy since 1.16 returns no error
    estimate, so that the original fails.
    """
    return scipy.linalg.sqrtm(matrix), 0.0


def metric(name: str, model: Any, rate: int, channels: int = 1) -> Any:
    """The original's class around this model."""
    with stand_ins():
        from frechet_audio_distance import fad
        from frechet_audio_distance.fad import FrechetAudioDistance
    fad.linalg = SimpleNamespace(sqrtm=_root)
    made = FrechetAudioDistance.__new__(FrechetAudioDistance)
    made.model_name, made.sample_rate, made.channels = name, rate, channels
    made.verbose, made.audio_load_worker = False, 2
    made.device, made.model = torch.device("cpu"), model
    return made


def _score(
    name: str, rate: int, channels: int, build: Callable[[Tensors], Any], tensors: Tensors,
    reference: Path, evaluation: Path,
) -> Numbers:  # fmt: skip
    made, said = metric(name, build(tensors), rate, channels), io.StringIO()
    with torch.inference_mode(), contextlib.redirect_stdout(said):
        found = float(made.score(str(reference), str(evaluation)))
    if found == -1:
        raise RuntimeError(f"frechet-audio-distance gave no score: {said.getvalue()}")
    return {"fad": found}


def _laion(architecture: str, fusion: bool, tensors: Tensors) -> Any:
    return laion.module(architecture, captions.audio_tensors(tensors), fusion)


def _fused(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """The scores with enable_fusion; for clips of up to ten seconds, it draws nothing."""
    with fusion_preprocessing():
        build = partial(_laion, "HTSAT-tiny", True)
        return _score("clap", 48_000, 1, build, tensors, reference, evaluation)


def _clap(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """The distance, and the score of captions by its class CLAPScore, which is given their
    embeddings as a file. It takes them in the order of the folder.
    """
    with stand_ins():
        from frechet_audio_distance.clap_score import CLAPScore
    build = partial(_laion, "HTSAT-tiny", False)
    found = _score("clap", 48_000, 1, build, tensors, reference, evaluation)
    made = CLAPScore.__new__(CLAPScore)
    made.model, made.device, made.sample_rate = build(tensors), torch.device("cpu"), 48_000
    made.verbose, made.audio_load_worker = False, 2
    text = dict(
        zip(
            captions.of(evaluation),
            captions.embeddings("clap", tensors, evaluation),
            strict=True,
        )
    )
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        path = Path(folder) / "text.npy"
        np.save(path, np.stack([text[name] for name in os.listdir(evaluation)]))
        score, _ = made.score("", str(evaluation), text_embds_path=str(path))
    return {**found, "clap-score": float(score)}


def _case(name: str, rate: int, channels: int, build: Callable[[Tensors], Any]) -> Harness:
    return partial(_score, name, rate, channels, build)


MODELS: Mapping[str, Harness] = {
    "vggish": _case("vggish", 16_000, 1, Vggish),
    "encodec-24k": _case("encodec", 24_000, 1, partial(encodec.original_network, "24khz")),
    "encodec-48k": _case("encodec", 48_000, 2, partial(encodec.original_network, "48khz")),
    **{
        model: _case("clap", 48_000, 1, partial(_laion, architecture, False))
        for model, architecture in clap.ARCHITECTURES.items()
    },
    "clap": _clap,
    "clap-630k-audioset-fusion": _fused,
    **{
        model: _case("pann", settings[1][0], 1, partial(panns.original_network, *settings))
        for model, settings in panns.SETTINGS.items()
        if "gudgud96" in table.model(model).protocols
    },
}
CASES = {"gudgud96": MODELS}
