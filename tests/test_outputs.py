"""Where results go: what is no regular file stays, links are followed, nothing is half written.

Devices and pipes here are made by the test in a folder of its own, never those of the machine.
"""

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest

import fad_onnx
from fad_onnx.cli import main
from fad_onnx.errors import OutputError
from fad_onnx.files import embeddings, outputs

from .conftest import write_clip
from .kit import WEIGHTLESS

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
OLD, NEW = b"old\n" * 100, b"new\n" * 5000


@pytest.fixture
def one(tmp_path):
    """A reference and an evaluation set in statistics files, so that a score costs nothing."""
    array = np.random.default_rng(0).normal(size=(40, 3)).astype(np.float32)
    embeddings.write(tmp_path / "e.npz", lambda to: [
        *(to.add(f"{index}.wav", part) for index, part in enumerate(np.split(array, 20))),
        to.metadata({"model": "m", "files": 20, "rows": 40, "seconds": 20.0,
                     "file_seconds": [1.0] * 20}),
    ])  # fmt: skip
    return str(tmp_path / "e.npz")


@pytest.fixture
def clips(tmp_path):
    for index in range(4):
        write_clip(tmp_path / "clips" / f"{index}.wav", index, 3)
    return str(tmp_path / "clips")


def commands(one, clips, folder, make):
    """Every output of every command, each with the target that `make(name)` gives."""
    score = ["score", one, one, "-q"]
    audio = [clips, "-m", WEIGHTLESS, "--no-cache", "-q"]
    part = str(folder / "part.npz")
    fad_onnx.stats(clips, part, WEIGHTLESS, cache=False)
    return [
        (make("a.csv"), lambda to: [*score, "--csv", to]),
        (make("b.csv"), lambda to: [*score, "--per-file", to]),
        (make("c.html"), lambda to: [*score, "--report", to]),
        (make("d.npz"), lambda to: ["stats", *audio, "-o", to]),
        (make("e2.npz"), lambda to: ["embed", *audio, "-o", to]),
        (make("f.npz"), lambda to: ["merge", part, "-o", to]),
    ]  # fmt: skip


def every_output(one, clips, folder, make):
    for path, command in commands(one, clips, folder, make):
        assert main(command(os.fspath(path))) == 0, command(path)
        yield path


def readable(path):
    """Whether a file holds what such a command writes, whole."""
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return len(arrays.files) > 1
    text = path.read_text()
    if path.suffix == ".html":
        return text.startswith("<!") and text.rstrip().endswith("</html>")
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return len(lines) > 1 and {line.count(",") for line in lines} == {lines[0].count(",")}


@ROOT
def test_a_device_stays_a_device(one, clips, tmp_path):
    def make(name):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        return tmp_path / name

    for path in every_output(one, clips, tmp_path, make):
        assert stat.S_ISCHR(path.stat().st_mode) and path.stat().st_rdev == os.makedev(1, 3)
    assert not list(tmp_path.glob(".fad-onnx-*"))


@ROOT
def test_a_full_device_is_one_line(one, clips, tmp_path, capsys):
    def make(name):
        os.mknod(tmp_path / name, stat.S_IFCHR | 0o666, os.makedev(1, 7))
        return tmp_path / name

    for path, command in commands(one, clips, tmp_path, make):
        capsys.readouterr()
        assert main(command(os.fspath(path))) == 1
        error = capsys.readouterr().err.splitlines()
        assert "cannot be written" in error[-1] and "full" in error[-1]
        assert stat.S_ISCHR(path.stat().st_mode)


def test_a_pipe_gets_what_a_file_would(one, clips, tmp_path):
    def make(name):
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    for path, command in commands(one, clips, tmp_path, make):
        got = []
        reader = threading.Thread(target=lambda path=path, got=got: got.append(path.read_bytes()))
        reader.start()
        assert main(command(os.fspath(path))) == 0
        reader.join(20)
        assert stat.S_ISFIFO(path.stat().st_mode)
        copy = tmp_path / f"copy{path.suffix}"
        copy.write_bytes(got[0])
        assert readable(copy), path


def test_links_are_followed(one, clips, tmp_path):
    (tmp_path / "far").mkdir()

    def make(name):
        if name[0] in "ace":  # the others point to nothing yet
            (tmp_path / "far" / name).write_bytes(b"" if name.endswith("csv") else OLD)
        (tmp_path / f"link-{name}").symlink_to(os.path.join("far", name))
        (tmp_path / name).symlink_to(tmp_path / f"link-{name}")
        return tmp_path / name

    for path in every_output(one, clips, tmp_path, make):
        assert path.is_symlink() and (tmp_path / f"link-{path.name}").is_symlink()
        assert readable(tmp_path / "far" / path.name)
    assert {path.name for path in (tmp_path / "far").iterdir()} == {
        "a.csv", "b.csv", "c.html", "d.npz", "e2.npz", "f.npz",
    }  # fmt: skip


def test_a_dangling_link_into_a_missing_folder(tmp_path):
    (tmp_path / "link").symlink_to("not/yet/file")
    outputs.write_bytes(tmp_path / "link", NEW)
    assert (tmp_path / "not" / "yet" / "file").read_bytes() == NEW
    (tmp_path / "other").symlink_to("nor/this/file")
    outputs.append(tmp_path / "other", lambda _: NEW)
    assert (tmp_path / "nor" / "this" / "file").read_bytes() == NEW


def test_links_in_a_circle_are_one_line(one, clips, tmp_path, capsys):
    def make(name):
        (tmp_path / name).symlink_to(f"back-{name}")
        (tmp_path / f"back-{name}").symlink_to(name)
        return tmp_path / name

    for path, command in commands(one, clips, tmp_path, make):
        capsys.readouterr()
        assert main(command(os.fspath(path))) == 1
        said = capsys.readouterr()
        assert not said.out and len(said.err.splitlines()) == 1 and "symbolic links" in said.err
        assert path.is_symlink()


def test_a_file_keeps_its_mode_and_name(one, clips, tmp_path):
    def make(name):
        (tmp_path / name).write_bytes(b"" if name == "a.csv" else OLD)
        (tmp_path / name).chmod(0o640)
        return tmp_path / name

    for path in every_output(one, clips, tmp_path, make):
        assert stat.S_IMODE(path.stat().st_mode) == 0o640 and readable(path)


@ROOT
def test_root_leaves_a_file_to_its_owner(tmp_path):
    (tmp_path / "x").write_bytes(OLD)
    os.chown(tmp_path / "x", 1234, 4321)
    outputs.write_bytes(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW
    assert ((tmp_path / "x").stat().st_uid, (tmp_path / "x").stat().st_gid) == (1234, 4321)


def in_child(work, prepare=lambda: None):
    """The exit code of `work` in a child process: 7 for an OutputError, 99 for any other."""
    child = os.fork()
    if not child:
        code = 99
        try:
            prepare()
            work()
            code = 0
        except (OutputError, OSError) as error:
            code = 7 if isinstance(error, OutputError) else error.errno
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def limited(size, work):
    """`in_child`, where no file can grow beyond `size`."""
    return in_child(work, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)))


def as_nobody(work):
    """`in_child`, without the rights of root."""

    def prepare():
        if os.geteuid() == 0:
            os.setgid(65534)
            os.setuid(65534)

    return in_child(work, prepare)


@pytest.fixture
def open_tmp(tmp_path):
    """A folder that a child without root's rights can reach."""
    for folder in (tmp_path, *tmp_path.parents):
        if os.stat(folder).st_uid == os.geteuid() and folder != folder.parent:
            os.chmod(folder, stat.S_IMODE(os.stat(folder).st_mode) | 0o055)
    return tmp_path


@pytest.mark.parametrize("size", [0, 40, len(NEW), 10 * len(NEW)])
def test_a_writable_file_in_a_folder_that_is_not(open_tmp, size):
    folder = open_tmp / "folder"
    folder.mkdir()
    (folder / "x").write_bytes(b"o" * size)
    (folder / "x").chmod(0o666)
    folder.chmod(0o555)

    def work():
        outputs.check([folder / "x"])
        outputs.write_bytes(folder / "x", NEW)
        outputs.append(folder / "x", lambda held: b"end of %d" % len(held))
        with pytest.raises(OutputError, match="no permission to write to this folder"):
            outputs.check([folder / "y"])

    assert as_nobody(work) == 0
    assert (folder / "x").read_bytes() == NEW + b"end of %d" % len(NEW)
    folder.chmod(0o755)
    assert [path.name for path in folder.iterdir()] == ["x"]


@pytest.mark.parametrize("code", [errno.EBUSY, errno.EPERM])
def test_a_file_whose_name_cannot_be_given_to_another(tmp_path, monkeypatch, code):
    """A file that is a mount, as of a container; another's file in a sticky folder."""

    def refuse(*_):
        raise OSError(code, os.strerror(code))

    (tmp_path / "x").write_bytes(OLD)
    inode = (tmp_path / "x").stat().st_ino
    monkeypatch.setattr(os, "replace", refuse)
    outputs.write_bytes(tmp_path / "x", NEW)
    assert (tmp_path / "x").read_bytes() == NEW and (tmp_path / "x").stat().st_ino == inode
    assert len(list(tmp_path.iterdir())) == 1


def test_no_room_for_a_new_file_keeps_the_old_one(tmp_path):
    (tmp_path / "x").write_bytes(OLD)
    assert limited(5000, lambda: outputs.write_bytes(tmp_path / "x", NEW)) == 7
    assert (tmp_path / "x").read_bytes() == OLD
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_no_room_to_append_leaves_no_part_of_a_line(tmp_path):
    (tmp_path / "x").write_bytes(OLD)
    most = len(NEW) + len(OLD) // 2
    assert limited(most, lambda: outputs.append(tmp_path / "x", lambda _: NEW)) == 7
    assert (tmp_path / "x").read_bytes() == OLD


def test_no_room_to_write_over_keeps_the_old_bytes(tmp_path):
    """Where no rename can be; the limit is met in what lies beyond the old end."""
    (tmp_path / "x").write_bytes(OLD)
    (tmp_path / "new").write_bytes(NEW)

    def work():
        with open(tmp_path / "new", "rb") as content:
            outputs._write_over(content, tmp_path / "x")

    assert limited(5000, work) == errno.EFBIG
    assert (tmp_path / "x").read_bytes() == OLD


def test_what_cannot_be_written_is_said_before_the_work(one, clips, tmp_path, capsys, monkeypatch):
    def work(*_):
        raise AssertionError("the work has begun")

    (tmp_path / "file").touch()
    (tmp_path / "folder.npz").mkdir()
    cases = {
        tmp_path / "file" / "x.npz": "file: cannot be written: it is a file, and a folder",
        tmp_path / "folder.npz": "it is a folder",
        tmp_path / ("n" * 300 + ".npz"): "name too long",
        tmp_path / ("n/" * 5000 + "x.npz"): "name too long",
    }
    listed = commands(one, clips, tmp_path, lambda name: tmp_path / name)
    monkeypatch.setattr("fad_onnx.api.making._listed", work)
    monkeypatch.setattr("fad_onnx.api.inputs.read_set", work)
    monkeypatch.setattr("fad_onnx.files.archives.read_set", work)
    for target, said in cases.items():
        for _, command in listed:
            assert main(command(os.fspath(target))) == 1
            found = capsys.readouterr()
            assert said in found.err and len(found.err.splitlines()) == 1 and not found.out


@pytest.mark.parametrize("path", ["", "folder/", "/dev/fd/987", "/proc/self/fd/987"])
def test_what_names_no_file_is_no_output(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (outputs.check, lambda paths: outputs.write_bytes(paths[0], b"x")):
        if path not in ("", "folder/") or call is outputs.check:
            with pytest.raises(OutputError, match="cannot be written"):
                call([path])
    assert not list(tmp_path.iterdir())


def test_two_outputs_are_two_files(one, tmp_path, capsys):
    (tmp_path / "link").symlink_to("x.csv")
    (tmp_path / "sub").mkdir()
    for second in (tmp_path / "x.csv", tmp_path / "link", tmp_path / "sub" / ".." / "x.csv"):
        for _ in range(2):  # the file is there the second time
            arguments = ["--csv", str(tmp_path / "x.csv"), "--per-file", str(second)]
            assert main(["score", one, one, *arguments]) == 1
            found = capsys.readouterr()
            assert "it is given for two outputs" in found.err and not found.out
            (tmp_path / "x.csv").touch()
        assert (tmp_path / "x.csv").stat().st_size == 0
        (tmp_path / "x.csv").unlink()
    os.mkfifo(tmp_path / "pipe")
    outputs.check([tmp_path / "pipe", tmp_path / "pipe"])  # takes one after the other


def test_an_output_is_none_of_the_inputs(one, clips, tmp_path, capsys):
    (tmp_path / "link.npz").symlink_to(one)
    os.link(one, tmp_path / "second.npz")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    audio = f"{clips}/0.wav"
    for arguments in (
        ["merge", one, "-o", one],
        ["merge", str(tmp_path / "link.npz"), "-o", one],
        ["merge", one, "-o", str(tmp_path / "second.npz")],
        ["score", one, one, "--csv", one],
        ["score", clips, clips, "-m", WEIGHTLESS, "--report", audio],
        ["score", audio, clips, "-m", WEIGHTLESS, "--csv", audio],
        ["stats", clips, "-m", WEIGHTLESS, "--weights", one, "-o", one],
        ["embed", clips, "-m", WEIGHTLESS, "--weights", f"main={one}", "-o", one],
    ):
        assert main(arguments) == 1
        found = capsys.readouterr()
        assert "it is one of the inputs" in found.err and not found.out, arguments
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    # A result may go into the folder that was read.
    assert main(["score", one, one, "--csv", f"{clips}/scores.csv"]) == 0


def test_a_descriptor_goes_on_where_it_is(one, tmp_path):
    """As `--per-file /dev/stdout > file`, but with a link of our own and another descriptor."""
    for flag in ("--csv", "--per-file", "--report"):
        with open(tmp_path / "file", "wb") as file:
            file.write(b"before\n")
            file.flush()
            link = tmp_path / f"link{flag}"
            link.symlink_to(f"/proc/self/fd/{file.fileno()}")
            assert main(["score", one, one, "-q", flag, str(link)]) == 0
            file.write(b"after\n")
        text = (tmp_path / "file").read_text()
        assert text.startswith("before\n") and text.endswith("after\n") and len(text) > 100
        assert link.is_symlink()


def test_a_file_is_not_for_a_result_and_stdout(one, tmp_path):
    made = tmp_path / "out.csv"
    with open(made, "wb") as out:
        done = subprocess.run(
            [sys.executable, "-m", "fad_onnx", "score", one, one, "--csv", made],
            stdout=out, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
    assert done.returncode == 1 and "it is already open as the standard output" in done.stderr
    assert made.stat().st_size == 0


def test_sockets_are_no_outputs(one, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        assert main(["score", one, one, "--csv", "s"]) == 1
        assert "it is a socket" in capsys.readouterr().err
        assert stat.S_ISSOCK(os.stat("s").st_mode)
