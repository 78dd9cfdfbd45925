"""Datasets in a bucket: moto's server, which answers as S3 does, read by s3fs."""

from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

import fad_onnx
from fad_onnx.audio import sources
from fad_onnx.errors import AudioError, NoAudioError
from tests.conftest import write_clip
from tests.kept import all_kinds, as_parquet, files_of
from tests.kit import WEIGHTLESS
from tests.test_archives import bits

server = pytest.importorskip("moto.server")
s3fs = pytest.importorskip("s3fs")
pytestmark = pytest.mark.parity


@pytest.fixture(scope="module")
def endpoint():
    running = server.ThreadedMotoServer("127.0.0.1", 0)
    running.start()
    yield "http://{}:{}".format(*running.get_host_and_port())
    running.stop()


@pytest.fixture
def bucket(endpoint, tmp_path, monkeypatch):
    """A folder of clips, and a bucket that holds them as every kind of source."""
    monkeypatch.delenv("FAD_ONNX_OFFLINE")
    settings = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": endpoint}  # fmt: skip
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    clips = tmp_path / "clips"
    for index in range(20):
        write_clip(clips / f"{index:02}.wav", index, 1 + index / 7, (16000, 44100)[index % 2])
    top = tmp_path / "kept"
    all_kinds(clips, top)
    as_parquet(clips, top / "clips.parquet")
    (top / "clips.txt").write_text("".join(f"clips/{file.name}\n" for file in files_of(clips)))
    system = s3fs.S3FileSystem(skip_instance_cache=True)
    system.mkdir("bucket")
    system.put(str(top), "bucket/kept", recursive=True)
    system.put(str(clips), "bucket/kept/clips", recursive=True)
    yield clips
    system.rm("bucket", recursive=True)


KINDS = [
    "clips", "clips/", "clips.txt", "clips.tar", "clips.tar.gz", "clips.zip", "stored.zip",
    "clips.parquet", "shards/shard-{000..002}.tar", "shards/*.tar", "clips/*.wav",
]  # fmt: skip


def test_every_kind_of_source_gives_the_bits_of_the_folder(bucket):
    expected = bits(bucket)
    for kind in KINDS:
        assert bits(f"s3://bucket/kept/{kind}", workers=3) == expected, kind


def test_workers_open_the_bucket_themselves(bucket):
    with ProcessPoolExecutor(2, get_context("spawn")) as executor:
        for kind in ("clips", "clips.tar", "clips.parquet"):
            assert bits(f"s3://bucket/kept/{kind}", executor=executor) == bits(bucket)


def test_names_and_errors_are_those_of_the_bucket(bucket):
    made = fad_onnx.embed("s3://bucket/kept/clips", WEIGHTLESS)
    assert list(made) == [file.name for file in files_of(bucket)]
    assert made.files[0].path == "s3://bucket/kept/clips/00.wav"
    with pytest.raises(AudioError, match=r"s3://bucket/kept/no\.wav: cannot be read: "):
        bits("s3://bucket/kept/no.wav")
    with pytest.raises(NoAudioError, match="s3://bucket/kept/shards: no audio file below it"):
        sources.find("s3://bucket/kept/shards")
    with pytest.raises(AudioError, match=r"no\.tar: cannot be read"):
        bits("s3://nobucket/no.tar")
