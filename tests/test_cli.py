"""The command line as a user meets it: what is on stdout, on stderr, and the exit code."""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

import fad_onnx
from fad_onnx import report
from fad_onnx.cli import csv_file, main, show
from fad_onnx.cli.parser import build
from fad_onnx.files import archives
from fad_onnx.networks import table

from .conftest import write_clip
from .kit import WEIGHTLESS

DIM = table.model(WEIGHTLESS).output().width


@pytest.fixture
def run(capsys):
    def call(*arguments, code=0):
        given = [os.fspath(argument) for argument in arguments]
        if given[0] in ("score", "stats", "embed") and "-m" not in given:
            given += ["-m", WEIGHTLESS]
        assert main(given) == code
        return capsys.readouterr()

    return call


@pytest.fixture
def others(tmp_path):
    for index in range(6):
        write_clip(tmp_path / "others" / "sub" / f"{index}.flac", 50 + index, 2.5, 22050)
    return tmp_path / "others"


def test_score_prints_one_number(run, clips, others):
    out = run("score", clips, others).out
    assert float(out) > 0
    assert out == f"{float(out)!r}\n"
    assert float(run("score", clips, clips).out) < 1e-9 * float(out)


def test_score_of_several_sets_is_a_ranked_table(run, clips, others):
    lines = run("score", clips, others, clips).out.splitlines()
    assert lines[0].split() == ["dataset", WEIGHTLESS]
    assert [line.split()[0] for line in lines[1:]] == [str(clips), str(others)]


def test_json_is_one_object_with_the_fixed_fields(run, clips, others):
    write_clip(others / "short.wav", 1, 0.2)
    said = json.loads(run("score", clips, others, "--json", "--short", "skip").out)
    assert said["schema"] == 2
    model = said["models"][WEIGHTLESS]
    assert set(model) >= {"weights", "protocol", "reference"}
    assert model["reference"] == {
        "path": str(clips), "files": 10, "embeddings": model["reference"]["embeddings"],
        "seconds": model["reference"]["seconds"],
    }  # fmt: skip
    (result,) = said["results"]
    assert set(result) >= {"model", "path", "fad", "files", "embeddings", "seconds"}
    assert (result["files"], result["embeddings"]) == (6, 12)
    assert said["skipped"][0]["path"].endswith("short.wav")
    assert "shorter" in said["skipped"][0]["reason"]
    assert any("12 embeddings for 128 dimensions" in text for text in said["warnings"])
    assert model["protocol"]["short_clips"] == "skip"


def test_statistics_and_embeddings_score_like_the_audio(run, clips, others, tmp_path):
    expected = float(run("score", clips, others).out)
    run("stats", clips, "-o", tmp_path / "a.npz")
    run("embed", others, "-o", tmp_path / "b.npz")
    assert main(["score", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")]) == 0
    assert float(run("models").out.splitlines()[0]) == pytest.approx(expected, rel=1e-12)
    with np.load(tmp_path / "a.npz") as stats:
        assert stats["mu"].shape == (DIM,) and stats["sigma"].shape == (DIM, DIM)
        assert json.loads(str(stats["metadata"]))["model"] == WEIGHTLESS
    with np.load(tmp_path / "b.npz") as stored:
        assert stored["embeddings"].dtype == np.float32 and stored["offsets"].dtype == np.int64
        assert stored["embeddings"].shape == (12, DIM) and list(stored["offsets"]) == list(
            range(0, 13, 2)
        )
        assert list(stored["names"]) == [f"sub/{index}.flac" for index in range(6)]


def test_archives_need_no_onnxruntime(clips, tmp_path, run):
    run("stats", clips, "-o", tmp_path / "a.npz")
    code = (
        "import sys; sys.modules['onnxruntime'] = None\n"
        "from fad_onnx.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = ["score", str(tmp_path / "a.npz"), str(tmp_path / "a.npz")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)
    assert done.returncode == 0 and done.stderr.startswith("warning: ")
    assert len(done.stderr.splitlines()) == 1
    assert float(done.stdout) == 0
    done = subprocess.run(
        [sys.executable, "-c", code, "score", str(clips), str(clips), "-m", WEIGHTLESS],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "fad-onnx[cpu]" in done.stderr and "fad-onnx[gpu]" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_other_models_statistics_do_not_mix(run, clips, tmp_path):
    run("stats", clips, "-o", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as stats:
        arrays = dict(stats)
    metadata = json.loads(str(arrays["metadata"]))
    metadata["fingerprint"] = "0" * 64
    metadata["protocol"]["preparation"]["sample_rate_hz"] = 8000
    arrays["metadata"] = np.array(json.dumps(metadata))
    np.savez(tmp_path / "b.npz", **arrays)
    error = run("score", tmp_path / "a.npz", tmp_path / "b.npz", code=1).err
    assert "do not mix: preparation.sample_rate_hz 16000 and 8000" in error
    assert "do not mix" in run("score", tmp_path / "b.npz", clips, code=1).err


def test_shards_merge_into_the_whole(run, clips, tmp_path):
    run("stats", clips, "-o", tmp_path / "all.npz")
    for part in (1, 2, 3):
        run("stats", clips, "-o", tmp_path / f"{part}.npz", "--shard", f"{part}/3")
    run("merge", *(tmp_path / f"{part}.npz" for part in (1, 2, 3)), "-o", tmp_path / "merged.npz")
    with np.load(tmp_path / "all.npz") as whole, np.load(tmp_path / "merged.npz") as merged:
        assert merged["count"] == whole["count"]
        for name in ("mu", "sigma"):
            scale = np.abs(whole[name]).max()
            np.testing.assert_allclose(merged[name], whole[name], atol=1e-12 * scale, rtol=1e-12)
        assert json.loads(str(merged["metadata"]))["files"] == 10


def test_a_merge_must_have_every_part_once(run, clips, tmp_path):
    parts = [tmp_path / f"{part}.npz" for part in (1, 2, 3)]
    for part, path in enumerate(parts, 1):
        run("stats", clips, "-o", path, "--shard", f"{part}/3")
    whole = tmp_path / "whole.npz"
    error = run("merge", parts[0], parts[2], "-o", whole, code=1).err
    assert "only 2 of its 3 parts are given, missing: 2;" in error and not whole.exists()
    error = run("merge", parts[0], parts[1], "-o", whole, code=1).err
    assert "missing: 3;" in error
    error = run("merge", *parts, parts[1], "-o", whole, code=1).err
    assert f"part 2 of 3, as is {parts[1]}; merge every part once" in error
    # The list of files has changed between two jobs.
    write_clip(clips / "late.wav", 77, 2)
    run("stats", clips, "-o", parts[1], "--shard", "2/3")
    assert "missing: 2;" in run("merge", *parts, "-o", whole, code=1).err
    # What is whole may be merged with other wholes, and again.
    run("stats", clips, "-o", parts[0])
    run("merge", parts[0], parts[0], "-o", whole)
    run("merge", whole, parts[0], "-o", tmp_path / "more.npz")
    assert json.loads(str(np.load(tmp_path / "more.npz")["metadata"]))["files"] == 33


def test_a_named_model_that_a_file_is_not_of_is_never_loaded(run, clips, tmp_path):
    run("stats", clips, "-o", tmp_path / "a.npz")
    other = next(entry.name for entry in table.models().values() if entry.network.checkpoints)
    for evaluation in (clips, tmp_path / "a.npz"):
        error = run("score", tmp_path / "a.npz", evaluation, "-m", other, code=1).err
        assert f"-m {other} do not mix: it was made with {WEIGHTLESS}" in error
    error = run("score", tmp_path / "a.npz", clips, "-m", WEIGHTLESS, "-m", other, code=2).err
    assert "several models need audio on both sides" in error


def test_only_what_differs_is_named(clips, tmp_path):
    """Metadata from a file holds lists where those of this process hold tuples."""
    fad_onnx.stats(clips, tmp_path / "a.npz", WEIGHTLESS, cache=False)
    first, second = archives.read_set(tmp_path / "a.npz"), fad_onnx.stats(clips, None, WEIGHTLESS)
    made = second.metadata.protocol
    protocol = {**made, "preparation": {**made["preparation"], "resampler": "none"}}
    changed = replace(second.metadata, fingerprint="0" * 64, protocol=protocol)
    with pytest.raises(fad_onnx.FadError) as caught:
        archives.check_comparable(first, replace(second, metadata=changed))
    assert "do not mix: preparation.resampler soxr_hq and none; compute" in str(caught.value)
    assert "frontend" not in str(caught.value) and "windows" not in str(caught.value)


def test_csv_appends_a_line_per_result(run, clips, others, tmp_path):
    table = tmp_path / "scores.csv"
    run("score", clips, others, "--csv", table)
    run("score", clips, others, clips, "--csv", table)
    with open(table, newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["path"] for row in rows] == [str(others), str(others), str(clips)]
    assert rows[0]["fad"] == rows[1]["fad"] and float(rows[0]["fad"]) > 0
    assert rows[0]["timestamp"].endswith("+00:00")


def test_csv_has_its_columns_whatever_the_sets_say(run, clips, others, tmp_path):
    run("stats", clips, "-o", tmp_path / "a.npz", "--name", "Clips", "--licence", "CC0")
    foreign, table = tmp_path / "foreign.npz", tmp_path / "new" / "folder" / "scores.csv"
    np.savez(foreign, mu=np.zeros(DIM), sigma=np.eye(DIM))
    write_clip(others / "short.wav", 1, 0.2)
    run("score", tmp_path / "a.npz", others, "--csv", table, "--short", "skip", "--kad", code=1)
    run("score", tmp_path / "a.npz", others, "--csv", table, "--short", "skip")
    run("score", clips, others, "--csv", table, "--short", "skip", "--kad")
    run("score", tmp_path / "a.npz", foreign, "--csv", table)
    published, whole, last = csv.DictReader(table.open())
    assert published["reference_files"] == "10" and published["skipped"] == "1"
    assert float(whole["kad"]) and not published["kad"]
    # Foreign statistics say nothing of their making, and nothing is said for them.
    assert last["fingerprint"] == last["provider"] == last["embeddings"] == ""
    assert last["reference_fingerprint"] == published["fingerprint"] != ""


def nobody_reads(path):
    """A link to a pipe that nobody reads: what cannot be written, and shows it only then."""
    reader, writer = os.pipe()
    os.close(reader)
    path.symlink_to(f"/proc/self/fd/{writer}")
    return path


def test_a_table_that_cannot_be_written_does_not_cost_the_number(run, clips, tmp_path):
    table, others = nobody_reads(tmp_path / "x.csv"), tmp_path / "files.csv"
    found = run("score", clips, clips, "--csv", table, "--per-file", others, code=1)
    assert float(found.out.split()[-1]) < 1e-6 and others.exists()
    assert f"{table}: cannot be written: broken pipe" in found.err


@pytest.fixture
def no_work(monkeypatch):
    monkeypatch.setattr("fad_onnx.api.functions.compare", lambda *_, **__: pytest.fail("it worked"))


HEADER = ",".join(show.CSV_COLUMNS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("timestamp,model,fad\r\n", "its columns (timestamp, model, fad ...) are not those"),
        ("a song;its score\n", "are not those of this version"),
        (f"{HEADER},more\r\n", "are not those"), (HEADER[:-1], "are not those"),
        ("\n", "are not those"), ("\ufeffx", "are not those"), (HEADER.upper(), "are not those"),
        (f"{HEADER}\r\n1,2,3", f"record 2 has 3 of {len(show.CSV_COLUMNS)} columns"),
        (f"{HEADER}\r\n{',' * len(show.CSV_COLUMNS)}\r\n", "record 2 has"),
        (f'{HEADER}\r\n"cut', "not a table that can be continued"),
    ],
)  # fmt: skip
def test_a_table_of_other_columns_is_refused_before_the_work(
    content, said, run, clips, tmp_path, no_work
):
    table = tmp_path / "own.csv"
    table.write_text(content, "utf-8")
    before = table.read_bytes()
    found = run("score", clips, clips, "--csv", table, code=1)
    assert said in found.err and found.err.count("\n") == 1 and not found.out
    assert table.read_bytes() == before


def test_a_table_that_cannot_be_is_an_error_before_the_work(run, clips, tmp_path, no_work):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "x.csv", "", "/dev/null/x.csv"):
        found = run("score", clips, clips, "--csv", path, code=1)
        assert "cannot be written" in found.err and found.err.count("\n") == 1
    assert not (tmp_path / "new").exists()


def test_a_table_that_may_not_be_written_is_an_error_before_the_work(
    run, clips, tmp_path, no_work, monkeypatch
):
    """Root may write what is read-only: so the refusals are played."""
    table = tmp_path / "own.csv"
    table.write_text(f"{HEADER}\r\n")
    monkeypatch.setattr(os, "access", lambda *_: False)
    error = run("score", clips, clips, "--csv", table, code=1).err
    assert "no permission to write to it" in error
    error = run("score", clips, clips, "--csv", tmp_path / "new" / "x.csv", code=1).err
    assert "no permission to write to this folder" in error and not (tmp_path / "new").exists()


@pytest.mark.parametrize("content", ["", HEADER, f"\ufeff{HEADER}\n", f"{HEADER}\r\n\r\n"])
def test_a_table_is_continued_on_a_line_of_its_own(content, run, clips, tmp_path):
    table = tmp_path / "own.csv"
    table.write_text(content, "utf-8", newline="")
    for _ in range(2):
        run("score", clips, clips, "--csv", table)
        table.write_bytes(table.read_bytes().rstrip())  # as some editors leave it
    with open(table, newline="", encoding="utf-8-sig") as lines:
        rows = list(csv.DictReader(lines))
    assert [row["path"] for row in rows] == [str(clips)] * 2
    assert all(None not in row and None not in row.values() for row in rows)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="POSIX only")
def test_a_table_into_a_stream_has_a_header_and_waits_for_nobody(run, clips, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    run("score", clips, clips, "--csv", pipe)
    (row,) = csv.DictReader(os.read(reader, 1 << 16).decode().splitlines())
    os.close(reader)
    assert row["path"] == str(clips)


def test_runs_that_write_one_table_at_once_write_one_header(tmp_path):
    table = str(tmp_path / "own.csv")

    def line(index):
        csv_file.append(table, ("a", "b"), [{"a": index, "b": "x" * 5000}])

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(line, range(200)))
    with open(table, newline="") as lines:
        rows = list(csv.DictReader(lines))
    assert sorted(int(row["a"]) for row in rows) == list(range(200))
    assert {row["b"] for row in rows} == {"x" * 5000}


def test_models_of_two_files_against_foreign_statistics(run, clips, tmp_path, capsys):
    np.savez(tmp_path / "foreign.npz", mu=np.zeros(DIM), sigma=np.eye(DIM))
    run("stats", clips, "-o", tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as stats:
        arrays = dict(stats)
    metadata = json.loads(str(arrays["metadata"]))
    arrays["metadata"] = np.array(json.dumps({**metadata, "model": "another"}))
    np.savez(tmp_path / "b.npz", **arrays)
    paths = [str(tmp_path / f"{name}.npz") for name in ("foreign", "a", "b")]
    assert main(["score", *paths]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        "dataset", *paths[1:]
    ]  # fmt: skip


def test_any_file_name_comes_back_from_embeddings(run, tmp_path):
    from fad_onnx.files import embeddings

    names = [
        b"a b.wav",
        b"100%.wav",
        b"new\nline.wav",
        b"stray\xff.wav",
        "ünï.wav".encode(),
        b"@x.wav",
    ]
    for index, name in enumerate(names):
        made = write_clip(tmp_path / "clip.wav", index, 1)
        folder = os.fsencode(tmp_path) + b"/set"
        os.makedirs(folder, exist_ok=True)
        os.rename(made, folder + b"/" + name)
    run("embed", tmp_path / "set", "-o", tmp_path / "e.npz")
    rows, metadata = embeddings.read(tmp_path / "e.npz")
    assert {os.fsencode(name) for name in rows} == set(names)
    assert metadata["files"] == len(names)
    with np.load(tmp_path / "e.npz") as stored:
        assert all(name.isascii() for name in stored["names"])


def test_two_files_of_one_name_are_an_error_and_leave_no_output(run, clips, tmp_path):
    shutil.copytree(clips, tmp_path / "copies")
    error = run("embed", clips, tmp_path / "copies", "-o", tmp_path / "e.npz", code=1).err
    assert "two audio files are called '00.wav'" in error
    assert not (tmp_path / "e.npz").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["score", "CLIPS"], 2, "EVAL"),
        (["score", "CLIPS", "nowhere"], 1, "nowhere: no such file or folder"),
        (["score", "CLIPS", "CLIPS", "-m", "nonsense"], 2, "unknown model 'nonsense'"),
        (["score", "CLIPS", "CLIPS", "--option", "x"], 2, "KEY=VALUE"),
        (["score", "CLIPS", "CLIPS", "--option", "x=1"], 2, "no such option"),
        (["score", "CLIPS", "CLIPS", "--provider", "abacus"], 2, "'abacus' is not auto"),
        (["score", "CLIPS", "CLIPS", "--provider", "cuda"], 1, "fad-onnx[gpu]"),
        (["score", "CLIPS", "CLIPS", "--workers", "0"], 2, "positive"),
        (["stats", "CLIPS", "-o", "x.npz", "--shard", "3/2"], 2, "I/N"),
        (["stats", "CLIPS", "-o", "/dev/null/x.npz"], 1, "/dev/null: cannot be written"),
        (["stats", "CLIPS", "-o", "x"], 2, "'x': the output file must have"),
        (["score", "--ci", "CLIPS", "CLIPS"], 2, "is not a level between 0 and 1; before"),
        (["score", "", "CLIPS"], 1, "'': no such file or folder"),
        (["frobnicate"], 2, "frobnicate"),
    ],
)
def test_errors_are_one_line_with_the_right_code(arguments, code, said, clips, capsys, tmp_path):
    arguments = [str(clips) if a == "CLIPS" else a for a in arguments]
    if "-m" not in arguments and len(arguments) > 1:
        arguments += ["-m", WEIGHTLESS]
    try:
        assert main(arguments) == code
    except SystemExit as stop:
        assert stop.code == code
    error = capsys.readouterr().err
    assert said in error and "Traceback" not in error
    if code == 1:
        assert error.startswith("fad-onnx: ") and len(error.splitlines()) == 1


@pytest.mark.parametrize("line", [
    "score C C -m nope", "score C C -m nope --dry-run", "evaluate C --reference C -m nope",
    "evaluate C --reference C --metric fad:nope", "stats C -o s.npz -m nope",
    "embed C -o s.npz -m nope", "pull nope", f"pull {WEIGHTLESS} nope", "verify nope", "bench nope",
    "score C C --provider nope", "evaluate C --reference C --provider nope",
    "stats C -o s.npz --provider nope", "embed C -o s.npz --provider nope",
    f"verify {WEIGHTLESS} --provider nope", f"bench {WEIGHTLESS} --provider nope",
    "score C C --protocol nope", "evaluate C --reference C --protocol nope",
    f"stats C -o s.npz -m {WEIGHTLESS}:nope=1", "evaluate C --reference C --metric nope",
])  # fmt: skip
def test_unknown_names_are_wrong_usage(line, clips, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    given = line.replace(" C", f" {clips}").split()
    if "provider" in line and given[0] not in ("verify", "bench"):
        given += ["-m", WEIGHTLESS]
    assert main(given) == 2
    said = capsys.readouterr()
    assert "nope" in said.err and len(said.err.splitlines()) == 1 and not said.out
    assert not (tmp_path / "s.npz").exists()


def test_unusable_audio_stops_or_is_listed(run, clips):
    (clips / "05b.wav").write_text("broken")
    error = run("score", clips, clips, code=1).err
    assert "05b.wav: not readable" in error and len(error.splitlines()) == 1
    found = run("score", clips, clips, "--skip-errors")
    assert "skipped: " in found.err and float(found.out) < 1e-6
    for wav in clips.glob("*.wav"):
        wav.write_text("broken")
    assert "none of 11 files" in run("score", clips, clips, "--skip-errors", code=1).err


@pytest.mark.large
def test_a_name_that_stdout_cannot_encode_is_escaped(clips, others, tmp_path):
    named = tmp_path / "\u97f3\u697d"
    others.rename(named)
    done = subprocess.run(
        [sys.executable, "-m", "fad_onnx", "score", clips, named, clips, "-m", WEIGHTLESS, "-q"],
        env={**os.environ, "PYTHONIOENCODING": "cp1252"}, capture_output=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert rb"\u97f3\u697d" in done.stdout


def test_dry_run_counts_and_changes_nothing(run, clips, home, tmp_path):
    said = json.loads(run("stats", clips, "-o", tmp_path / "x.npz", "--dry-run").out)
    assert said["files"] == 10 and not (tmp_path / "x.npz").exists()
    whole = run("stats", clips, "-o", tmp_path / "x.npz").out
    assert f"{said['embeddings']} embeddings" in whole
    assert said["memory_mb"] > 100 and said["estimated_seconds"] is not None


def test_dry_run_takes_the_model_of_a_statistics_file(clips, tmp_path, capsys):
    fad_onnx.stats(clips, tmp_path / "a.npz", WEIGHTLESS)
    assert main(["score", str(tmp_path / "a.npz"), str(clips), "--dry-run"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["model"] == WEIGHTLESS and said["weights"] == "none needed" and said["files"] == 10
    assert main(["score", str(clips), str(clips), "--dry-run"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["weights"] == "to download" and said["estimated_seconds"] is None


def test_models_and_demo(run):
    shown = run("models").out
    listed = json.loads(run("models", "--json").out)["models"]
    for name in table.models():
        assert name in shown and name in listed
    blocks = shown.split("\n\n")[1:]
    assert [block.splitlines()[0] for block in blocks] == list(table.families())
    for (family, models), block in zip(table.families().items(), blocks, strict=True):
        names = [line.split()[0] for line in block.splitlines()[1:] if line[2] != " "]
        assert names == [model.name for model in models]
        assert {listed[name]["family"] for name in names} == {family}
    out = run("demo").out
    assert "not comparable with published FAD" in out
    scores = [float(line.split()[-1]) for line in out.splitlines()[2:]]
    assert 0 < scores[0] < scores[1] / 10


def test_the_cache_is_used_shown_and_cleared(run, clips, monkeypatch):
    first = run("score", clips, clips).out
    monkeypatch.setattr("fad_onnx.networks.group.Group.run", None)
    assert run("score", clips, clips).out == first
    info = json.loads(run("cache", "info", "--json").out)
    assert info["values"] == 10 and info["bytes"] > 10 * 4 * DIM
    assert "values: 0" in run("cache", "clear").out
    with pytest.raises(TypeError):
        run("score", clips, clips)


def test_other_options_never_share_cached_rows(run, clips, tmp_path):
    write_clip(clips / "short.wav", 1, 0.5)
    run("stats", clips, "-o", tmp_path / "a.npz", "--short", "pad")
    assert "shorter" in run("stats", clips, "-o", tmp_path / "b.npz", code=1).err


def test_imports_are_light():
    code = (
        "import sys; before = set(sys.modules); import fad_onnx\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(name for name in new if name not in sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['fad_onnx']\n"
    code = (
        "import sys; from fad_onnx.cli.parser import build; build(); print('numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_an_interrupt_ends_at_once_with_130(clips, tmp_path):
    one = write_clip(tmp_path / "one.wav", 1, 5)
    (tmp_path / "big").mkdir()
    for index in range(3000):
        (tmp_path / "big" / f"{index}.wav").symlink_to(one)
    process = subprocess.Popen(
        [sys.executable, "-m", "fad_onnx", "score", str(tmp_path / "big"), str(clips),
         "-m", WEIGHTLESS, "--workers", "1", "--no-cache"],
        stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    # It is at work once there are threads beside the main one.
    deadline = time.monotonic() + 30
    while len(os.listdir(f"/proc/{process.pid}/task")) < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    start = time.monotonic()
    process.send_signal(2)
    _, error = process.communicate(timeout=10)
    if process.returncode == 0:
        pytest.fail("finished before the interrupt: make the set larger")
    assert process.returncode == 130 and "in the cache" in error
    assert time.monotonic() - start < 1


def test_a_report_that_cannot_be_made_is_said_before_the_work(run, tmp_path, monkeypatch):
    monkeypatch.setattr(report, "find_spec", lambda name: None)
    said = run("score", tmp_path, tmp_path, "--report", tmp_path / "r.html", code=1)
    assert "pip install 'fad-onnx[report]'" in said.err


ODD = [
    "nan", "inf", "-inf", "-1", "-0", "0", "1e400", "1e300", "1e-300", "", " ", "1.5", "0x10",
    "1_0", "1\n", "\u0661", "\u00b2", "9" * 19, "9" * 5000, "1/0", "0/1", "2/1",
    f"1/{'9' * 5000}", "\udcff",
]  # fmt: skip


def numeric_flags():
    """(command, flag) of all whose value is a number."""
    (commands,) = (a for a in build()._actions if isinstance(a, argparse._SubParsersAction))
    for command, parser in commands.choices.items():
        for action in parser._actions:
            if action.metavar in ("N", "X", "HZ", "LEVEL", "I/N", "KEY=VALUE"):
                yield command, action.option_strings[0]


def test_every_numeric_flag_is_found():
    found = set(numeric_flags())
    assert len(found) > 20 and ("score", "--ci") in found and ("cache", "--max-gb") in found


def odd_numbers():
    """(command, flag, values): every third value, another third for the next flag, then all."""
    for index, (command, flag) in enumerate(numeric_flags()):
        yield command, flag, ODD[index % 3 :: 3]
        yield pytest.param(command, flag, ODD, marks=pytest.mark.large)


@pytest.mark.parametrize(("command", "flag", "values"), list(odd_numbers()))
def test_odd_numbers_are_one_line(command, flag, values, clips, tmp_path, capsys, monkeypatch):
    """Exit 2 or 1 and one line, or a run that ends; bench is played, for it would take long."""
    made = fad_onnx.stats(clips, tmp_path / "a.npz", WEIGHTLESS, cache=False)
    assert made.metadata
    one = str(tmp_path / "a.npz")
    given = {
        "score": [one, one], "evaluate": [one, "--reference", one, "--metric", "fad"],
        "stats": [str(clips), "-m", WEIGHTLESS, "-o", f"{tmp_path}/s.npz"],
        "embed": [str(clips), "-m", WEIGHTLESS, "-o", f"{tmp_path}/e.npz"],
        "cache": ["prune"], "pull": [WEIGHTLESS, "--offline"], "bench": [WEIGHTLESS],
    }  # fmt: skip
    monkeypatch.setattr("fad_onnx.tools.bench.measure", lambda *_: pytest.fail("not odd"))
    for value in values:
        value = f"seed={value}" if flag == "--option" else value
        try:
            code = main([command, *given[command], f"{flag}={value}"])
        except SystemExit as stop:
            code = stop.code
        except pytest.fail.Exception:
            assert float(value) > 0
            continue
        error = capsys.readouterr().err
        assert code in (0, 1, 2) and "Traceback" not in error
        if code == 1:
            assert error.startswith("fad-onnx: ") and len(error.splitlines()) == 1, error


def test_clips_that_cannot_be_timed_are_one_line(run, monkeypatch):
    for many in (["--clips", 2**31 - 1], ["--seconds", 1e9]):
        error = run("bench", WEIGHTLESS, *map(str, many), code=2).err
        assert "GB are available" in error and len(error.splitlines()) == 1
    assert "is below the" in run("bench", WEIGHTLESS, "--seconds", "1e-300", code=2).err


def test_a_seed_of_a_model_is_a_whole_number():
    model = next(entry for entry in table.models().values() if "seed" in entry.options)
    for value in ("-1", "nan", "1e3", "9" * 20, "9" * 5000, ""):
        with pytest.raises(fad_onnx.FadError, match="a whole number"):
            model.choose({"seed": value})
    assert model.choose({"seed": "9" * 19})["seed"] == "9" * 19


def test_every_command_has_json(run, clips, tmp_path):
    parts = [tmp_path / f"{part}.npz" for part in (1, 2)]
    write_clip(clips / "short.wav", 1, 0.2)
    for part, path in enumerate(parts, 1):
        found = run("stats", clips, "-o", path, "--shard", f"{part}/2", "--json", "--short", "skip")
        said = json.loads(found.out)
        assert not found.err and said["output"] == str(path) and said["model"] == WEIGHTLESS
        assert said["protocol"]["short_clips"] == "skip" and said["files"] in (5, 6)
    assert [one["path"] for one in said["skipped"]] == [str(clips / "short.wav")]
    said = json.loads(run("merge", *parts, "-o", tmp_path / "all.npz", "--json").out)
    assert (said["schema"], said["files"]) == (2, 10) and said["output"].endswith("all.npz")
    said = json.loads(run("embed", clips, "-o", tmp_path / "e.npz", "--json", "--short", "pad").out)
    assert said["embeddings"] > said["files"] == 11 and said["seconds"] > 10
    said = json.loads(run("pull", WEIGHTLESS, "--json").out)
    assert said["kept"] == {WEIGHTLESS: [f"{WEIGHTLESS}: needs no weights"]} and not said["failed"]
    assert len(json.loads(run("demo", "--json").out)["results"]) == 2
    (commands,) = (a for a in build()._actions if isinstance(a, argparse._SubParsersAction))
    assert all("--json" in parser.format_help() for parser in commands.choices.values())


def json_commands(clips, folder):
    """A command line of every kind whose output is JSON."""
    model = ("-m", WEIGHTLESS)
    audio = ("score", "evaluate", "stats", "embed")
    sides = {"score": (clips, clips), "evaluate": (clips, "--reference", clips)}
    for command in audio:
        line = (command, *sides.get(command, (clips, "-o", folder / f"{command}.npz")), *model)
        yield (*line, "--json")
        yield (*line, "--json", "--dry-run")
    yield ("score", clips, clips, *model, "-m", "vggish", "--json", "--dry-run")
    yield ("merge", folder / "stats.npz", "-o", folder / "all.npz", "--json")
    for command in ("verify", "pull"):
        yield (command, WEIGHTLESS, "--json")
    yield ("bench", WEIGHTLESS, "--clips", "2", "--seconds", "1", "--workers", "1", "--json")
    for action in ("info", "prune", "clear"):
        yield ("cache", action, "--json")
    yield ("models", "--json")
    yield ("demo", "--json")
    yield ("demo", "--folder", folder / "demo", "--json")


def test_every_json_object_has_a_schema(run, clips, tmp_path):
    asked = set()
    for line in json_commands(clips, tmp_path):
        said = json.loads(run(*line).out)
        assert said["schema"] == 2 and next(iter(said)) == "schema" and len(said) > 1, line
        asked.add(line[0])
    (commands,) = (a for a in build()._actions if isinstance(a, argparse._SubParsersAction))
    assert asked == set(commands.choices)
    assert len(said["systems"]) == 3 and os.path.isdir(said["reference"])


def test_a_pull_that_fails_in_part_says_so_in_json(run):
    other = next(entry.name for entry in table.models().values() if entry.network.checkpoints)
    said = json.loads(run("pull", WEIGHTLESS, other, "--json", code=1).out)
    assert list(said["kept"]) == [WEIGHTLESS] and list(said["failed"]) == [other]


def test_a_dry_run_of_several_models_is_one_document(run, clips, tmp_path):
    other = next(entry.name for entry in table.models().values() if entry.network.checkpoints)
    said = json.loads(run("score", clips, clips, "-m", WEIGHTLESS, "-m", other, "--dry-run").out)
    assert [one["model"] for one in said["estimates"]] == [WEIGHTLESS, other]


def test_equal_scores_stand_in_the_order_given(run, clips, tmp_path):
    run("stats", clips, "-o", tmp_path / "0.npz")
    for index in range(1, 9):
        (tmp_path / f"{index}.npz").write_bytes((tmp_path / "0.npz").read_bytes())
    paths = [str(tmp_path / f"{index}.npz") for index in (0, 5, 3, 8, 1, 7, 2, 6, 4)]
    lines = run("score", *paths).out.splitlines()[1:]
    assert [line.split()[0] for line in lines] == paths[1:]


@pytest.mark.parametrize("command", ["stats", "embed"])
def test_a_second_model_is_an_error_where_a_command_takes_one(command, clips, tmp_path):
    other = ("-m", WEIGHTLESS, "--model", "vggish")
    with pytest.raises(SystemExit) as left:
        main([command, str(clips), "-o", str(tmp_path / "a.npz"), *other])
    assert left.value.code == 2 and not (tmp_path / "a.npz").exists()
