"""What the README shows works, and its generated parts are up to date."""

import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from fad_onnx.cli import main
from fad_onnx.networks import table
from fad_onnx.networks.selection import variants

from .kit import WEIGHTLESS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.skipif(sys.version_info[:2] != (3, 11), reason="argparse words --help by version")
def test_generated_parts_are_up_to_date(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    import tasks

    assert tasks.generated(TEXT) == TEXT, "run: python tasks.py docs"


def test_every_network_is_in_the_parity_table():
    """Models that differ by nothing but their checkpoint need one entry."""
    findings = json.loads((ROOT / "benchmarks" / "parity.json").read_text("utf-8"))["findings"]
    measured = {
        one.graph for finding in findings for one in variants(table.model(finding["model"]))
    }
    every = {one.graph for model in table.models().values() for one in variants(model)}
    assert every - measured == set(), "run: python -m exporters verify MODEL --into ..."


def test_the_two_commands_stand_alone():
    lines = [block for kind, block in BLOCKS if kind == "sh" and "venv" in block]
    assert len(lines) == 2 and all(len(line.splitlines()) == 1 for line in lines)


@pytest.fixture
def place(clips, tmp_path, monkeypatch):
    """A folder with everything that the examples name."""
    place = tmp_path / "place"
    for name in ("reference", "generated", "system-a", "system-b", "system-c", "path/to/reference",
                 "path/to/generated"):  # fmt: skip
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).symlink_to(clips)
    monkeypatch.chdir(place)
    return place


def commands():
    for kind, block in BLOCKS:
        if kind == "sh" and "venv" not in block:
            yield from (line for line in block.splitlines() if line.strip())


def test_every_command_runs_but_for_its_weights(place):
    """With the weightless model for the default; what needs weights says how to get them."""
    for line in commands():
        program, command, *arguments = shlex.split(line, comments=True)
        if program != "fad-onnx":
            continue
        if command in ("score", "stats", "embed") and "-m" not in arguments:
            carried = "--weights" in arguments or arguments[0].endswith(".npz")
            arguments += [] if carried else ["-m", WEIGHTLESS]
        expected = 1 if "--weights" in arguments or command == "pull" else 0
        assert main([command, *arguments]) == expected, line


def test_every_python_block_runs(place):
    for kind, block in BLOCKS:
        if kind == "python":
            exec(compile(block, "README.md", "exec"), {})
