"""audioldm_eval (commit 8dc07ee) and av-benchmark (050a5cd), rebuilt from the packages they call.

Neither is on the package index. These parts are rebuilt:

* audioldm_eval: datasets/load_mel.py 156 to 175 (WaveDataset: the first channel, its mean removed,
  `torchaudio.functional.resample`, zeros up to 32,000 samples); metrics/fad.py 90 to 154;
  metrics/fid.py; metrics/kl.py 95 to 99; metrics/isc.py. eval.py 235 to 279 calls them, generated
  files first.
* av-benchmark: data/audio_dataset.py 124 to 141 (AudioDataset: the mean of the channels, its mean
  removed, `torchaudio.transforms.Resample`, cut to 8 s); extract.py 60 to 86; metrics/fad.py,
  metrics/kl.py 22 to 30, metrics/isc.py; evaluate.py 126 to 165 calls them.

Clips go through one by one: a batch of unequal lengths is an error in both.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import kl_div, log_softmax

from .. import laion, msclap, panns, passt, vggish
from ..parity import Embed, Tensors
from . import Numbers, captions, torchaudio_parts

Read = Callable[[Path, int], Tensor]


def read_audioldm(path: Path, rate: int) -> Tensor:
    """A clip (1, n) of audioldm_eval."""
    audio, source = torchaudio_parts.load(path)
    audio = audio[0:1]
    audio = torchaudio_parts.resample(audio - audio.mean(), source, rate)
    return torch.nn.functional.pad(audio, (0, max(0, 32_000 - audio.shape[-1])))


def read_av(path: Path, rate: int) -> Tensor:
    """A clip (1, n) of av-benchmark."""
    audio, source = torchaudio_parts.load(path)
    audio = audio.mean(dim=0)
    audio = torchaudio_parts.Resample(source, rate)(audio - audio.mean())
    return audio[None, : 8 * rate]


def frechet(generated: NDArray[Any], reference: NDArray[Any]) -> float:
    """The distance of float32 embeddings (n, width), by SciPy's square root of the product."""
    (mu1, sigma1), (mu2, sigma2) = (
        (embeddings.mean(axis=0), np.cov(embeddings, rowvar=False))
        for embeddings in (generated, reference)
    )
    root = scipy.linalg.sqrtm(sigma1.dot(sigma2))
    if not np.isfinite(root).all():
        noise = 1e-6 * np.eye(len(sigma1))
        root = scipy.linalg.sqrtm((sigma1 + noise).dot(sigma2 + noise))
    if np.iscomplexobj(root):
        if not np.allclose(np.diagonal(root).imag, 0, atol=1e-3):
            raise ValueError(f"imaginary component {np.abs(root.imag).max()}")
        root = root.real
    gap = mu1 - mu2
    return float(gap @ gap + np.trace(sigma1) + np.trace(sigma2) - 2 * np.trace(root))


def divergence(generated: Tensor, reference: Tensor, epsilon: float | None) -> float:
    """KL of softmaxes of logits (n, classes), the reference first; audioldm_eval has an epsilon."""
    if epsilon is None:
        second, first, logarithms = log_softmax(generated, 1), log_softmax(reference, 1), True
    else:
        second, first = (generated.softmax(1) + epsilon).log(), reference.softmax(1)
        logarithms = False
    return float(kl_div(second, first, reduction="sum", log_target=logarithms) / len(generated))


def inception(logits: Tensor, splits: int = 10) -> float:
    """The mean over the splits; both harnesses order by RandomState(2020)."""
    ordered = logits[np.random.RandomState(2020).permutation(len(logits))].double()
    scores = []
    for i in range(splits):
        part = ordered[i * len(ordered) // splits : (i + 1) * len(ordered) // splits]
        p, log_p = part.softmax(1), part.log_softmax(1)
        divergences = (p * (log_p - p.mean(0, keepdim=True).log())).sum(1)
        scores.append(float(divergences.mean().exp()))
    return float(np.mean(scores))


def _vggish(read: Read, tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """FAD of all patches: both harnesses omit the last ReLU and use no PCA."""
    rate, embed = vggish.SAMPLE_RATE_HZ, vggish.original(tensors)
    return {"fad": frechet(*(_rows(embed, read, rate, side) for side in (evaluation, reference)))}


def _rows(embed: Embed, read: Read, rate: int, folder: Path) -> NDArray[Any]:
    return np.concatenate([embed(read(path, rate).numpy()) for path in _files(folder)])


def _files(folder: Path) -> Sequence[Path]:
    return sorted(folder.glob("*.wav"), key=lambda path: path.stem)


def _pann(
    model: str, read: Read, epsilon: float | None, tensors: Tensors, *folders: Path
) -> Numbers:
    """The distance of the 2048 numbers, and KL and inception score of the logits of CNN14."""
    settings, (reference, evaluation) = panns.SETTINGS[model], folders
    network, rate = panns.original_network(*settings, tensors), settings[1][0]
    outputs = panns.embed(network), panns.logits(network)
    generated, theirs = (
        tuple(_rows(embed, read, rate, side) for embed in outputs)
        for side in (evaluation, reference)
    )
    return classified(generated, theirs, epsilon)


def _passt(
    read: Read, epsilon: float | None, tensors: Tensors, reference: Path, evaluation: Path
) -> Numbers:
    """The same for PaSST: every clip is cut or padded to 10 s, and logits precede the embedding.

    audioldm_eval has it in its branch passt_replace_panns (a2fde54), without a distance.
    """
    model = passt.original_model(99, tensors)

    def both(folder: Path) -> tuple[NDArray[Any], NDArray[Any]]:
        clips = [read(path, 32_000)[:, :320_000] for path in _files(folder)]
        filled = [torch.nn.functional.pad(clip, (0, 320_000 - clip.shape[-1])) for clip in clips]
        with torch.inference_mode():
            made = torch.cat([model(clip) for clip in filled]).numpy()
        return made[:, passt.CLASSES :], made[:, : passt.CLASSES]

    return classified(both(evaluation), both(reference), epsilon)


def _laion_score(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """extract.py 113 to 126 and extraction_models.py 54: HTSAT-base, clips of 8 s."""
    model = laion.module("HTSAT-base", captions.audio_tensors(tensors))
    audio = _rows(laion.embed(model), read_av, 48_000, evaluation)
    text = captions.embeddings("clap-music-speech-audioset", tensors, evaluation)
    return {"clap-score": captions.score(audio, text)}


def _microsoft_score(tensors: Tensors, reference: Path, evaluation: Path) -> Numbers:
    """extract.py 128 to 136: msclap's own loading of files; the middle for the part it draws."""
    encoder, wrapper = msclap.original_encoder(tensors), msclap.package().CLAPWrapper
    loading = wrapper.__new__(wrapper)

    def read(path: Path, resample: bool) -> tuple[Tensor, int]:
        audio, source = torchaudio_parts.load(path)
        return torchaudio_parts.Resample(source, msclap.RATE_HZ)(audio), msclap.RATE_HZ

    loading.read_audio = read
    with (
        torch.inference_mode(),
        mock.patch.object(random, "randrange", lambda places: places // 2),
    ):
        clips = [loading.load_audio_into_tensor(path, 7, True) for path in _files(evaluation)]
        audio = torch.cat([encoder(clip.reshape(1, -1))[0] for clip in clips]).numpy()
    text = captions.embeddings("msclap-2023", tensors, evaluation)
    return {"clap-score": captions.score(audio, text)}


def classified(generated: Any, reference: Any, epsilon: float | None) -> Numbers:
    """The numbers of (embeddings, logits) of clips with equal names."""
    logits = [torch.from_numpy(side[1]) for side in (generated, reference)]
    return {
        "fad": frechet(generated[0], reference[0]),
        "kl": divergence(*logits, epsilon),
        "isc": inception(logits[0]),
    }


CASES: Mapping[str, Mapping[str, Any]] = {
    "audioldm-eval": {
        "vggish": partial(_vggish, read_audioldm),
        "pann-16k": partial(_pann, "pann-16k", read_audioldm, 1e-6),
        "pann-32k": partial(_pann, "pann-32k", read_audioldm, 1e-6),
        "passt": partial(_passt, read_audioldm, 1e-6),
    },
    "av-benchmark": {
        "vggish": partial(_vggish, read_av),
        "pann-16k": partial(_pann, "pann-16k", read_av, None),
        "passt": partial(_passt, read_av, None),
        "clap-music-speech-audioset": _laion_score,
        "msclap-2023": _microsoft_score,
    },
}
