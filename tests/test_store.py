from __future__ import annotations

import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fad_onnx.cache import filesystem, root
from fad_onnx.errors import CacheError, CheckpointError, OutputError

POSIX = pytest.mark.skipif(os.name == "nt", reason="POSIX only")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_root_is_the_variable_and_is_not_created(home: Path) -> None:
    assert root.root() == home
    assert not home.exists()


def test_root_without_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAD_ONNX_HOME", "")
    assert root.root().is_absolute()
    assert "fad-onnx" in root.root().parts


def test_root_expands_a_relative_home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAD_ONNX_HOME", "~/somewhere")
    assert root.root() == Path.home() / "somewhere"
    monkeypatch.setenv("FAD_ONNX_HOME", "near")
    assert root.root() == Path.cwd() / "near"


def test_publish_file_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    final = tmp_path / "deep" / "er" / "file"
    assert root.publish_bytes(final, b"one") == final
    root.publish_bytes(final, b"two")
    assert final.read_bytes() == b"two"
    assert names(final.parent) == ["file"]


def test_publish_file_is_invisible_until_whole(tmp_path: Path) -> None:
    final = tmp_path / "file"
    final.write_bytes(b"old")
    seen = []

    def writer(out) -> None:  # type: ignore[no-untyped-def]
        out.write(b"new" * 1000)
        out.flush()
        seen.append(final.read_bytes())

    root.publish_file(final, writer)
    assert seen == [b"old"]


def test_bytes_reach_the_disk_before_the_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    fsync, replace, rename = os.fsync, os.replace, os.rename

    def note(name, call):  # type: ignore[no-untyped-def]
        return lambda *args: (steps.append(name), call(*args))[1]

    monkeypatch.setattr(os, "fsync", note("fsync", fsync))
    monkeypatch.setattr(os, "replace", note("rename", replace))
    monkeypatch.setattr(os, "rename", note("rename", rename))
    root.publish_bytes(tmp_path / "file", b"x")
    assert steps[:2] == ["fsync", "rename"]
    steps.clear()
    root.publish_folder(tmp_path / "folder", lambda folder: (folder / "x").write_text("x"))
    assert steps.index("fsync") < steps.index("rename")


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_a_failed_writer_changes_nothing(tmp_path: Path, error: BaseException) -> None:
    final = tmp_path / "file"
    final.write_bytes(b"old")

    def writer(_: object) -> None:
        raise error

    with pytest.raises(type(error)):
        root.publish_file(final, writer)
    with pytest.raises(type(error)):
        root.publish_folder(tmp_path / "folder", writer)
    assert names(tmp_path) == ["file"]
    assert final.read_bytes() == b"old"


@POSIX
def test_published_files_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        root.publish_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_publish_folder(tmp_path: Path) -> None:
    final = tmp_path / "a" / "folder"

    def writer(folder: Path) -> None:
        (folder / "sub").mkdir()
        (folder / "sub" / "x").write_text("x")
        assert not final.exists()

    root.publish_folder(final, writer)
    assert (final / "sub" / "x").read_text() == "x"
    assert names(final.parent) == ["folder"]


def test_the_first_of_two_folders_stays(tmp_path: Path) -> None:
    final = tmp_path / "folder"
    root.publish_folder(final, lambda folder: (folder / "x").write_text("first"))
    root.publish_folder(final, lambda folder: (folder / "x").write_text("second"))
    assert (final / "x").read_text() == "first"
    assert names(tmp_path) == ["folder"]


def test_many_threads_publish_the_same_name(tmp_path: Path) -> None:
    def publish(number: int) -> None:
        root.publish_folder(
            tmp_path / "folder", lambda folder: (folder / "x").write_text(str(number))
        )
        root.publish_bytes(tmp_path / "file", str(number).encode() * 100)

    threads = [threading.Thread(target=publish, args=[n]) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert names(tmp_path) == ["file", "folder"]
    assert len(set((tmp_path / "file").read_bytes())) == 1


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EIO])
def test_errors_of_the_disk_are_typed(tmp_path: Path, code: int) -> None:
    def writer(_: object) -> None:
        raise OSError(code, os.strerror(code))

    said = {errno.ENOSPC: "full", errno.EROFS: "read-only", errno.EACCES: "permission"}
    for publish in (root.publish_file, root.publish_folder):
        with pytest.raises(CacheError, match=said.get(code, "error")) as caught:
            publish(tmp_path / "x", writer)  # type: ignore[operator]
        assert str(tmp_path / "x") in str(caught.value)
    with pytest.raises(OutputError):
        root.publish_file(tmp_path / "x", writer, OutputError)
    assert names(tmp_path) == []


def test_a_real_full_disk() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("needs /dev/full")
    said, guard = pytest.raises(CacheError, match="full"), filesystem.guarded(Path("/dev/full"))
    with open("/dev/full", "wb", buffering=0) as full, said, guard:
        filesystem.write_all(full.fileno(), b"x")


def test_a_file_where_the_cache_should_be(home: Path) -> None:
    home.write_text("in the way")
    with pytest.raises(CacheError, match="FAD_ONNX_HOME"), root.locked("x"):
        pass
    with pytest.raises(CacheError):
        root.publish_bytes(home / "x", b"")


@POSIX
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write")
def test_an_unwritable_cache(home: Path) -> None:
    home.mkdir(mode=0o500)
    with pytest.raises(CacheError, match="permission"):
        root.publish_bytes(home / "x", b"")


def test_room_is_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    filesystem.require_room(tmp_path / "not" / "there", 50_000_000)
    with pytest.raises(CacheError, match=r"90\.0 MB are needed, 100\.0 MB are free"):
        filesystem.require_room(tmp_path, 90_000_000)

    def never(_: Path) -> None:
        pytest.fail("the writer must not start")

    with pytest.raises(CacheError):
        root.publish_folder(tmp_path / "x", never, needed_bytes=10**9)


def old(path: Path) -> Path:
    for each in (path, *(path.rglob("*") if path.is_dir() else ())):
        os.utime(each, (time.time() - 7200,) * 2)
    return path


@POSIX
def test_sweep_takes_what_is_old_and_free(tmp_path: Path) -> None:
    for name in (
        ".fad-onnx-tmp-1-fresh",
        ".fad-onnx-tmp-1-old",
        ".fad-onnx-tmp-1-held",
        "kept",
        ".tmp-1-other",
    ):
        (tmp_path / name).write_text("x")
    folder = tmp_path / ".fad-onnx-tmp-1-folder"
    folder.mkdir()
    (folder / "x").write_text("x")
    busy = tmp_path / ".fad-onnx-tmp-1-busy"
    busy.mkdir()
    old(busy)
    (busy / "growing").write_text("x")
    for name in (
        ".fad-onnx-tmp-1-old",
        ".fad-onnx-tmp-1-held",
        ".fad-onnx-tmp-1-folder",
        "kept",
        ".tmp-1-other",
    ):
        old(tmp_path / name)
    with open(tmp_path / ".fad-onnx-tmp-1-held", "rb+") as held:
        assert filesystem.hold(held.fileno()) is True
        root.publish_bytes(tmp_path / "new", b"")
    assert names(tmp_path) == [
        ".fad-onnx-tmp-1-busy",
        ".fad-onnx-tmp-1-fresh",
        ".fad-onnx-tmp-1-held",
        ".tmp-1-other",
        "kept",
        "new",
    ]


@POSIX
def test_sweep_without_locks_waits_a_week(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = (
        old(tmp_path / ".fad-onnx-tmp-1-x")
        if (tmp_path / ".fad-onnx-tmp-1-x").write_text("x")
        else tmp_path
    )
    monkeypatch.setattr(root, "hold", lambda _: None)
    assert root.sweep(tmp_path) == []
    assert root.sweep(tmp_path, time.time() + 8 * 86400) == [path]


def test_folders_that_cannot_be_opened_wait_a_week(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on Windows."""
    monkeypatch.setattr(root, "_open_folder", lambda _: None)
    (tmp_path / ".fad-onnx-tmp-1-x").mkdir()
    path = old(tmp_path / ".fad-onnx-tmp-1-x")
    assert root.sweep(tmp_path) == []
    assert root.sweep(tmp_path, time.time() + 8 * 86400) == [path]
    assert root.publish_folder(tmp_path / "y", lambda folder: None).is_dir()


KILLED = """
import sys, time
from pathlib import Path
from fad_onnx.cache import root
def writer(target):
    if isinstance(target, Path):
        (target / "half").write_bytes(b"x" * 1000)
    else:
        target.write(b"x" * 1000); target.flush()
    print("writing", flush=True)
    time.sleep(60)
getattr(root, sys.argv[1])(Path(sys.argv[2]), writer)
"""


@POSIX
@pytest.mark.parametrize("publish", ["publish_file", "publish_folder"])
def test_a_killed_writer_leaves_nothing_visible_and_is_swept(tmp_path: Path, publish: str) -> None:
    final = tmp_path / "final"
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, publish, str(final)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"writing\n"
        [left] = tmp_path.iterdir()
        old(left)
        root.publish_bytes(tmp_path / "other", b"")
        assert left.exists(), "a living writer's file is not swept"
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not final.exists()
    old(left)
    root.publish_bytes(tmp_path / "other", b"")
    assert names(tmp_path) == ["other"]


LOCKER = """
import sys
from fad_onnx.cache import root
with root.locked(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@POSIX
def test_a_lock_goes_with_its_process(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "fad_onnx")
    done = threading.Event()

    def wait() -> None:
        with root.locked("a model"):
            done.set()

    with subprocess.Popen(
        [sys.executable, "-c", LOCKER, "a model"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        thread = threading.Thread(target=wait)
        thread.start()
        assert not done.wait(0.3)
        process.kill()
        assert done.wait(5)
        thread.join()
    assert "waiting for another process that works on a model" in caplog.text


def test_locks_exclude_threads() -> None:
    inside, most = [0], [0]

    def work() -> None:
        for _ in range(5):
            with root.locked("x"):
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                time.sleep(0.001)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == [1]


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", "x" * 500, "ü\n", "a\udcffb"])
def test_any_name_makes_a_lock_inside_the_cache(home: Path, name: str) -> None:
    with root.locked(name), root.locked(name + "other"):
        pass
    assert {path.parent for path in home.rglob("*.lock")} <= {home / "locks"}


def test_file_sha256(tmp_path: Path) -> None:
    path = tmp_path / "x"
    data = bytes(range(256)) * 9000
    path.write_bytes(data)
    assert root.file_sha256(path) == hashlib.sha256(data).hexdigest()
    with pytest.raises(CheckpointError, match="no such file"):
        root.file_sha256(tmp_path / "absent")
