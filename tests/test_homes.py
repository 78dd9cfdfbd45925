"""Every kind of cache folder: none, a file, unreadable, read-only, somebody else's."""

import json
import os
import pwd
import subprocess
import sys
from pathlib import Path

import pytest

from fad_onnx.cache import root
from fad_onnx.cache.embeddings import EmbeddingCache
from fad_onnx.cli import main
from fad_onnx.errors import CacheError, FadError
from fad_onnx.networks import table
from fad_onnx.weights import prepare

from .kit import WEIGHTLESS

MODELS = [row for row in table.models().values() if row.network.checkpoints]
FREE = WEIGHTLESS


@pytest.fixture
def no_home(monkeypatch):
    """A user without an entry in passwd, started without an environment."""
    for name in ("HOME", "FAD_ONNX_HOME", "XDG_CACHE_HOME", "TORCH_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])


def commands(audio):
    """Command -> whether it can be carried out without a cache."""
    return [
        (["models"], True),
        (["models", "--json"], True),
        (["score", audio, audio, "-m", FREE, "-q"], True),
        (["score", audio, audio, "-m", FREE, "--dry-run"], True),
        (["score", audio, audio, "-m", MODELS[0].name, "--dry-run"], True),
        (["demo"], True),
        (["score", audio, audio, "-m", MODELS[0].name, "-q"], False),
        (["cache", "info"], False),
        (["pull", MODELS[0].name, "-q"], False),
    ]


def check_all(audio, capsys, caplog):
    for command, possible in commands(audio):
        prepare._warn.cache_clear()
        caplog.clear()
        code = main(command)
        said = capsys.readouterr()
        if possible:
            assert code == 0 and said.out, command
            warned = [line for line in caplog.messages if "FAD_ONNX_HOME" in line]
            # Neither the demo nor the dry run of a weightless model uses the cache.
            unused = command == ["demo"] or ("--dry-run" in command and FREE in command)
            assert len(warned) == (not unused), (command, caplog.messages)
        else:
            assert code == 1, command
            (line,) = said.err.splitlines()
            assert "FAD_ONNX_HOME" in line


@pytest.mark.usefixtures("no_home")
def test_without_a_home(clips, capsys, caplog, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    check_all(str(clips), capsys, caplog)
    assert not list(tmp_path.glob("~*")), "no folder called ~"


def test_a_home_of_nobody(clips, capsys, caplog, monkeypatch):
    monkeypatch.setenv("FAD_ONNX_HOME", "~nobody-of-that-name/x")
    check_all(str(clips), capsys, caplog)


@pytest.mark.parametrize("inside", ["", "sub"])
def test_a_home_that_is_a_file(clips, capsys, caplog, tmp_path, monkeypatch, inside):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / "file" / inside))
    check_all(str(clips), capsys, caplog)


@pytest.mark.usefixtures("no_home")
def test_official_weights_are_looked_for_without_a_home(tmp_path, monkeypatch):
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path))
    for folder in ("", "~nobody-of-that-name/x"):
        for name in ("TORCH_HOME", "HF_HOME", "HF_HUB_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.setenv(name, folder)
        assert main(["pull", *(row.name for row in MODELS)]) == 1


SCRIPT = """
import json, sys
from fad_onnx.cli import main
for command in json.loads(sys.argv[1]):
    print(main(command), flush=True)
"""


def run_without_powers(commands, **environment):
    """The exit codes, by a process to which permissions apply even if it is root's."""
    strip = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search"]
    return subprocess.run(
        [*(strip if os.geteuid() == 0 else []), sys.executable, "-c", SCRIPT, json.dumps(commands)],
        env={**os.environ, **environment}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
@pytest.mark.parametrize("mode", [0o000, pytest.param(0o500, marks=pytest.mark.large)])
def test_a_home_that_cannot_be_read_or_written(clips, tmp_path, mode):
    home = tmp_path / "closed"
    home.mkdir()
    audio = str(clips)
    found = []
    try:
        home.chmod(mode)
        for command, _ in commands(audio):
            if command != ["demo"]:
                found.append(command)
        done = run_without_powers(found, FAD_ONNX_HOME=str(home))
    finally:
        home.chmod(0o700)
    assert "Traceback" not in done.stderr and done.returncode == 0
    assert "permission denied" in done.stderr and "FAD_ONNX_HOME" in done.stderr
    codes = [line for line in done.stdout.splitlines() if line in ("0", "1")]
    assert codes == ["0"] * 5 + ["1", "01"[mode == 0], "1"]


def give_away(path, monkeypatch):
    """Make a folder another user's, or this process."""
    if os.geteuid() == 0:
        os.chown(path, 12345, -1)
    else:
        monkeypatch.setattr(os, "geteuid", lambda: 12345)


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
@pytest.mark.parametrize("how", ["owner", "mode"])
def test_a_cache_that_others_may_change_is_not_trusted(
    how, clips, capsys, caplog, tmp_path, monkeypatch
):
    home = tmp_path / "shared"
    home.mkdir()
    monkeypatch.setenv("FAD_ONNX_HOME", str(home))
    home.chmod(0o777) if how == "mode" else give_away(home, monkeypatch)
    check_all(str(clips), capsys, caplog)
    with pytest.raises(CacheError, match=r"FAD_ONNX_SHARED=1.*FAD_ONNX_HOME"):
        root.root()
    with pytest.raises(CacheError, match="FAD_ONNX_SHARED=1"):
        EmbeddingCache(home)
    for value, said in (("false", "everybody|another"), ("nonsense", "neither 1 nor 0")):
        monkeypatch.setenv("FAD_ONNX_SHARED", value)
        with pytest.raises(FadError, match=said):
            root.root()
    monkeypatch.setenv("FAD_ONNX_SHARED", "1")
    assert root.root() == home
    EmbeddingCache(home).close()


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_what_lies_in_a_folder_for_all_is_judged_by_itself(tmp_path, monkeypatch):
    """FAD_ONNX_HOME=/tmp, where anybody may have made `models`."""
    home = tmp_path / "tmp"
    home.mkdir()
    home.chmod(0o1777)
    monkeypatch.setenv("FAD_ONNX_HOME", str(home))
    for name in ("models", "checkpoints", "hashes", "embeddings", "locks"):
        assert root.part(name) == home / name
        (home / name).mkdir()
        (home / name).chmod(0o777)
        with pytest.raises(CacheError, match=r"everybody may write to it \(mode 777\)"):
            root.part(name)
        (home / name).chmod(0o775)  # a group is whom the owner chose
        assert root.part(name) == home / name


@pytest.mark.skipif(os.name == "nt", reason="POSIX only")
def test_a_cache_made_without_a_umask_is_trusted(clips, tmp_path, monkeypatch, capsys, caplog):
    home = tmp_path / "new" / "home"
    monkeypatch.setenv("FAD_ONNX_HOME", str(home))
    before = os.umask(0)
    try:
        for _ in range(2):
            assert main(["score", str(clips), str(clips), "-m", FREE, "-q"]) == 0
        with root.locked("x"):
            pass
    finally:
        os.umask(before)
    assert not caplog.messages
    assert {path.stat().st_mode & 0o777 for path in (home, *home.iterdir())} == {0o775}


def test_a_home_given_away_is_never_written(tmp_path, monkeypatch):
    monkeypatch.setenv("FAD_ONNX_HOME", str(tmp_path / "shared"))
    (tmp_path / "shared").mkdir(mode=0o777)
    (tmp_path / "shared").chmod(0o777)
    with pytest.raises(CacheError), root.locked("x"):
        pass
    assert not list(Path(tmp_path / "shared").iterdir())
