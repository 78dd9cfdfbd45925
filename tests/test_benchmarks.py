"""Scripts of benchmarks/ that measure what the package does, at the smallest size."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "benchmarks" / "evaluate.py"


@pytest.mark.large
def test_one_pass_is_measured_against_each_network_alone(tmp_path):
    size = ["--clips", "3", "--seconds", "1", "--workers", "2"]
    output = ["--output", tmp_path / "e.json"]
    made = subprocess.run(
        [sys.executable, SCRIPT, *size, *output], check=True, capture_output=True, text=True
    )
    found = json.loads((tmp_path / "e.json").read_text("utf-8"))
    assert list(found["alone"]) == ["vggish", "pann-16k:output=logits", "clap", "captions"]
    assert found["sum"] == pytest.approx(sum(found["alone"].values()), abs=0.03)
    assert 0 < found["networks"] < found["evaluate"] and len(found["metrics"]) == 5
    again = [sys.executable, SCRIPT, "--table", tmp_path / "e.json"]
    assert subprocess.run(again, check=True, capture_output=True, text=True).stdout == made.stdout
    assert made.stdout.count("\n") == 11 and "| `evaluate` | " in made.stdout
