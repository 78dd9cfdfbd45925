"""The class of the original: same calls, same numbers, errors in place of -1."""

import numpy as np
import pytest

import fad_onnx
from fad_onnx.errors import (
    FadError,
    NoAudioError,
    OptionError,
    OutputError,
    StatisticsError,
    TooShortError,
)
from fad_onnx.networks import table

from .kit import WEIGHTLESS


def metric(**arguments):
    return fad_onnx.FrechetAudioDistance(model_name=WEIGHTLESS, cache=False, **arguments)


def test_the_protocol_is_the_originals_where_it_has_the_model():
    made = fad_onnx.FrechetAudioDistance()
    assert made._run.protocol == "gudgud96"
    assert fad_onnx.FrechetAudioDistance(protocol="native")._run.protocol == "native"
    assert metric()._run.protocol is None  # the original has no such model
    pann = fad_onnx.FrechetAudioDistance(model_name="pann", sample_rate=16000)
    assert pann._width == 1


def test_embeddings_of_the_originals_pann_are_read(tmp_path):
    pann = fad_onnx.FrechetAudioDistance(model_name="pann", sample_rate=16000)
    paths = [tmp_path / name for name in ("a.npy", "b.npy")]
    numbers = np.random.RandomState(0).standard_normal((2, 400)) * [[1], [2]]
    for path, row in zip(paths, numbers, strict=True):
        np.save(path, row)
    gap, deviations = np.diff(numbers.mean(axis=1))[0], numbers.std(axis=1, ddof=1)
    expected = gap**2 + np.diff(deviations)[0] ** 2
    assert pann.score("a", "b", *paths) == pytest.approx(expected, rel=1e-5)


def test_score_is_that_of_the_api(clips, tmp_path):
    frechet = metric(ckpt_dir=tmp_path / "none", verbose=True)
    expected = float(fad_onnx.score(clips, clips / "09.wav", WEIGHTLESS, cache=False))
    assert frechet.score(str(clips), str(clips / "09.wav")) == pytest.approx(expected, rel=1e-12)


def test_embeddings_are_stored_and_read(clips, tmp_path):
    stored = tmp_path / "new" / "background.npy"
    first = metric().score(clips, clips, background_embds_path=stored)
    embeddings = np.load(stored)
    assert embeddings.dtype == np.float32 and embeddings.shape[1] == 128
    again = metric().score("nowhere", clips, background_embds_path=stored)
    assert first == pytest.approx(again, abs=1e-9)
    np.save(stored, embeddings[:, :5])
    with pytest.raises(StatisticsError, match=r"shape \(\d+, 5\)"):
        metric().score(clips, clips, background_embds_path=stored)
    stored.write_text("no array")
    with pytest.raises(StatisticsError, match=r"not an \.npy"):
        metric().score(clips, clips, background_embds_path=stored)


def test_one_file_for_both_sides_is_an_error_before_the_work(clips, tmp_path, monkeypatch):
    """Else the second dataset would be read from what was just written for the first."""
    monkeypatch.setattr(
        "fad_onnx.pipeline.datasets.list_files", lambda _: pytest.fail("the work has begun")
    )
    stored = tmp_path / "both.npy"
    with pytest.raises(OutputError, match="given for two outputs"):
        metric().score(clips, clips / "09.wav", stored, stored)
    with pytest.raises(OutputError, match="it is a folder"):
        metric().score(clips, clips / "09.wav", str(tmp_path / "new") + "/")
    assert not stored.exists()


def test_statistics_and_distance_are_numpys_and_scipys(clips):
    from scipy.linalg import sqrtm

    frechet = metric()
    random = np.random.RandomState(0)
    first, second = random.standard_normal((50, 6)), random.standard_normal((40, 6)) + 1
    mu, sigma = frechet.calculate_embd_statistics(first)
    np.testing.assert_allclose(mu, first.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sigma, np.cov(first, rowvar=False), rtol=1e-12, atol=1e-15)
    other = frechet.calculate_embd_statistics(second)
    distance = frechet.calculate_frechet_distance(mu, sigma, *other)
    direct = ((mu - other[0]) ** 2).sum() + np.trace(
        sigma + other[1] - 2 * sqrtm(sigma @ other[1]).real
    )
    assert distance == pytest.approx(direct, rel=1e-10)


def test_get_embeddings_joins_the_rows_of_clips(clips):
    from fad_onnx.networks import synthetic

    samples = [synthetic.clip(seed, 40000)[0] for seed in (1, 2)]
    rows = metric().get_embeddings(samples, sr=16000)
    assert rows.shape == (4, 128)
    np.testing.assert_array_equal(rows[2:], metric().get_embeddings(samples[1:], sr=16000))


def test_what_the_original_answers_with_minus_one_raises(clips, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(NoAudioError):
        metric().score(clips, tmp_path / "empty")
    (clips / "bad.wav").write_text("x")
    with pytest.raises(FadError, match=r"bad\.wav"):
        metric().score(clips, clips)


def test_dtype_is_how_pcm_is_read(clips):
    whole = metric().score(clips, clips / "09.wav")
    assert metric().score(clips, clips / "09.wav", dtype="int16") == pytest.approx(whole, rel=1e-3)
    with pytest.raises(OptionError, match="int8"):
        metric().score(clips, clips, dtype="int8")


def test_arguments_choose_rows_and_options():
    made = fad_onnx.FrechetAudioDistance(use_pca=True, use_activation=True)
    assert made.model.default and made.sample_rate == made.model.preparation.sample_rate_hz
    for entry in table.models().values():
        for alias in entry.aliases:
            made = fad_onnx.FrechetAudioDistance(
                **{"channels": entry.preparation.channel_count, **alias}
            )
            assert made.model is entry
        with pytest.raises(OptionError, match="channels"):
            fad_onnx.FrechetAudioDistance(model_name=entry.name, channels=3)


class Tensor:
    """What knows how to become an array, as tensors of every framework do."""

    def __init__(self, array):
        self.array = array

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self.array, dtype)


def test_the_streaming_metric_is_the_score_of_what_it_saw():
    from fad_onnx.errors import IncompatibleStatisticsError, TooFewEmbeddingsError
    from fad_onnx.networks import synthetic

    real = [synthetic.clip(seed, 40000)[0] for seed in range(6)]
    fake = [synthetic.clip(seed, 33000, 2).T for seed in range(20, 24)]
    whole = metric()
    with pytest.raises(TooFewEmbeddingsError):
        whole.compute()
    for clip in real:
        whole.update(Tensor(clip), 16000, real=True)
    for clip in fake:
        whole.update(clip, 16000, real=False)
    rows = [metric().get_embeddings(clips, 16000) for clips in (real, fake)]
    direct = fad_onnx.frechet_distance(*(fad_onnx.Moments.of(one) for one in rows))
    assert whole.compute() == pytest.approx(direct, rel=1e-10)

    parts = [metric(), metric()]
    for index, clip in enumerate(real):
        parts[index % 2].update(clip, 16000, real=True)
    for index, clip in enumerate(fake):
        parts[index % 2].update(clip, 16000, real=False)
    assert parts[0].merge_state([parts[1].state()]).compute() == pytest.approx(direct, rel=1e-10)
    whole.reset(real=False)
    with pytest.raises(TooFewEmbeddingsError):
        whole.compute()
    for clip in fake:
        whole.update(clip, 16000, real=False)
    assert whole.compute() == pytest.approx(direct, rel=1e-10)
    other = metric(sample_format="int16")
    with pytest.raises(IncompatibleStatisticsError):
        whole.merge_state([other])


def test_a_misspelt_keyword_is_an_error_everywhere(clips, tmp_path):
    calls = [
        lambda: fad_onnx.score(clips, clips, WEIGHTLESS, wieghts="x.pth"),
        lambda: fad_onnx.embed(clips, WEIGHTLESS, wieghts="x.pth"),
        lambda: fad_onnx.stats(clips, tmp_path / "s.npz", WEIGHTLESS, wieghts="x.pth"),
        lambda: fad_onnx.load_model(WEIGHTLESS, wieghts="x.pth"),
    ]
    for call in calls:
        with pytest.raises(TypeError, match="'wieghts'"):
            call()
    with pytest.raises(TypeError, match="'wieghts': did you mean 'weights'") as caught:
        metric(wieghts="x.pth")
    assert isinstance(caught.value, FadError)
    with pytest.raises(FadError, match="'nonsense': known: audio_load_worker, cache, "):
        metric(nonsense=1)
    with pytest.raises(FadError, match="did you mean 'model_name'"):
        fad_onnx.FrechetAudioDistance(modelname=WEIGHTLESS)


def test_short_is_heeded_for_arrays_too():
    clip = np.full(1000, 0.1, np.float32)
    with pytest.raises(TooShortError, match='in Python: short="pad"'):
        metric().get_embeddings([clip], 16000)
    (padded,) = metric(short="pad").get_embeddings([clip], 16000)
    model = fad_onnx.load_model(WEIGHTLESS, short="pad")
    np.testing.assert_array_equal(model.embed(clip, 16000), [padded])
    streamed = metric(short="pad")
    streamed.update(clip, 16000, real=True)
    assert streamed.state()["real"].count == 1
    with pytest.raises(TooShortError):
        model.embed(clip, 16000, short="error")


def test_no_clips_are_an_error():
    with pytest.raises(NoAudioError, match="sequence of clips"):
        metric().get_embeddings([], 16000)


def test_states_of_other_models_do_not_mix():
    from fad_onnx.errors import IncompatibleStatisticsError

    clip = np.random.RandomState(0).uniform(-1, 1, 32000)
    first, other = metric(), metric(sample_format="int16")
    for one in (first, other):
        one.update(clip, 16000, real=True)
    before = first.state()["real"].count
    for foreign in (other, other.state()):
        with pytest.raises(IncompatibleStatisticsError, match="other models or weights"):
            first.merge_state([metric(), foreign])
    assert first.state()["real"].count == before
    assert first.merge_state([first.state()]).state()["real"].count == 2 * before


def test_arguments_reach_the_work(tmp_path):
    made = metric(ckpt_dir=tmp_path, audio_load_worker=1)
    assert made._run.folders == (str(tmp_path),) and made._run.workers == 1
    with pytest.raises(OptionError, match="use_pca"):
        metric(use_pca=True)


def test_what_a_set_has_to_say_is_logged(clips, caplog):
    (clips / "broken.wav").write_text("broken")
    metric(skip_errors=True).score(clips, clips)
    assert f"{clips}: 1 of 11 files were skipped" in caplog.text


def test_an_archive_is_no_npy(clips, tmp_path):
    from fad_onnx.api import making

    making.embed(clips, WEIGHTLESS, output=tmp_path / "rows.npz")
    with pytest.raises(StatisticsError, match=r"not an \.npy .* takes an \.npz"):
        metric().score(clips, clips, background_embds_path=tmp_path / "rows.npz")


def test_clips_may_come_from_a_generator_at_any_rate_but_zero():
    clips = [np.random.RandomState(i).uniform(-1, 1, 20000) for i in range(3)]
    rows = metric().get_embeddings((clip for clip in clips), 16000)
    np.testing.assert_array_equal(rows, metric().get_embeddings(clips, 16000))
    with pytest.raises(OptionError, match="0 is not a sample rate"):
        metric().update(clips[0], 0, real=True)


def test_a_rate_that_is_left_out_is_an_error():
    clip = np.random.RandomState(0).uniform(-1, 1, 20000)
    with pytest.raises(TypeError, match="sample_rate"):
        metric().update(clip, real=True)
    with pytest.raises(OptionError, match="None is not a sample rate"):
        metric().update(clip, None, real=True)
    with pytest.raises(TypeError, match="sample_rate"):
        metric().embedder.embed(clip)


def test_the_model_is_loaded_once(clips, monkeypatch):
    from fad_onnx.weights import prepare

    loaded, original = [], prepare.Session
    monkeypatch.setattr(prepare, "Session", lambda *a: loaded.append(a) or original(*a))
    one = metric()
    scores = [one.score(clips, clips / "09.wav", dtype=dtype) for dtype in ("float32", "int16")]
    one.get_embeddings([np.zeros(20000)], 16000)
    assert len(loaded) == 1 and all(score > 0 for score in scores)
