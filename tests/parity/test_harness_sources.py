"""What `exporters/harnesses` rebuilds, against the harnesses' own code.

No package index has them: HARNESS_SOURCES names a folder with checkouts of `av-benchmark`
(050a5cd), `audioldm_eval` (8dc07ee), `stable-audio-metrics` (fd55536) and `audiocraft` (896ec7c).
Their networks are small functions of the samples here.
"""

import contextlib
import os
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType, SimpleNamespace
from unittest import mock

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from exporters.harnesses import audiocraft, audioldm, clips, stable_audio_metrics, torchaudio_parts
from exporters.harnesses.gudgud96 import _root
from exporters.mocks import stand_ins

SOURCES = "HARNESS_SOURCES"
pytestmark = [
    pytest.mark.parity,
    pytest.mark.skipif(SOURCES not in os.environ, reason=f"{SOURCES} names no folder"),
]
AUDIOLDM = "audioldm_eval/audioldm_eval"
MOCKS = ("torchvision", "pytorchvideo", "audioldm_eval", "openl3", "hear21passt", "laion_clap",
         "clap_module", "transformers", "torchmetrics")  # fmt: skip


class Metric(torch.nn.Module):
    """What audiocraft takes of torchmetrics."""

    device = torch.device("cpu")

    def add_state(self, name, default, dist_reduce_fx):
        setattr(self, name, default)


def own(path, name=None, **contents):
    """A module of a harness; `contents` are other modules that it imports."""
    spec = spec_from_file_location(name or "harness", Path(os.environ[SOURCES]) / path)
    module = module_from_spec(spec)
    with (
        stand_ins(*MOCKS),
        torchaudio_parts.installed({}),
        mock.patch.dict(sys.modules, {"torchmetrics": SimpleNamespace(Metric=Metric), **contents}),
    ):
        spec.loader.exec_module(module)
    if hasattr(module, "linalg"):
        module.linalg = SimpleNamespace(sqrtm=_root)
    return module


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    with mock.patch.object(clips, "CLIPS", 6), mock.patch.object(clips, "LONG", {3: 9.3, 5: 14.7}):
        return clips.write(tmp_path_factory.mktemp("clips"))


@pytest.fixture(scope="module")
def logits():
    random = np.random.RandomState(0)
    return [torch.from_numpy(3 * random.standard_normal((40, 527)).astype(np.float32))
            for _ in range(2)]  # fmt: skip


def network(samples):
    """Logits (batch, 527) of samples (batch, n), whatever n is."""
    steps = torch.linspace(0.1, 3, 527)
    return 20 * samples.abs().mean(-1, keepdim=True) * torch.cos(steps) + samples[:, :1] * steps


@pytest.mark.parametrize("rate", [16_000, 32_000])
def test_clips(rate, folders):
    with torchaudio_parts.installed({}):
        read = own("av-benchmark/av_bench/data/audio_dataset.py").AudioDataset([], sr=rate)
        wave = own(f"{AUDIOLDM}/datasets/load_mel.py").WaveDataset(folders[0], sr=rate)
    for path in sorted(folders[0].glob("*.wav")):
        assert torch.equal(read.read_from_file(path), audioldm.read_av(path, rate))
        assert torch.equal(wave.read_from_file(path), audioldm.read_audioldm(path, rate))


@pytest.mark.parametrize("place", ["av-benchmark/av_bench/metrics/fad.py",
                                   f"{AUDIOLDM}/metrics/fad.py",
                                   "stable-audio-metrics/src/openl3_fd.py"])  # fmt: skip
def test_distances(place):
    random = np.random.RandomState(1)
    sides = [random.standard_normal((n, 9)).astype(np.float32) + 0.1 * n for n in (30, 41)]
    module = own(place)
    module = getattr(module, "FrechetAudioDistance", module)
    plain = () if isinstance(module, ModuleType) else (None,)
    statistics = [module.calculate_embd_statistics(*plain, side) for side in sides]
    expected = module.calculate_frechet_distance(*plain, *statistics[0], *statistics[1])
    assert audioldm.frechet(*sides) == pytest.approx(expected, rel=1e-12)


def test_divergences_and_inception_scores(logits):
    names = [f"{i}.wav" for i in range(len(logits[0]))]
    held = [{"logits": one, "file_path_": names} for one in logits]
    found, *_ = own(f"{AUDIOLDM}/metrics/kl.py").calculate_kl(*held, "logits")
    expected = found["kullback_leibler_divergence_softmax"]
    assert audioldm.divergence(*logits, 1e-6) == pytest.approx(expected, rel=1e-6)
    found = own("av-benchmark/av_bench/metrics/kl.py").compute_kl([logits[0]], logits[1])
    assert audioldm.divergence(*logits, None) == pytest.approx(found["kl_softmax"], rel=1e-6)
    isc = own("av-benchmark/av_bench/metrics/isc.py").compute_isc(logits[0], None, 2020, True, 10)
    assert audioldm.inception(logits[0]) == pytest.approx(isc["inception_score_mean"], rel=1e-12)
    isc = own(f"{AUDIOLDM}/metrics/isc.py").calculate_isc(held[0], "logits", 2020, True, 10)
    assert audioldm.inception(logits[0]) == pytest.approx(isc["inception_score_mean"], rel=1e-12)


@contextlib.contextmanager
def on_the_processor():
    """Where `.cuda()` leaves tensors as they are."""
    with mock.patch.object(torch.Tensor, "cuda", lambda self: self):
        yield


def test_stable_audio_metrics_reads_both_channels(folders):
    """Its batches of four; openl3 alone is replaced, by what it does first."""

    def heard(channels, rates, **_):
        resample = stable_audio_metrics.resampy_0_2
        return [resample(one, rate, 48_000)[:, None]
                for one, rate in zip(channels, rates, strict=True)], None  # fmt: skip

    module = own("stable-audio-metrics/src/openl3_fd.py")
    module.openl3.get_audio_embedding = heard
    files = sorted(folders[0].glob("*.wav"))
    with mock.patch.object(module.glob, "glob", return_value=files):
        found = np.array(module.extract_embeddings("", 2, 44_100, "music", 0.5, batch_size=4))
    rebuilt = [stable_audio_metrics._channels(path) for path in files]
    np.testing.assert_allclose(found.T, np.concatenate(rebuilt, axis=1), atol=1e-6)


def test_stable_audio_metrics_has_probabilities_over_windows(folders):
    module = own("stable-audio-metrics/src/passt_kld.py")
    for path in folders[0].glob("*.wav"):
        with on_the_processor():
            expected = module.return_probabilities(network, str(path))
        found = stable_audio_metrics.probabilities(network, path)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_stable_audio_metrics_has_clap_scores(folders, tmp_path, monkeypatch):
    heard = []

    def audio(x, use_tensor):
        heard.append(x.numpy().copy())
        return x[:, 100:612]

    clap = SimpleNamespace(
        model=SimpleNamespace(load_state_dict=lambda package: None), eval=lambda: None,
        get_text_embedding=lambda texts, use_tensor: torch.ones(len(texts), 512),
        get_audio_embedding_from_data=audio,
    )  # fmt: skip
    module = own("stable-audio-metrics/src/clap_score.py")
    module.laion_clap.CLAP_Module = lambda **_: clap
    monkeypatch.chdir(tmp_path)
    (tmp_path / "load" / "clap_score").mkdir(parents=True)
    (tmp_path / "load" / "clap_score" / "630k-audioset-fusion-best.pt").touch()
    names = [path.stem for path in sorted(folders[1].glob("*.wav"))]
    found = float(module.clap_score(dict.fromkeys(names, "a sound"), str(folders[1])))
    for name, own_clip in zip(names, heard, strict=True):
        clip = stable_audio_metrics.sixteen_bits(folders[1] / f"{name}.wav")
        # NumPy below 2, which it pins, scales in float32: rarely another 16-bit step.
        assert np.mean(clip.numpy() != own_clip) < 1e-3
        np.testing.assert_allclose(clip.numpy(), own_clip, atol=1.01 / 32767)
    embeddings = np.concatenate([clip[:, 100:612] for clip in heard])
    score = stable_audio_metrics.captions.score(embeddings, np.ones_like(embeddings))
    assert score == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize("seconds", [10, 20, 30])
def test_audiocraft_has_divergences_over_segments(seconds, folders):
    """Through its `update` and `compute`, one clip a batch; clips are cut to one length there."""
    tools = own("audiocraft/audiocraft/data/audio_utils.py", "audiocraft.data.audio_utils")
    kld = own("audiocraft/audiocraft/metrics/kld.py", "audiocraft.metrics.kld",
              **{"audiocraft.data.audio_utils": tools})  # fmt: skip
    made = kld.PasstKLDivergenceMetric.__new__(kld.PasstKLDivergenceMetric)
    with mock.patch.object(kld.PasstKLDivergenceMetric, "_initialize_model", return_value=None):
        made.__init__(seconds)
    made.min_input_frames, made.max_input_frames = 4800, 32_000 * seconds
    made.model_sample_rate, made.model = 32_000, network
    rebuilt = []
    for path in sorted(folders[1].glob("*.wav")):
        pair = [torchaudio_parts.load(side / path.name)[0] for side in (folders[1], folders[0])]
        size = min(one.shape[1] for one in pair)
        made.update(*(one[None, :, :size] for one in pair), torch.tensor([size]),
                    torch.tensor([clips.RATE_HZ]))  # fmt: skip
        sides = [[network(part).softmax(-1) for part in
                  audiocraft.segments(one[:, :size], clips.RATE_HZ, 32_000 * seconds)]
                 for one in pair]  # fmt: skip
        rebuilt.append(audiocraft.divergences(*map(torch.cat, sides)))
    expected = made.compute()["kld"]
    assert float(torch.cat(rebuilt).mean()) == pytest.approx(expected, rel=1e-5)
    assert len(torch.cat(rebuilt)) == made.weight


def test_audiocraft_has_clap_scores(folders):
    tools = own("audiocraft/audiocraft/data/audio_utils.py", "audiocraft.data.audio_utils")
    with stand_ins(*MOCKS, "audiocraft"):
        mocks = {name: mock.MagicMock() for name in ("audiocraft.environment",
                                                     "audiocraft.utils.utils")}  # fmt: skip
        module = own("audiocraft/audiocraft/metrics/clap_consistency.py",
                     "audiocraft.metrics.clap_consistency",
                     **{"audiocraft.data.audio_utils": tools, **mocks})  # fmt: skip
    made = module.CLAPTextConsistencyMetric.__new__(module.CLAPTextConsistencyMetric)
    with mock.patch.object(
        module.CLAPTextConsistencyMetric, "_initialize_model", return_value=None
    ):
        made.__init__("")
    made.model_sample_rate, heard = 48_000, []
    made.model = SimpleNamespace(
        get_audio_embedding_from_data=lambda x, use_tensor: heard.append(x) or x[:, 100:612],
        get_text_embedding=lambda texts, tokenizer, use_tensor: torch.ones(len(texts), 512),
    )
    for path in sorted(folders[1].glob("*.wav")):
        audio, rate = torchaudio_parts.load(path)
        made.update(audio[None], ["a sound"], torch.tensor([audio.shape[1]]), torch.tensor([rate]))
        assert torch.equal(heard[-1], audiocraft.at_48_khz(path))
    embeddings = torch.cat([clip[:, 100:612] for clip in heard]).numpy()
    score = audiocraft.captions.score(embeddings, np.ones_like(embeddings))
    assert score == pytest.approx(made.compute(), rel=1e-5)
