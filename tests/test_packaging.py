"""The wheel, the sdist and what is built from it hold all that a run needs; the base is small."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from fad_onnx.networks import table
from fad_onnx.networks.selection import variants

ROOT = Path(__file__).parents[1]


def build(kind, source, out):
    command = [sys.executable, "-m", "hatchling", "build", "-t", kind, "-d", str(out)]
    subprocess.run(command, cwd=source, check=True, capture_output=True)
    (made,) = out.iterdir()
    return made


def demo(folder):
    """The demo with nothing of the checkout on the path."""
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop())\n"
        "import fad_onnx, pathlib; here = pathlib.Path(fad_onnx.__file__)\n"
        "from fad_onnx.cli import main; sys.exit(main(['demo']) or print(here))"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, str(folder)], cwd=folder, text=True, capture_output=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_runs_by_itself(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path)
    assert demo(tmp_path).endswith(f"{tmp_path / 'fad_onnx' / '__init__.py'}\n")


@pytest.mark.large
def test_the_wheel_built_from_the_sdist_is_the_same(wheel, tmp_path):
    sdist = build("sdist", ROOT, tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    again = build("wheel", tmp_path / sdist.name.removesuffix(".tar.gz"), tmp_path / "again")
    assert zipfile.ZipFile(again).namelist() == zipfile.ZipFile(wheel).namelist()
    with tarfile.open(sdist) as archive:
        names = archive.getnames()
    assert any(name.endswith("tests/test_packaging.py") for name in names)


def test_the_wheel_holds_the_table_the_graphs_and_no_more_than_it_should(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        size = sum(info.compress_size for info in archive.infolist())
        graphs = sum(i.compress_size for i in archive.infolist() if i.filename.endswith(".onnx"))
    assert {"fad_onnx/artifacts.json", "fad_onnx/py.typed"} <= names
    for model in table.models().values():
        assert {f"fad_onnx/networks/graphs/{one.graph}" for one in variants(model)} <= names
        assert f"fad_onnx/networks/golden/{model.name}.npz" in names
    assert not [name for name in names if name.startswith(("tests", "exporters", "benchmarks"))]
    assert graphs < 6_000_000 and size < 8_000_000


def test_the_base_install_names_no_heavy_package():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {requirement.partition(">")[0] for requirement in project["dependencies"]}
    assert base == {"numpy", "scipy", "soundfile", "soxr", "tqdm", "platformdirs", "filelock"}
