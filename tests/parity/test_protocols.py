"""Scores by protocol against the harness' own code, on 44.1 kHz stereo with offsets and peaks."""

import json

import numpy as np
import pytest
import soundfile
import torch

from exporters import parity, vggish
from fad_onnx.cli import main
from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select

pytestmark = pytest.mark.parity

CLIPS, RATE = 24, 44_100


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two sets of stereo clips of unequal length, with DC offsets and peaks near full scale."""
    found = []
    for side, level in (("reference", 1.0), ("evaluation", 0.7)):
        folder, random = tmp_path_factory.mktemp(side), np.random.default_rng(len(side))
        for i in range(CLIPS):
            frames = int(random.uniform(1.0, 4.5) * RATE)
            clip = synthetic.clip(100 * len(side) + i, frames, 2).astype(np.float64)
            clip += 0.02 * random.standard_normal(clip.shape)
            clip *= level * random.uniform(0.6, 0.99) / np.abs(clip).max(axis=1, keepdims=True)
            clip += random.uniform(-0.02, 0.02, (2, 1))
            clip = np.clip(clip, -1, 1 - 2**-15)
            soundfile.write(folder / f"{i:02}.wav", clip.T, RATE, "PCM_16")
        found.append(folder)
    return found


def original_metric(name, model, rate):
    """The original's class with its own loading, statistics and distance: its constructor, which
    downloads, is left out.
    """
    with parity.stand_ins():
        from frechet_audio_distance.fad import FrechetAudioDistance
    metric = FrechetAudioDistance.__new__(FrechetAudioDistance)
    metric.model_name, metric.sample_rate, metric.channels = name, rate, 1
    metric.verbose, metric.audio_load_worker = False, 2
    metric.device, metric.model = torch.device("cpu"), model
    return metric


class Forward:
    """What torchvggish's class does beyond its network, without its download."""

    def __init__(self, tensors):
        self._embed = vggish.original(tensors)

    def forward(self, samples, rate):
        assert rate == 16_000
        return torch.from_numpy(self._embed(np.asarray(samples)[None]))


def ours(folders, name, tensors, tmp_path, capsys):
    """What the command prints with this checkpoint."""
    weights = tmp_path / "weights.pth"
    torch.save({key: torch.from_numpy(array) for key, array in tensors.items()}, weights)
    reference, evaluation = map(str, folders)
    label = f"{name}:protocol=gudgud96"
    capsys.readouterr()  # what the original printed
    arguments = ["score", reference, evaluation, "-m", label, "--weights", str(weights)]
    assert main([*arguments, "--json", "--offline", "--no-cache", "-q"]) == 0
    (result,) = json.loads(capsys.readouterr().out)["results"]
    assert result["model"] == label
    return result["fad"]


ORIGINALS = {
    "vggish": ("vggish", 16_000, Forward),
}


@pytest.mark.parametrize("name", ORIGINALS)
def test_gudgud96_is_frechet_audio_distance(name, folders, tmp_path, capsys):
    family, rate, build = ORIGINALS[name]
    tensors = parity.checkpoint(select(name), 0)
    reference, evaluation = map(str, folders)
    with torch.inference_mode():
        expected = original_metric(family, build(tensors), rate).score(reference, evaluation)
    got = ours(folders, name, tensors, tmp_path, capsys)
    assert expected > 0
    assert got == pytest.approx(expected, rel=1e-4)
