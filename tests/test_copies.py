"""Copies and pickles of a metric and of a model compute the same; the session stays behind."""

import copy
import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from fad_onnx import FrechetAudioDistance, StreamingFAD, load_model
from fad_onnx.errors import CheckpointError, DownloadError, IncompatibleStatisticsError
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.runtime import Session
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.weights import prepare

from .kit import WEIGHTLESS

CLIPS = [synthetic.clip(seed, 40000)[0] for seed in range(8)]
WAYS = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
}


def used(kind=FrechetAudioDistance, **run):
    metric = kind(model_name=WEIGHTLESS, **run) if kind is FrechetAudioDistance else kind(**run)
    for index, clip in enumerate(CLIPS):
        metric.update(clip, 16000, real=index % 2 == 0)
    return metric


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("model", ["class", WEIGHTLESS, "loaded"])
def test_a_copy_of_a_metric_computes_the_same_and_goes_its_own_way(way, model):
    if model == "class":
        metric = used()
    else:
        given = load_model(WEIGHTLESS) if model == "loaded" else model
        metric = used(StreamingFAD, model=given)
    expected = metric.compute()
    copied = WAYS[way](metric)
    assert copied.compute() == expected
    copied.update(CLIPS[0], 16000, real=False)
    metric_after, copied_after = metric.compute(), copied.compute()
    assert metric_after == expected != copied_after
    metric.update(CLIPS[0], 16000, real=False)
    assert metric.compute() == copied_after


@pytest.mark.parametrize("way", WAYS)
def test_a_metric_that_has_not_been_used_can_be_copied(way):
    copied = WAYS[way](FrechetAudioDistance(model_name=WEIGHTLESS))
    copied.update(CLIPS[0], 16000, real=True)


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_of_a_model_embeds_the_same(way):
    for model in (
        load_model(WEIGHTLESS, short="pad"),
        load_model(WEIGHTLESS, sample_format="int16"),
    ):
        copied = WAYS[way](model)
        np.testing.assert_array_equal(copied.embed(CLIPS[0], 16000), model.embed(CLIPS[0], 16000))
        assert copied.fingerprint == model.fingerprint and copied.short == model.short


@pytest.mark.parametrize("way", WAYS)
def test_what_belongs_to_a_process_does_not_break_a_copy(way, clips):
    with ThreadPoolExecutor(1) as executor:
        metric = used(executor=executor, progress=lambda name, done, total: None)
        copied = WAYS[way](metric)
        assert copied.compute() == metric.compute()
        assert copied.score(clips, clips) == pytest.approx(0, abs=1e-6)


def test_only_the_request_of_a_model_travels(monkeypatch):
    model = load_model(WEIGHTLESS)
    data = pickle.dumps(model)
    assert len(data) < 2000
    opened = []
    monkeypatch.setattr(Session, "_load", lambda self: opened.append(self))
    assert copy.deepcopy(model) is copy.copy(model) is model
    assert not opened


def test_a_pool_sends_a_model_with_every_task_and_loads_it_once(monkeypatch):
    prepare.load_again.cache_clear()
    data = pickle.dumps(load_model(WEIGHTLESS))
    assert pickle.loads(data) is pickle.loads(data)


@pytest.mark.parametrize("method", ["fork", "spawn"])
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_children_are_sent_a_model_and_a_metric(method):
    model, metric = load_model(WEIGHTLESS), used()
    with multiprocessing.get_context(method).Pool(1) as pool:
        np.testing.assert_array_equal(
            pool.apply(model.embed, (CLIPS[0], 16000)), model.embed(CLIPS[0], 16000)
        )
        assert pool.apply(metric.compute) == metric.compute()
        np.testing.assert_array_equal(
            pool.apply(metric.get_embeddings, (CLIPS[:2], 16000)),
            metric.get_embeddings(CLIPS[:2], 16000),
        )


def test_a_copy_where_the_weights_are_not_is_a_typed_error():
    named = next(entry.name for entry in table.models().values() if entry.network.checkpoints)
    model = load_model(WEIGHTLESS)
    elsewhere = pickle.dumps(
        replace(model, request=prepare.Request(ModelSpec(named), offline=True))
    )
    with pytest.raises(DownloadError, match=named):
        pickle.loads(elsewhere)
    unused = FrechetAudioDistance(model_name=named, offline=True)
    copied = pickle.loads(pickle.dumps(unused))  # as in a checkpoint of a training run
    with pytest.raises(DownloadError):
        copied.update(CLIPS[0], 16000, real=True)


def test_a_copy_where_the_weights_are_others_is_a_typed_error():
    other = replace(load_model(WEIGHTLESS), tensors_sha256="0" * 64)
    with pytest.raises(IncompatibleStatisticsError, match="weights or version differ"):
        pickle.loads(pickle.dumps(other))
    metric = used()
    metric._embedder = other
    copied = pickle.loads(pickle.dumps(metric))
    with pytest.raises(IncompatibleStatisticsError, match="weights or version differ"):
        copied.update(CLIPS[0], 16000, real=True)


def test_a_model_made_of_its_parts_opens_its_graph_again(tmp_path):
    model = replace(load_model(WEIGHTLESS), request=None)
    copied = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(copied.embed(CLIPS[0], 16000), model.embed(CLIPS[0], 16000))
    model.session.graph = tmp_path / "gone.onnx"
    with pytest.raises(CheckpointError, match="gone"):
        pickle.loads(pickle.dumps(model))


def test_a_copy_in_another_folder_finds_what_was_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    metric = FrechetAudioDistance("ckpt", WEIGHTLESS, cache_dir="kept", weights={"main": "x.pth"})
    monkeypatch.chdir("/")
    assert metric._run.folders == (str(tmp_path / "ckpt"),)
    assert metric._run.cache_dir == str(tmp_path / "kept")
    assert metric._run.weights == {"main": str(tmp_path / "x.pth")}
