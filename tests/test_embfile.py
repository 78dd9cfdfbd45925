"""Embeddings files: of any size, of both versions, and never more than embeddings."""

import contextlib
import json
import os
import subprocess
import sys
import tracemalloc
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fad_onnx
from fad_onnx.api import making
from fad_onnx.api.measure import Wanted
from fad_onnx.cli import main
from fad_onnx.errors import FadError, OutputError, StatisticsError
from fad_onnx.files import archives, embeddings
from fad_onnx.weights.checkpoints import npz

from .conftest import write_clip
from .kit import WEIGHTLESS


def version_1(path, clips, metadata="{}"):
    """As files were written before: an array a clip."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in [*clips.items(), (embeddings.METADATA, np.array(metadata))]:
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as out:
                np.lib.format.write_array(out, np.asarray(array))
    return path


def version_2(path, **changed):
    arrays = {
        "embeddings": np.random.RandomState(0).randn(6, 4).astype(np.float32),
        "offsets": np.array([0, 1, 3, 6]),
        "names": np.array(["a.wav", "sub/b.wav", "c.wav"]),
        "metadata": np.array("{}"),
        **changed,
    }
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})
    return path


def made_of(rows):
    def fill(writer):
        for name, own in rows.items():
            writer.add(name, own)
        writer.metadata({"files": len(rows)})

    return fill


def test_what_is_written_comes_back_and_numpy_reads_it(tmp_path):
    random = np.random.RandomState(1)
    names = ["a b.wav", "sub/100%.wav", "new\nline.wav", "stray\udcff.wav", "ünï.wav", "@x.wav"]
    rows = {name: random.randn(i + 1, 3).astype(np.float32) for i, name in enumerate(names)}
    embeddings.write(tmp_path / "e.npz", made_of(rows))
    found, metadata = embeddings.read(tmp_path / "e.npz")
    assert list(found) == names and metadata == {"files": 6}
    for name, own in rows.items():
        np.testing.assert_array_equal(found[name], own)
        assert found[name].dtype == np.float32
    assert [len(own) for own in found.by_clip[1:4]] == [2, 3, 4] and len(found.by_clip[-1]) == 6
    with np.load(tmp_path / "e.npz") as stored:
        assert sorted(stored) == sorted(embeddings.OWN)
        assert stored["embeddings"].shape == (21, 3) and stored["embeddings"].dtype == np.float32
        assert stored["offsets"].dtype == np.int64 and list(stored["offsets"][:3]) == [0, 1, 3]
        assert [embeddings.unescape(name) for name in stored["names"]] == names
        assert all(name.isascii() for name in stored["names"])
    embeddings.write(tmp_path / "again.npz", made_of(rows))
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "e.npz").read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["again.npz", "e.npz"]


def test_files_of_version_1_score_as_they_did(tmp_path):
    for index in range(5):
        write_clip(tmp_path / "set" / "sub" / f"{index}.wav", index, 2 + index)
    making.embed(tmp_path / "set", WEIGHTLESS, output=tmp_path / "new.npz")
    found, metadata = embeddings.read(tmp_path / "new.npz")
    metadata["rows"] = metadata.pop("embeddings")
    metadata["largest_file"]["rows"] = metadata["largest_file"].pop("embeddings")
    old = {embeddings.escape(name): rows for name, rows in found.items()}
    version_1(tmp_path / "old.npz", old, json.dumps(metadata))
    one, other = (archives.read_set(tmp_path / f"{name}.npz") for name in ("new", "old"))
    assert one.metadata == other.metadata and one.files == other.files
    np.testing.assert_array_equal(one.moments.mean, other.moments.mean)
    np.testing.assert_array_equal(one.moments.scatter, other.moments.scatter)
    assert archives.holds_embeddings(tmp_path / "old.npz")
    wanted = Wanted(per_file=True)
    first, second = (
        fad_onnx.score(tmp_path / "new.npz", path, wanted=wanted)
        for path in (tmp_path / "new.npz", tmp_path / "old.npz")
    )
    assert first.value == second.value and first.files == second.files
    assert [(one.value, one.fields) for one in first.metrics.values()] == [
        (one.value, one.fields) for one in second.metrics.values()
    ]


@pytest.mark.large
def test_a_file_with_more_clips_than_a_checkpoint_has_tensors(tmp_path):
    """Of both versions: 2,600 bytes a member were counted against the file's size and 256 MiB."""
    count = 150_000
    one = np.zeros((1, 4), np.float32)

    def fill(writer):
        for index in range(count):
            one[0] = index
            writer.add(f"folder/{index:07}.wav", one)
        writer.metadata({})

    embeddings.write(tmp_path / "new.npz", fill)
    found, _ = embeddings.read(tmp_path / "new.npz")
    assert len(found) == count and found["folder/0149999.wav"][0, 0] == count - 1
    assert archives.read_set(tmp_path / "new.npz").moments.count == count


def test_a_file_of_version_1_with_as_many_clips(tmp_path, monkeypatch):
    """As with 150,000, where the allowance is smaller in proportion."""
    monkeypatch.setattr("fad_onnx.weights.checkpoints.mapped.ALLOWANCE_BYTES", 3 << 20)
    clips = {f"{index:06}.wav": np.full((1, 4), index, np.float32) for index in range(1700)}
    version_1(tmp_path / "old.npz", clips)
    assert archives.holds_embeddings(tmp_path / "old.npz")
    found, _ = embeddings.read(tmp_path / "old.npz")
    assert len(found) == 1700 and found["001699.wav"][0, 3] == 1699


def test_memory_does_not_grow_with_the_embeddings(tmp_path):
    """Neither to write them nor to read them back."""
    rows = np.ones((20_000, 100), np.float32)  # 8 MB

    def peak(count):
        def fill(writer):
            for index in range(count):
                writer.add(f"{index}.wav", rows)

        tracemalloc.start()
        embeddings.write(tmp_path / "e.npz", fill)
        found, _ = embeddings.read(tmp_path / "e.npz")
        assert len(found[f"{count - 1}.wav"]) == 20_000
        highest = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return highest

    few, many = peak(2), peak(12)
    assert many < few + (1 << 20) < 8 << 20


def test_clips_of_a_file_are_made_when_they_are_asked_for(tmp_path):
    names = [f"{index}.wav" for index in range(5)]
    rows = dict.fromkeys(names, np.zeros((2, 3), np.float32))
    embeddings.write(tmp_path / "e.npz", made_of(rows))
    files = archives.read_set(tmp_path / "e.npz").files
    assert [file.name for file in files] == names and files[-1].seconds is None
    assert list(files[1:3]) == [files[1], files[2]] and files[1] in files and len(files) == 5
    with pytest.raises(IndexError):
        files[5]


def test_a_clip_of_a_file_takes_some_tens_of_bytes(tmp_path):
    """There may be millions: of a name, a length, and where the clip begins."""
    names = [f"{index:07}.wav" for index in range(20_000)]
    said = {"file_seconds": [0.125 * index for index in range(20_000)]}

    def fill(writer):
        made_of(dict.fromkeys(names, np.ones((1, 2), np.float32)))(writer)
        writer.metadata(said)

    embeddings.write(tmp_path / "e.npz", fill)
    archives.read_set(tmp_path / "e.npz")  # what is loaded once does not count
    tracemalloc.start()
    found = archives.read_set(tmp_path / "e.npz")
    held, highest = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.names == names and found.files[4].seconds == 0.5
    assert held < 40 * len(names) and highest < 200 * len(names)


def test_long_names_cost_what_they_are(tmp_path):
    """NumPy pads all texts to the longest."""
    names = ["x" * 4000 + ".wav", *(f"{index}.wav" for index in range(5000))]
    rows = np.zeros((1, 1), np.float32)
    embeddings.write(tmp_path / "e.npz", made_of(dict.fromkeys(names, rows)))
    assert (tmp_path / "e.npz").stat().st_size < 1_000_000
    tracemalloc.start()
    assert list(embeddings.read(tmp_path / "e.npz")[0]) == names
    assert tracemalloc.get_traced_memory()[1] < 20_000_000  # not 80 MB
    tracemalloc.stop()


def test_a_disk_without_room_is_an_error_that_leaves_nothing(tmp_path):
    def fill(writer):
        raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="full"):
        embeddings.write(tmp_path / "e.npz", fill)
    assert not os.listdir(tmp_path)


# Malformed files.


WRONG = {
    "metadata is not a JSON object": [{"metadata": np.array(text)} for text in ("[]", "7", '"x"')],
    "nested more than": [{"metadata": np.array('{"a":' + "[" * 900 + "]" * 900 + "}")}],
    "metadata is not JSON": [
        {"metadata": np.array("{")}, {"metadata": np.array("[" * 100_000)},
        {"metadata": np.array('{"files": ' + "9" * 5000 + "}")},
    ],
    "single string": [{"metadata": np.array(["{}"])}, {"metadata": np.array(7)}],
    "not float32": [
        {"embeddings": array}
        for array in (
            np.zeros(6, np.float32), np.array(3, np.float32), np.zeros((6, 4)),
            np.zeros((6, 0), np.float32), np.zeros((6, 4), np.int32), np.array(["x"] * 6),
            np.zeros((6, 2, 2), np.float32),
        )
    ],
    "offsets": [
        {"offsets": np.array(offsets)}
        for offsets in (
            [0, 1, 3, 7], [0, 1, 3, 5], [1, 2, 3, 6], [0, 3, 1, 6], [-1, 1, 3, 6], [0, 1, 1, 6],
            [0.0, 1.0, 3.0, 6.0], [[0, 1, 3, 6]], 6, ["0", "1", "3", "6"], [0, -(2**62), 3, 6],
        )
    ],
    "not int64": [{"offsets": np.zeros(0, np.int64)}],
    "names for 3 clips": [{"names": np.array(["a.wav"])}, {"names": np.array(["a.wav"] * 4)}],
    "different names": [{"names": np.array(["a.wav", "b.wav", "%61.wav"])}],
    "not a list of texts": [
        {"names": np.array([1, 2, 3])}, {"names": np.array([b"a", b"b", b"c"])},
        {"names": np.array("abc")}, {"names": np.array([["a", "b", "c"]])},
    ],
    "objects or records": [
        {"names": np.array(["a", "b", None])}, {"embeddings": np.array([None] * 6)},
        {"metadata": np.array({}, dtype=object)},
    ],
    "NaN, infinity": [
        {"embeddings": np.full((6, 4), value, np.float32)} for value in (np.nan, np.inf, -np.inf)
    ],
    "is not the name of a file within": [
        {"names": np.array([name, "b.wav", "c.wav"])}
        for name in (
            "%2Fhome%2Fuser%2Fx.wav", "/x.wav", "..%2Fx.wav", "a/../../x.wav", "a/..", "..", ".",
            "%5C%5Cserver%5Cshare%5Cx.wav", "C%3A%5Cx.wav", "c%3A/x.wav", "a%5C..%5C..%5Cx.wav",
            "x%00.wav", "", "./x.wav",
        )
    ],
}  # fmt: skip


@pytest.mark.parametrize(
    ("said", "changed"), [(said, changed) for said, all_ in WRONG.items() for changed in all_]
)
def test_what_is_wrong_is_one_line(said, changed, tmp_path, capsys):
    path = version_2(tmp_path / "bad.npz", **changed)
    with pytest.raises(StatisticsError, match=rf"bad\.npz: .*{said}"):
        archives.read_set(path)
    assert main(["score", str(path), str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith("fad-onnx: ") and error.count("\n") == 1 and len(error) < 400


def test_a_lone_surrogate_is_no_name(tmp_path):
    path = version_2(tmp_path / "bad.npz", names=np.array(["\ud800.wav", "b.wav", "c.wav"]))
    with pytest.raises(StatisticsError, match=r"bad\.npz: "):
        archives.read_set(path)


@pytest.mark.parametrize(
    ("said", "clips", "metadata"),
    [
        ("no embeddings in it", {}, "{}"),
        ("not a JSON object", {"a.wav": np.zeros((2, 4), np.float32)}, "[]"),
        ("not a JSON object", {"a.wav": np.zeros((2, 4), np.float32)}, "7"),
        ("nested", {"a.wav": np.zeros((2, 4), np.float32)}, '{"a":' + "[" * 500 + "]" * 500 + "}"),
        ("have 4 and 5 dimensions", {n: np.zeros((2, n), np.float32) for n in (4, 5)}, "{}"),
        ("not float32", {"a.wav": np.zeros(4, np.float32)}, "{}"),
        ("not float32", {"a.wav": np.float32(1)}, "{}"),
        ("not float32", {"a.wav": np.array("text")}, "{}"),
        ("not float32", {"a.wav": np.zeros((2, 4))}, "{}"),
        ("without embeddings", {"a.wav": np.zeros((0, 4), np.float32)}, "{}"),
        ("objects", {"a.wav": np.array([[None]])}, "{}"),
        ("2 clips have", {"a.wav": np.ones((2, 4), "f4"), "%61.wav": np.ones((2, 4), "f4")}, "{}"),
        ("within a dataset", {"%2Fetc%2Fx.wav": np.ones((2, 4), np.float32)}, "{}"),
        ("within a dataset", {"a%2F..%2F..%2Fx.wav": np.ones((2, 4), np.float32)}, "{}"),
        ("file_seconds", {"a.wav": np.ones((2, 4), np.float32)}, '{"file_seconds": [1, 2]}'),
        ("file_seconds", {"a.wav": np.ones((2, 4), np.float32)}, '{"file_seconds": ["1"]}'),
        ("file_seconds", {"a.wav": np.ones((2, 4), np.float32)}, '{"file_seconds": [NaN]}'),
        ("NaN", {"a.wav": np.full((2, 4), np.nan, np.float32)}, "{}"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_of_version_1(said, clips, metadata, tmp_path):
    version_1(tmp_path / "bad.npz", clips, metadata)
    with pytest.raises(StatisticsError, match=rf"bad\.npz.*{said}"):
        archives.read_set(tmp_path / "bad.npz")


@pytest.mark.parametrize("missing", embeddings.OWN)
def test_a_file_that_lacks_an_array_says_what_it_holds(missing, tmp_path):
    path = version_2(tmp_path / "bad.npz", **{missing: None})
    with pytest.raises(StatisticsError, match=r"bad\.npz: "):
        archives.read_set(path)
    with pytest.raises(StatisticsError, match=f"lacks {missing}"):
        embeddings.read(path)


@pytest.mark.parametrize("value", [-1, True, 1.5, "6", 2**70, float("nan"), [6]])
@pytest.mark.parametrize("key", ["files", "embeddings", "files_skipped", "lowest_source_hz"])
def test_counts_that_are_none_are_refused(key, value, tmp_path):
    path = version_2(tmp_path / "bad.npz", metadata=np.array(json.dumps({key: value})))
    with pytest.raises(StatisticsError, match=f"metadata: {key} has the wrong type"):
        archives.read_set(path)


def test_names_that_would_take_more_than_the_file_are_refused(tmp_path):
    """A text of a megabyte of blanks is nothing, packed."""
    names = np.array(["x" * 200_000 + str(index) for index in range(40)])
    rows = np.zeros((40, 1), np.float32)
    np.savez_compressed(
        tmp_path / "bad.npz", embeddings=rows, offsets=np.arange(41), names=names,
        metadata=np.array("{}"),
    )  # fmt: skip
    assert len(embeddings.read(tmp_path / "bad.npz")[0]) == 40
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("fad_onnx.weights.checkpoints.mapped.ALLOWANCE_BYTES", 1 << 20)
        with pytest.raises(StatisticsError, match="damaged or hostile"):
            embeddings.read(tmp_path / "bad.npz")


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    folder = tmp_path_factory.mktemp("valid")
    for index in range(3):
        write_clip(folder / "set" / f"{index}.wav", index, 2)
    fad_onnx.stats(folder / "set", folder / "s.npz", WEIGHTLESS, cache=False)
    making.embed(folder / "set", WEIGHTLESS, output=folder / "e.npz", cache=False)
    found, metadata = embeddings.read(folder / "e.npz")
    version_1(folder / "1.npz", dict(found), json.dumps(metadata))
    return folder


@settings(max_examples=300, deadline=None)
@given(
    name=st.sampled_from(["s", "e", "1"]),
    places=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=4),
    keep=st.one_of(st.just(1.0), st.floats(0, 1)),
)
def test_damaged_files_are_read_or_are_one_typed_error(valid, name, places, keep):
    data = bytearray((valid / f"{name}.npz").read_bytes())
    for place, byte in places:
        data[min(int(place * len(data)), len(data) - 1)] = byte
    (valid / "hostile.npz").write_bytes(data[: int(keep * len(data))])
    try:
        fad_onnx.score(valid / "e.npz", valid / "hostile.npz", wanted=Wanted())
    except FadError as error:
        assert "\n" not in str(error) and str(error).isprintable()


ARRAYS = st.one_of(
    st.sampled_from([np.array(7), np.zeros(0), np.array(None), np.array([{}]), np.array("x")]),
    st.lists(st.integers(-3, 7), max_size=5).map(np.array),
    st.lists(st.text(max_size=3), max_size=4).map(np.array),
    st.tuples(st.integers(0, 7), st.integers(0, 5)).map(lambda shape: np.ones(shape, np.float32)),
    st.tuples(st.integers(0, 7), st.integers(0, 5)).map(np.zeros),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(["s", "e", "1"]), st.integers(0, 9), ARRAYS)
def test_any_array_in_any_place_is_read_or_is_one_typed_error(valid, name, index, array):
    with np.load(valid / f"{name}.npz") as stored:
        arrays = dict(stored)
    keys = list(arrays)
    arrays[keys[index % len(keys)]] = array
    with zipfile.ZipFile(valid / "hostile.npz", "w") as archive:
        for key, value in arrays.items():
            with archive.open(f"{key}.npy", "w") as out:
                np.lib.format.write_array(out, value)
    try:
        fad_onnx.score(valid / "e.npz", valid / "hostile.npz")
    except FadError as error:
        assert "\n" not in str(error) and str(error).isprintable()


# What a file from elsewhere can name.


def test_a_downloaded_file_takes_no_sound_of_this_machine_along(tmp_path):
    """A name that is an absolute path must not be opened, shown as a clip, or be played."""
    secret = write_clip(tmp_path / "private" / "memo.wav", 1, 2)
    for index in range(3):
        write_clip(tmp_path / "ref" / f"{index}.wav", index, 5)
    making.embed(tmp_path / "ref", WEIGHTLESS, output=tmp_path / "good.npz")
    found, metadata = embeddings.read(tmp_path / "good.npz")
    far = next(iter(found.values())) + 100
    for name in (str(secret), os.path.relpath(secret), os.path.relpath(secret, tmp_path)):
        members = {**dict(list(found.items())[1:]), name.replace("/", "%2F"): far}
        version_1(tmp_path / "downloaded.npz", members, json.dumps(metadata))
        report = tmp_path / "r.html"
        code = main(
            ["score", str(tmp_path / "good.npz"), str(tmp_path / "downloaded.npz"),
             "--report", str(report), "-q"]
        )  # fmt: skip
        assert (code == 0) == (name == "private/memo.wav")
    text = report.read_text()
    assert "memo.wav" in text and "data:audio" not in text and str(secret) not in text
    assert "an embeddings file holds no audio" in text


def test_npz_reads_texts_by_pieces_as_numpy_does(tmp_path):
    names = np.array(["", "a", "ünï\U0001f3b5", "x" * 50] * 3000)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", names=names)
        file = npz.Mapped(tmp_path / "a.npz")
        member = npz.members(file)["names.npy"]
        assert list(npz.texts(file, member)) == names.tolist()


ESCAPE = "\x1b]0;owned\x07\r\nfad-onnx: all is well\u202e"


def test_what_files_say_of_themselves_reaches_the_terminal_as_one_plain_line(valid, capsys):
    """Names of clips, models, licences and values: with escape sequences, breaks, reversals."""
    with np.load(valid / "e.npz") as stored:
        arrays = dict(stored)
    metadata = json.loads(str(arrays["metadata"]))
    metadata |= {"name": ESCAPE, "licence": ESCAPE, "model": ESCAPE, "note": ESCAPE}
    metadata["largest_file"] = {"name": ESCAPE, "embeddings": metadata["embeddings"]}
    metadata["protocol"] |= {"provider": ESCAPE, "short_clips": [ESCAPE, "pad"]}
    arrays["metadata"] = np.array(json.dumps(metadata))
    arrays["names"] = np.array([embeddings.escape(f"{i}{ESCAPE}.wav") for i in range(3)])
    np.savez(valid / "loud.npz", **arrays)
    arrays["metadata"] = np.array(json.dumps({**metadata, "fingerprint": ESCAPE}))
    np.savez(valid / "other.npz", **arrays)
    np.savez(valid / "held.npz", **{ESCAPE: np.zeros(3), f"{ESCAPE}.mu": np.zeros(3)})
    loud, other, held, good = (
        str(valid / f"{name}.npz") for name in ("loud", "other", "held", "e")
    )
    for paths in ((loud, good, loud), (good, loud), (good, other), (good, held), (loud, "x")):
        main(["score", *paths])
        out, error = capsys.readouterr()
        for line in (out + error).split("\n"):
            assert line.isprintable(), (paths, line)
        assert "all is well" not in [line.lstrip() for line in error.split("\n")]
        assert not any(line.startswith("fad-onnx: all is well") for line in error.split("\n"))
    main(["score", loud, good, "--json"])
    assert capsys.readouterr().out.replace("\n", "").isprintable()


A_MILLION = """
import resource, sys
import numpy as np
from fad_onnx.files import embeddings, archives

def fill(writer):
    for index in range(1_000_000):
        writer.add(f"folder-{index // 1000:04}/clip-{index:07}.wav", block + index % 97)
    seconds = [10.0] * 1_000_000
    writer.metadata({"files": 1_000_000, "embeddings": 10_000_000, "file_seconds": seconds})

block = np.random.RandomState(0).standard_normal((10, 8)).astype(np.float32)
if sys.argv[1] == "write":
    embeddings.write(sys.argv[2], fill)
else:
    made = archives.read_set(sys.argv[2])
    assert (made.moments.count, len(made.files)) == (10_000_000, 1_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


@pytest.mark.slow
def test_a_million_clips_of_ten_embeddings(tmp_path):
    for action in ("write", "read"):
        command = [sys.executable, "-c", A_MILLION, action, str(tmp_path / "e.npz")]
        peak = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
        print(f"{action}: {peak} MB")
        assert peak < 1000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
PLACES = (
    "options", "weights", "tensors_sha256", "protocol.output", "protocol.output.width",
    "protocol.preparation", "protocol.preparation.sample_rate_hz",
    "protocol.preparation.sample_format", "protocol.preparation.windows", "protocol.provider",
    "protocol.short_clips", "weights.main", "weights.main.checked", "weights.main.file",
    "largest_file.name", "label", "model", "rows", "note", "left_out",
)  # fmt: skip


@pytest.mark.large
@settings(max_examples=100, deadline=None)
@given(
    place=st.sampled_from(PLACES), value=JSON, name=st.sampled_from(["s", "e"]),
    older=st.booleans(),
)  # fmt: skip
def test_metadata_of_any_kind_at_any_depth_are_read_or_refused(valid, place, value, name, older):
    with np.load(valid / f"{name}.npz") as stored:
        arrays = dict(stored)
    metadata = json.loads(str(arrays["metadata"]))
    if older:  # of the first version: compared by another road
        del metadata["tensors_sha256"]
    *outer, inner = place.split(".")
    into = metadata
    for key in outer:
        into = into.setdefault(key, {})
    into[inner] = value
    np.savez(valid / "hostile.npz", **{**arrays, "metadata": np.array(json.dumps(metadata))})
    for use in (
        lambda: main(["score", str(valid / "e.npz"), str(valid / "hostile.npz"), "--json"]),
        lambda: main(["score", str(valid / "hostile.npz"), str(valid / "e.npz"), "--csv",
                      str(valid / "t.csv")]),
        lambda: archives.merge([valid / "s.npz", valid / "hostile.npz"], valid / "all.npz"),
    ):  # fmt: skip
        with contextlib.suppress(FadError):
            use()
