"""Every test has a cache of its own, and none touches the network."""

import itertools
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from fad_onnx.networks import machine, registration, synthetic, table


@pytest.fixture(scope="session")
def homes(tmp_path_factory):
    """Paths for homes. pytest's own would list all folders so far for each new one."""
    folder = tmp_path_factory.mktemp("homes")
    return (folder / str(number) for number in itertools.count())


@pytest.fixture(autouse=True)
def home(homes, monkeypatch):
    """An empty FAD_ONNX_HOME, offline, without what other tools keep."""
    folder = next(homes)
    folder.mkdir()
    monkeypatch.setenv("FAD_ONNX_HOME", str(folder))
    monkeypatch.setenv("TORCH_HOME", str(folder / "no-torch"))
    monkeypatch.setenv("HF_HUB_CACHE", str(folder / "no-hub"))
    monkeypatch.setenv("FAD_ONNX_OFFLINE", "1")
    monkeypatch.delenv("FAD_ONNX_MIRROR", raising=False)
    return folder


def pytest_xdist_auto_num_workers(config):
    """The default tier on every core; what is chosen by hand, or large, in this process."""
    whole = config.args == config.getini("testpaths") and "not large" in config.option.markexpr
    return machine.cores() if whole else 0


DEBIAN = {"opusdec": "opus-tools", "opusenc": "opus-tools"}


def pytest_runtest_setup(item):
    """A test whose programs are missing fails where CI is set, and says why it is left out here."""
    for mark in item.iter_markers("decoders"):
        for tool in mark.args:
            if shutil.which(tool) is None:
                package = DEBIAN.get(tool, tool)
                reason = f"{tool} is not installed: apt-get install {package}"
                if os.environ.get("CI"):
                    pytest.fail(reason, pytrace=False)
                pytest.skip(reason)


def write_clip(path: Path, seed: int, seconds: float, rate: int = 16000, channels: int = 1) -> Path:
    """A synthetic clip as a file, in the format of its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    clip = synthetic.clip(seed, round(seconds * rate), channels)
    subtype = {".ogg": "VORBIS", ".opus": "OPUS", ".mp3": None}.get(path.suffix, "PCM_16")
    kind = {".opus": "OGG"}.get(path.suffix)
    soundfile.write(os.fspath(path), clip.T, rate, subtype=subtype, format=kind)
    return path


@pytest.fixture
def clips(tmp_path):
    """A folder of ten clips of several lengths, rates and channel counts."""
    folder = tmp_path / "clips"
    lengths = np.linspace(1.0, 5.3, 10)
    for index, seconds in enumerate(lengths):
        rate, channels = (16000, 44100, 22050)[index % 3], 1 + index % 2
        write_clip(folder / f"{index:02}.wav", index, seconds, rate, channels)
    return folder


@pytest.fixture
def own_models():
    """Models that the test registers are gone after it."""
    state = table.models(), table.raw(), registration._made, registration._places
    before = [dict(one) for one in state]
    yield
    for now, then in zip(state, before, strict=True):
        now.clear()
        now.update(then)
