"""Code as users write it: mypy --strict must accept it. It is checked, never run."""

from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np

import fad_onnx


def score_folders(reference: Path, generated: Path) -> float:
    with ProcessPoolExecutor(2) as executor:
        score = fad_onnx.score(
            reference, generated, "vggish", options={"use_pca": True}, executor=executor,
            wanted=fad_onnx.Wanted(inf=True, ci=0.9), weights={"main": "mine.pth"},
        )  # fmt: skip
    for path, reason in score.skipped:
        print(path, reason)
    limit = score.metrics["fad-inf"].value
    return float(score) if limit is None else limit


def embed_samples(samples: list[float]) -> int:
    model = fad_onnx.load_model("logmel", provider="cpu", threads=1)
    embeddings = model.embed(np.array(samples), sample_rate=16000)
    every = fad_onnx.embed("folder", "logmel", cache=False)
    first = fad_onnx.Moments.of(embeddings) + fad_onnx.Moments.of(every["a.wav"])
    for name, info in fad_onnx.models().items():
        print(name, info.sample_rate_hz, info.outputs["embedding"])
    print(fad_onnx.pull("vggish:use_pca=true"), fad_onnx.verify(provider="cpu")[0].passed)
    spec = fad_onnx.ModelSpec("logmel")
    fad_onnx.compare("a", ["b", "c"], [spec, model, "vggish"], progress=True)
    fad_onnx.score(fad_onnx.stats("a"), every, wanted=fad_onnx.Wanted(kad=True))
    fad_onnx.compare(first, [embeddings, ["a", "b"], first], "logmel")
    fad_onnx.merge(["1.npz", "2.npz"], "all.npz")
    return first.count + int(fad_onnx.frechet_distance(first, first))


def train() -> float:
    metric = fad_onnx.FrechetAudioDistance(model_name="logmel")
    other = fad_onnx.StreamingFAD("logmel", short="pad").merge_state([metric])
    other.update([0.0] * 16000, 16000, real=True)
    metric.update(np.zeros(16000), 16000, real=True)
    metric.merge_state([metric.state()])
    metric.reset(real=False)
    try:
        return metric.compute()
    except fad_onnx.FadError as error:
        raise SystemExit(str(error)) from error
