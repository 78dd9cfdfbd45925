"""What the user asked for reaches what does the work, and what a set has to say travels with it."""

import contextlib
import json
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fad_onnx
from fad_onnx.api import dry_run, functions, making
from fad_onnx.api.measure import Wanted
from fad_onnx.audio import sources
from fad_onnx.cache.embeddings import EmbeddingCache
from fad_onnx.cli import commands, main, run_flags
from fad_onnx.errors import (
    AudioError,
    CheckpointError,
    DuplicateNameError,
    ExecutorError,
    FadError,
    OptionError,
    StatisticsError,
)
from fad_onnx.files import archives
from fad_onnx.networks import table
from fad_onnx.networks.preparation import Windows
from fad_onnx.networks.selection import selection_of, variants
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.pipeline import clip_windows, datasets, executors, metadata
from fad_onnx.pipeline.batching import Engine
from fad_onnx.pipeline.clip_windows import Policy
from fad_onnx.pipeline.metadata import Metadata
from fad_onnx.pipeline.options import KINDS, RunOptions
from fad_onnx.pipeline.run import Run
from fad_onnx.pipeline.summaries import Summaries
from fad_onnx.weights import prepare

from .conftest import write_clip
from .kit import WEIGHTLESS, with_preparation


def load():
    return prepare.load(prepare.Request(ModelSpec(WEIGHTLESS)))


# From the command line and from Python to the work.


def test_every_option_of_the_command_line_reaches_the_library(monkeypatch):
    seen = {}

    def compare(reference, evaluations, model, wanted, **options):
        seen.update(options, paths=[reference, *evaluations], model=model, wanted=wanted)
        raise StatisticsError("x", "enough")

    monkeypatch.setattr(functions, "compare", compare)
    line = (
        "score a b c -m one -m two --option k=v --weights w.pth --weights pca=p.pth --provider cpu"
        " --device 3 --gpu-memory-mb 99 --skip-errors --short pad --workers 5 --no-cache"
        " --cache-dir d --offline -q --key K --inf --ci=0.8 --kad --per-file f.csv --seed 7"
        " --inf-draw embeddings --protocol p"
    )
    assert main(line.split()) == 1
    assert callable(seen.pop("progress")) and callable(seen.pop("download_progress"))
    assert seen == {
        "paths": ["a", "b", "c"], "model": ["one", "two"], "options": {"k": "v"},
        "protocol": "p",
        "weights": {"main": "w.pth", "pca": "p.pth"}, "provider": "cpu", "device": 3,
        "memory_limit_mb": 99, "skip_errors": True, "short": "pad", "workers": 5, "cache": False,
        "cache_dir": "d", "offline": True, "executor": None, "key": "K",
        "wanted": Wanted(
            inf=True, ci=0.8, kad=True, per_file=True, seed=7, inf_draw="embeddings"
        ),
    }  # fmt: skip
    assert seen.keys() | {"progress", "download_progress"} > set(KINDS) - {
        "folders", "threads"
    }  # fmt: skip


def test_a_report_has_everything_at_its_usual_level(monkeypatch, clips):
    seen = []
    monkeypatch.setattr(commands.reports, "require", lambda: None)

    def compare(*arguments, **_):
        seen.append(arguments[3])
        raise StatisticsError("x", "enough")

    monkeypatch.setattr(functions, "compare", compare)
    for more in ([], ["--ci=0.5"]):
        assert main(["score", str(clips), str(clips), "--report", "r.html", *more]) == 1
    assert seen == [Wanted(inf=True, ci=ci, kad=True, per_file=True) for ci in (0.95, 0.5)]


def test_a_file_whose_name_holds_an_equals_sign(tmp_path):
    path = tmp_path / "a=b.pth"
    named = os.path.relpath(path)
    assert run_flags.named_paths(["a=b.pth"]) == {"a": "b.pth"}
    path.touch()
    assert run_flags.named_paths([str(path)]) == {"main": str(path)}
    assert run_flags.named_paths(["pca=x", named]) == {"pca": "x", "main": named}


def test_keywords_of_the_wrong_kind_say_what_is_wanted(clips):
    for wrong, said in (
        ({"device": "cuda"}, "provider='cuda'"), ({"options": "x"}, "a mapping"),
        ({"weights": 3}, "a path or"), ({"folders": "x"}, "a list"),
        ({"executor": 3}, "Executor"), ({"workers": "2"}, "whole number"),
        ({"workers": 0}, "not a positive"),
        ({"workers": -1}, "not a positive"),
    ):  # fmt: skip
        with pytest.raises(OptionError, match=said):
            fad_onnx.score(clips, clips, WEIGHTLESS, **wrong)
        with pytest.raises(OptionError, match=said):
            fad_onnx.FrechetAudioDistance(model_name=WEIGHTLESS, **wrong)
    with pytest.raises(OptionError, match="workers"):
        fad_onnx.FrechetAudioDistance(model_name=WEIGHTLESS, audio_load_worker=-1).score(
            clips, clips
        )
    with pytest.raises(OptionError, match="an empty list"):
        functions.compare(clips, [clips], [])
    with pytest.raises(OptionError, match="an empty list"):
        archives.merge([], "x.npz")
    with pytest.raises(OptionError, match=r"embeddings are numbers .* load_model\(\)"):
        fad_onnx.score(np.zeros(3), clips)
    with pytest.raises(StatisticsError, match=r"Moments are needed, not ndarray"):
        fad_onnx.frechet_distance(np.zeros((3, 2)), np.zeros((3, 2)))
    assert functions.compare(clips, os.fspath(clips), WEIGHTLESS)[0].path == os.fspath(clips)


def test_anything_that_can_be_iterated_and_any_whole_number_will_do(clips, tmp_path):
    others = [clips / "09.wav", clips]
    expected = [score.value for score in functions.compare(clips, others, WEIGHTLESS)]
    found = functions.compare(clips, (path for path in others), WEIGHTLESS, workers=np.int64(2))
    assert [score.value for score in found] == expected
    files = sorted(clips.iterdir())
    parts = [
        fad_onnx.stats(one, None, WEIGHTLESS, shard="1/2").metadata.shard
        for one in (files, iter(files))
    ]
    assert parts[0] == parts[1]
    clip = np.zeros(16000)
    np.testing.assert_array_equal(
        load().embed(clip, np.array(16000)), load().embed(clip, np.int32(16000))
    )
    for seed in (None, 1.5, "1"):
        with pytest.raises(OptionError, match="^seed"):
            Wanted(seed=seed)


def test_statistics_of_before_merge_with_those_of_today(clips, tmp_path):
    """Files that say less of themselves."""
    fad_onnx.stats(clips, tmp_path / "new.npz", WEIGHTLESS)
    with np.load(tmp_path / "new.npz") as stored:
        arrays = dict(stored)
    metadata = json.loads(str(arrays["metadata"]))
    for key in ("files_skipped", "files_padded", "files_below_rate", "lowest_source_hz"):
        del metadata[key]
    del metadata["largest_file"]
    np.savez(tmp_path / "old.npz", **{**arrays, "metadata": np.array(json.dumps(metadata))})
    archives.merge([tmp_path / "old.npz"] * 2, tmp_path / "both.npz")
    made = archives.merge([tmp_path / "both.npz", tmp_path / "new.npz"], tmp_path / "all.npz")
    assert made.metadata.files == 30 and made.metadata.lowest_source_hz == 16000


def test_levels_and_seeds_are_judged_before_the_work(clips, capsys):
    for wrong in ("--ci=0", "--ci=95", "--ci=nan", "--seed=-1", "--seed=4294967296"):
        with pytest.raises(SystemExit) as stopped:
            main(["score", "nowhere", "nowhere", wrong, "-m", WEIGHTLESS])
        assert stopped.value.code == 2
        assert wrong.partition("=")[0] + ": " in capsys.readouterr().err


def test_statistics_take_neither_weights_nor_options(clips, tmp_path):
    fad_onnx.stats(clips, tmp_path / "a.npz", WEIGHTLESS)
    for ignored in ({"weights": "none.pth"}, {"options": {"use_pca": True}}):
        with pytest.raises(OptionError, match="nothing is embedded"):
            fad_onnx.score(tmp_path / "a.npz", tmp_path / "a.npz", **ignored)
    with pytest.raises(StatisticsError, match=r"a\.npz: statistics or embeddings already"):
        fad_onnx.stats(tmp_path / "a.npz", tmp_path / "b.npz")


def test_a_checkpoint_that_these_options_do_not_use_is_refused():
    entry = next(entry for entry in table.models().values() if len(entry.network.checkpoints) > 1)
    name = (entry.network.checkpoints.keys() - set(entry.output().checkpoints)).pop()
    with pytest.raises(CheckpointError, match=f"uses no checkpoint '{name}' "):
        prepare.load(prepare.Request(ModelSpec(entry.name, weights={name: "nonexistent"})))


def test_what_lacks_rows_is_refused_before_the_work(clips, tmp_path, monkeypatch):
    fad_onnx.stats(clips, tmp_path / "a.npz", WEIGHTLESS)
    monkeypatch.setattr(Run, "sides", lambda *_: pytest.fail("embedded"))
    for wanted, paths in (
        (Wanted(inf=True), (clips, clips, tmp_path / "a.npz")),
        (Wanted(kad=True), (tmp_path / "a.npz", clips)),
    ):
        with pytest.raises(StatisticsError, match="statistics without embeddings"):
            functions.compare(paths[0], paths[1:], WEIGHTLESS, wanted)


def test_a_key_is_for_the_file_that_needs_it(clips, tmp_path):
    mu, sigma = np.zeros(128), np.eye(128)
    both = {"a.mu": mu, "a.cov": sigma, "b.mu": mu + 1, "b.cov": sigma}
    np.savez(tmp_path / "several.npz", **both)
    np.savez(tmp_path / "single.npz", mu=mu, sigma=sigma)
    found = [
        float(fad_onnx.score(tmp_path / "several.npz", tmp_path / "single.npz", key=key))
        for key in "ab"
    ]
    assert found == pytest.approx([0.0, 128.0], abs=1e-9)


def test_the_users_options_come_before_those_of_a_file():
    made = datasets.Dataset("a.npz", None, Metadata(model=WEIGHTLESS, options={"x": "1", "y": "1"}))
    asked = Run(None, RunOptions(options={"x": 2}))
    asked.assume(made)
    assert asked.specs == (ModelSpec(WEIGHTLESS, {"x": "2", "y": "1"}),)


# What a set has to say.


@pytest.fixture
def doubtful(tmp_path):
    """A long clip, a padded one, one of a low rate and one that is broken."""
    folder = tmp_path / "doubtful"
    write_clip(folder / "long.wav", 1, 9)
    write_clip(folder / "short.wav", 2, 0.5)
    write_clip(folder / "low.wav", 3, 2, 8000)
    (folder / "broken.wav").write_text("broken")
    return folder


REMARKS = (
    "12 embeddings for 128 dimensions", "long.wav holds 9 of 12 embeddings",
    "1 of 3 clips were short and", "1 of 4 files were skipped",
    "1 of 3 files are sampled below the model's 16000 Hz (down",
)  # fmt: skip


def test_warnings_travel_with_statistics_and_embeddings(doubtful, clips, tmp_path):
    asked = {"short": "pad", "skip_errors": True}
    fad_onnx.stats(doubtful, tmp_path / "s.npz", WEIGHTLESS, **asked)
    making.embed(doubtful, WEIGHTLESS, output=tmp_path / "e.npz", **asked)
    live = fad_onnx.score(clips, doubtful, WEIGHTLESS, **asked).warnings
    for path in ("s.npz", "e.npz"):
        stored = fad_onnx.score(clips, tmp_path / path, **asked)
        expected = [text.replace(str(doubtful), str(tmp_path / path)) for text in live]
        assert list(stored.warnings) == expected
        for remark in REMARKS:
            assert any(remark in text for text in stored.warnings), remark


def test_a_merge_adds_up_what_its_parts_say(doubtful, clips, tmp_path, capsys):
    asked = {"short": "pad", "skip_errors": True}
    whole = fad_onnx.stats(doubtful, None, WEIGHTLESS, **asked)
    for part in (1, 2):
        fad_onnx.stats(
            doubtful, tmp_path / f"{part}.npz", WEIGHTLESS, shard=f"{part}/2", **asked
        )  # fmt: skip
    alone = fad_onnx.score(clips, tmp_path / "2.npz").warnings
    assert f"{tmp_path / '2.npz'}: part 2 of 2 only: merge all of them" in alone
    made = archives.merge([tmp_path / "1.npz", tmp_path / "2.npz"], tmp_path / "all.npz")
    assert made.metadata.to_json() == json.loads(json.dumps(whole.metadata.to_json()))
    assert "part" not in " ".join(fad_onnx.score(clips, tmp_path / "all.npz").warnings)


def test_padding_is_said_of_the_models_that_pad_also_from_the_cache(tmp_path):
    write_clip(tmp_path / "set" / "a.wav", 1, 15800 / 16000)
    write_clip(tmp_path / "set" / "b.wav", 2, 3)
    other = load()
    one = with_preparation(other, minimum_samples=16000)
    for cached in (False, True):
        with EmbeddingCache(tmp_path / "cache") as cache:
            found = list(
                Engine([one, other], Policy("pad"), 1, cache).embed(sources.find(tmp_path / "set"))
            )
        assert [result.facts.content_sha256 is None for result in found] == [cached, cached]
        used = Summaries(2)
        for result in found:
            used.append(executors._summary(result, False))
        padded = [
            datasets._metadata(model, used, 0, i).files_padded
            for i, model in enumerate((one, other))
        ]
        assert padded == [1, 0]


def test_a_part_knows_its_set_by_name_wherever_it_lies(tmp_path):
    for place in ("here", "there"):
        for name in ("ref", "eval"):
            write_clip(tmp_path / place / name / "0.wav", 1, 1)
            write_clip(tmp_path / place / name / "1.wav", 2, 1)
    made = {}
    for place, name, part in (("here", "ref", 1), ("there", "ref", 2), ("here", "eval", 2)):
        made[place, name] = tmp_path / f"{place}-{name}.npz"
        fad_onnx.stats(
            tmp_path / place / name, made[place, name], WEIGHTLESS, shard=f"{part}/2"
        )  # fmt: skip
    archives.merge([made["here", "ref"], made["there", "ref"]], tmp_path / "all.npz")
    with pytest.raises(StatisticsError, match=r"only 1 of its 2 parts are given, missing: 2"):
        archives.merge([made["here", "ref"], made["here", "eval"]], tmp_path / "all.npz")


def test_a_score_prints_as_a_line(clips):
    score = fad_onnx.score(clips, clips / "09.wav", WEIGHTLESS)
    assert f"{score:.3f}" == f"{score.value:.3f}"
    assert str(score) == f"{score}" and len(str(score)) < 100 + 2 * len(str(clips))
    assert str(score).startswith(f"<Score {score.value:.6g}, {WEIGHTLESS}: {clips}")
    assert len(repr(score.reference)) < 200 + len(str(clips)) + 200 * len(score.reference.warnings)


def test_two_files_of_one_name_are_not_one(clips, tmp_path):
    write_clip(tmp_path / "other" / "00.wav", 5, 2)
    with pytest.raises(DuplicateNameError, match=r"'00\.wav'; embed each folder separately"):
        fad_onnx.embed([clips, tmp_path / "other"], WEIGHTLESS)


def test_an_embeddings_file_does_not_say_where_its_audio_is(clips, tmp_path, monkeypatch):
    """A name must not be taken for a path: other sets have files of that name."""
    making.embed(clips, WEIGHTLESS, output=tmp_path / "e.npz")
    monkeypatch.chdir(clips)
    files = archives.read_set(tmp_path / "e.npz").files
    assert [file.name for file in files] == sorted(os.listdir(clips))
    assert all(file.path is None for file in files)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
KEYS = sorted({*metadata.KINDS, *(f"{o}.{i}" for o, one in metadata.NESTED.items() for i in one)})


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A shard's statistics, and embeddings, as the arrays of their files."""
    folder = tmp_path_factory.mktemp("stored")
    for index in range(3):
        write_clip(folder / "set" / f"{index}.wav", index, 2)
    fad_onnx.stats(folder / "set", folder / "s.npz", WEIGHTLESS, shard="1/3", cache=False)
    making.embed(folder / "set", WEIGHTLESS, output=folder / "e.npz", cache=False)
    return folder, [dict(np.load(folder / name)) for name in ("s.npz", "e.npz")]


@settings(max_examples=150, deadline=None)
@given(key=st.sampled_from(KEYS), value=JSON)
@pytest.mark.large
def test_metadata_of_any_kind_are_read_or_refused(stored, key, value):
    folder, files = stored
    for arrays in files:
        metadata = json.loads(str(arrays["metadata"]))
        outer, _, inner = key.rpartition(".")
        if outer:
            metadata.setdefault(outer, {})[inner] = value
        else:
            metadata[inner] = value
        np.savez(folder / "hostile.npz", **{**arrays, "metadata": np.array(json.dumps(metadata))})
        for use in (
            lambda: fad_onnx.score(folder / "e.npz", folder / "hostile.npz"),
            lambda: archives.merge([folder / "s.npz", folder / "hostile.npz"], folder / "all.npz"),
        ):
            with contextlib.suppress(FadError):
                use()


# Files and caches.


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_a_fifo_keeps_nobody_waiting(clips):
    os.mkfifo(clips / "pipe.wav")
    done = subprocess.run(
        [sys.executable, "-m", "fad_onnx", "score", clips, clips, "-m", WEIGHTLESS],
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1 and "pipe.wav: not a regular file" in done.stderr


def test_a_file_of_the_same_size_with_another_date_has_changed(tmp_path):
    path = write_clip(tmp_path / "a.wav", 1, 1)
    before = clip_windows.stamp(str(path))
    os.utime(path, ns=(1, 1))
    assert clip_windows.stamp(str(path)) != before
    with pytest.raises(AudioError, match="No such file"):
        clip_windows.stamp(str(tmp_path / "none.wav"))


def test_rows_that_some_of_the_models_have_cached_are_made_for_all(clips, tmp_path):
    one = load()
    other = one.decoding("int16")
    files = sources.find(clips)
    with EmbeddingCache(tmp_path / "cache") as cache:
        alone = [result.embeddings[0] for result in Engine([one], Policy(), 1, cache).embed(files)]
        for result, expected in zip(
            Engine([one, other], Policy(), 1, cache).embed(files), alone, strict=True
        ):
            assert len(result.embeddings) == 2
            np.testing.assert_array_equal(result.embeddings[0], expected)


def test_the_cache_tells_providers_and_versions_apart(monkeypatch):
    model = load()
    key = clip_windows.cache_key(model, Policy())
    versions = model.session.versions()
    for changed in ({"provider": "another"}, {"onnxruntime": "0.0"}):
        monkeypatch.setattr(
            type(model.session), "versions", lambda _, changed=changed: {**versions, **changed}
        )
        assert clip_windows.cache_key(model, Policy()) != key
    monkeypatch.undo()
    one = model.selection.model
    network = replace(one.network, hashes=dict.fromkeys(one.network.hashes, "0" * 64))
    settings = replace(model.session.settings, threads=2)
    for changed in (
        replace(model, selection=replace(model.selection, model=replace(one, network=network))),
        replace(model, session=type(model.session)(model.session.graph, settings)),
    ):
        assert clip_windows.cache_key(changed, Policy()) != key
    assert clip_windows.cache_key(model, Policy("pad")) != key
    # Another reading of files, and another libsndfile, may give other samples.
    for name in ("READING", "soundfile.__libsndfile_version__"):
        with monkeypatch.context() as patched:
            patched.setattr(f"fad_onnx.pipeline.clip_windows.{name}", "another")
            assert clip_windows.cache_key(model, Policy()) != key
    assert clip_windows.cache_key(model, Policy()) == key


# Executors.


def job_of(model, request):
    return executors.Job((request,), (model.fingerprint,), Policy())


def test_another_job_in_the_same_process_changes_nothing(clips, monkeypatch, tmp_path):
    """As if a second thread had loaded its models between the check and the work."""
    request = prepare.Request(ModelSpec(WEIGHTLESS))
    job = replace(job_of(load(), request), cache=tmp_path / "cache")
    files = sources.find(clips)
    expected = executors.run_chunk(replace(job, cache=None), files).moments[0].mean

    def shared(folder):
        executors._loaded = ((), [])

    monkeypatch.setattr(executors, "shared", shared)
    np.testing.assert_array_equal(executors.run_chunk(job, files).moments[0].mean, expected)


def test_two_jobs_take_turns_in_one_process(clips):
    float_, integer = (
        prepare.Request(ModelSpec(WEIGHTLESS), sample_format=f) for f in ("float32", "int16")
    )
    jobs = [job_of(prepare.load(request), request) for request in (float_, integer)]
    files = sources.find(clips)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(executors.run_chunk, jobs[i % 2], files) for i in range(12)]
    alone = [executors.run_chunk(job, files).moments[0].mean for job in jobs]
    assert not np.array_equal(*alone) or jobs[0].fingerprints != jobs[1].fingerprints
    for i, future in enumerate(futures):
        np.testing.assert_array_equal(future.result().moments[0].mean, alone[i % 2])


class Patient(Executor):
    """Computes a chunk only when its result is asked for; breaks at a chosen one."""

    def __init__(self, breaks_at=None, error=None):
        self.futures, self.most, self.breaks_at, self.error = [], 0, breaks_at, error

    def submit(self, work, *arguments):
        future = Future()
        index = len(self.futures)
        original = future.result

        def result(timeout=None):
            if index == self.breaks_at:
                raise self.error
            if not future.done():
                future.set_result(work(*arguments))
            return original(timeout)

        future.result = result
        self.futures.append(future)
        self.most = max(self.most, sum(not future.done() for future in self.futures))
        return future


def test_an_executor_gets_a_bounded_number_of_chunks_ahead(clips, monkeypatch):
    monkeypatch.setattr(executors, "CHUNK_FILES", 1)
    monkeypatch.setattr(executors, "CHUNKS_AHEAD", 3)
    expected = fad_onnx.stats(clips, None, WEIGHTLESS)
    executor = Patient()
    made = fad_onnx.stats(clips, None, WEIGHTLESS, executor=executor)
    assert len(executor.futures) == 10 and executor.most == 3
    np.testing.assert_array_equal(made.moments.mean, expected.moments.mean)


def test_workers_that_are_gone_are_an_error_and_the_rest_is_cancelled(clips, monkeypatch):
    from concurrent.futures import BrokenExecutor, CancelledError

    monkeypatch.setattr(executors, "CHUNK_FILES", 1)
    for error in (CancelledError(), BrokenExecutor("a worker died")):
        executor = Patient(2, error)
        with pytest.raises(ExecutorError, match="run again"):
            fad_onnx.stats(clips, None, WEIGHTLESS, executor=executor)
        assert all(future.cancelled() for future in executor.futures[3:])


# Dry runs.


def planned(capsys, *arguments):
    assert main([*map(str, arguments), "--dry-run"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_dry_run_counts_what_the_run_would(clips, tmp_path, capsys):
    write_clip(clips / "short.wav", 1, 0.5)
    common = ("stats", clips, "-o", tmp_path / "x.npz", "-m", WEIGHTLESS)
    for more in (("--short", "pad"), ("--shard", "2/3", "--short", "pad")):
        said = planned(capsys, *common, *more)
        assert main([*map(str, common), *more]) == 0
        capsys.readouterr()
        made = archives.read_set(tmp_path / "x.npz").metadata
        assert (said["files"], said["embeddings"]) == (made.files, made.embeddings), more


def test_a_dry_run_of_a_foreign_file_takes_its_key(clips, tmp_path, capsys):
    np.savez(
        tmp_path / "f.npz",
        **{f"{name}.{key}": np.eye(128)[0] if key == "mu" else np.eye(128)
           for name in "ab" for key in ("mu", "cov")},
    )  # fmt: skip
    planned(capsys, "score", tmp_path / "f.npz", clips, "--key", "b", "-m", WEIGHTLESS)


def test_a_dry_run_asks_for_all_checkpoints_of_the_options(clips, capsys, monkeypatch):
    every = (one for model in table.models().values() for one in variants(model))
    two = next(one for one in every if len(one.output.checkpoints) > 1)
    # The default output is ready, this one is not.
    monkeypatch.setattr(
        prepare, "ready", lambda asked: asked if len(asked.output.checkpoints) == 1 else None
    )
    said = planned(capsys, "score", clips, clips, "-m", two.label, "--offline")
    assert said["weights"] == "to download" and said["estimated_seconds"] is None
    given = ["--weights", "x.pth"]
    said = planned(capsys, "score", clips, clips, "-m", two.label, *given, "--offline")
    assert said["weights"] == "to download"


def test_the_memory_of_a_plan_grows_with_the_workers(monkeypatch):
    models = table.models().values()
    whole = next(selection_of(m) for m in models if m.preparation.windows.cover == "whole")
    samples = 10 * whole.preparation.sample_rate_hz
    work = dry_run.Work(1000 * samples, samples, 0)
    one, four = (dry_run._memory(whole, work, None, n) for n in (1, 4))
    batch = whole.network.batch.cpu * samples * whole.network.peak_bytes_per_sample
    assert 0 < four - one <= 3 * batch


def test_the_time_of_a_plan_grows_with_the_length_of_whole_clips(monkeypatch):
    model = load()
    made = replace(model.preparation, windows=Windows())
    model = replace(model, selection=replace(model.selection, preparation=made))
    monkeypatch.setattr(type(model), "run", lambda self, batch: threading.Event().wait(0.02))
    short, long = (dry_run._time(model, 160_000, n * 160_000, 1) for n in (100, 1000))
    assert long > 5 * short > 0


def test_failures_are_fad_errors(clips):
    for call in (
        lambda: fad_onnx.stats(clips, None, WEIGHTLESS, shard="x"),
        lambda: load().embed(np.zeros(16000), "16k"),
        lambda: load().embed(np.zeros(16000), None),
        lambda: load().embed(np.zeros(16000), 16000.5),
        lambda: load().embed([[1.0, 2.0], [3.0]], 16000),
        lambda: load().embed(np.zeros((2, 20000)), 16000),
        lambda: fad_onnx.score("nope.npz", clips),
    ):
        with pytest.raises(FadError):
            call()
    clip = np.zeros(16000)
    np.testing.assert_array_equal(load().embed(clip, 16000.0), load().embed(clip, 16000))


def test_clips_of_a_dataset_come_back_from_columns_as_they_went_in(tmp_path):
    for i in range(5):
        write_clip(tmp_path / "set" / f"{i}.wav", i, 1 + i / 2, rate=8000 + 1000 * i)
    (dataset,) = Run(("logmel",), RunOptions(cache=False)).sides([[tmp_path / "set"]])[0]
    files, copied = dataset.files, pickle.loads(pickle.dumps(dataset.files))
    assert dataset.embedded and len(files) == 5
    assert [one.name for one in files] == [f"{i}.wav" for i in range(5)]
    assert [one.seconds for one in files] == [1, 1.5, 2, 2.5, 3]
    assert [one.source_hz for one in files] == [8000, 9000, 10000, 11000, 12000]
    assert sum(one.counts[0] for one in files) == dataset.moments.count
    assert files[1:3] == (files[1], files[2]) and files[-1] == tuple(files)[4]
    assert tuple(copied) == tuple(files) and all(one.peak > 0 for one in files)


@pytest.mark.parametrize(
    ("models", "weights"),
    [
        (["vggish", "vggish:use_activation=true"], {"main": "a.pth"}),
        (["vggish", "vggish:use_activation=true"], {"vggish": "a.pth"}),
        (["vggish", "logmel"], {"vggish": "a.pth"}),
        (["vggish", "logmel"], {"vggish:main": "a.pth"}),
        ("vggish", "a.pth"),
    ],
)
def test_weights_of_one_model_under_several_options_need_no_name(models, weights):
    specs = Run(models, RunOptions(weights=weights)).specs
    expected = {"main": os.path.abspath("a.pth")}
    assert [spec.weights for spec in specs if spec.name == "vggish"] == [
        expected for spec in specs if spec.name == "vggish"
    ]
    assert all(not spec.weights for spec in specs if spec.name == "logmel")


def test_a_file_that_one_of_several_specs_uses_is_for_that_one(tmp_path):
    files = {"vggish:main": "a.pth", "vggish:pca": "b.pth"}
    plain, projected = Run(["vggish", "vggish:use_pca=true"], RunOptions(weights=files)).specs
    assert set(plain.weights) == {"main"} and set(projected.weights) == {"main", "pca"}
    for lone in ("vggish", ["vggish", "vggish:use_activation=true"]):
        with pytest.raises(CheckpointError, match="uses no checkpoint 'pca'"):
            fad_onnx.compare(tmp_path, tmp_path, lone, weights={"vggish:pca": _existing(tmp_path)})


def _existing(folder):
    write_clip(folder / "clip.wav", 1, 2.0)
    return folder / "clip.wav"


def test_a_model_without_a_name_is_not_the_default(clips):
    with pytest.raises(OptionError, match="model '': the name before the colon is missing"):
        fad_onnx.score(clips, clips, "")


def test_weights_that_are_unclear_are_refused():
    for models, weights, said in (
        (["vggish", "logmel"], {"main": "a.pth"}, "say for which model"),
        ("vggish", {"logmel:main": "a.pth"}, "'logmel' is not a model of this call"),
        ("vggish", {"main": "a.pth", "vggish:main": "b.pth"}, "vggish:main is given twice"),
    ):
        with pytest.raises(OptionError, match=said):
            Run(models, RunOptions(weights=weights))
