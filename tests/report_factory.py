"""Scores for reports: real short files, synthetic embeddings, real statistics on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import soundfile

from fad_onnx.api.measure import Against, Wanted, clip_scores
from fad_onnx.api.results import Score
from fad_onnx.audio.sources import AudioFile
from fad_onnx.metrics.moments import Moments
from fad_onnx.networks import synthetic
from fad_onnx.pipeline.datasets import Dataset
from fad_onnx.pipeline.metadata import Metadata
from fad_onnx.pipeline.summaries import FileSummary

ALL = Wanted(inf=True, ci=0.95, kad=True, per_file=True)
PROTOCOL = {
    "sample_rate_hz": 16000,
    "windows": {"cover": "windows", "tail": "drop"},
    "nothing": None,
}


def clip_files(folder: Path, names: Sequence[str], seconds: float = 1.0) -> list[Path]:
    """Synthetic mono clips as PCM files, each another."""
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        samples = synthetic.clip(seed, round(seconds * 16000))[0]
        with open(folder / name, "wb") as out:
            soundfile.write(out, samples, 16000, format="WAV")
    return [folder / name for name in names]


def audio_set(
    path: str, files: Sequence[Path], model: str = "synthetic", seed: int = 0, shift: float = 0.0,
    rows_each: int = 10, dim: int = 8, extra: Mapping[str, object] | None = None,
) -> Dataset:  # fmt: skip
    """Gaussian embeddings for these files, each file a little further out than the one before."""
    random = np.random.RandomState(seed)
    embeddings = tuple(
        (random.standard_normal((rows_each, dim)) + shift + 0.05 * i).astype(np.float32)
        for i in range(len(files))
    )
    summaries = tuple(
        FileSummary(AudioFile(str(file), file.name), (rows_each,), 1.0, 16000, False, None)
        for file in files
    )
    said = {
        "model": model, "protocol": PROTOCOL, "fingerprint": "f" * 64, "files": len(files),
        "embeddings": len(files) * rows_each, "seconds": float(len(files)), **(extra or {}),
    }  # fmt: skip
    metadata = Metadata.from_json(said)
    moments = Moments.of(np.concatenate(embeddings))
    return Dataset(path, moments, metadata, summaries, embeddings_by_file=embeddings)


def score(
    reference: Dataset, evaluation: Dataset, wanted: Wanted = ALL,
    warnings: Sequence[str] = (), model: str | None = None,
) -> Score:  # fmt: skip
    """What `api.compare` makes of two sets."""
    against = Against(reference, wanted.metrics, wanted.options)
    values = against.values(evaluation)
    files = clip_scores(against.arrays.gaussian, evaluation, None) if wanted.per_file else ()
    name = model or evaluation.metadata.model
    value = values["fad"].value
    return Score(value, name, reference, evaluation, values, files, tuple(warnings))
