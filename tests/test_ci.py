"""What CI leaves out because it has not changed since it passed."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "parity.py"


@pytest.mark.skipif(not SCRIPT.is_file(), reason="the source distribution has no CI")
def test_a_family_of_exporters_does_not_run_because_another_one_changed():
    spec = importlib.util.spec_from_file_location("ci_parity", SCRIPT)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    tests = ROOT / "tests" / "parity" / "test_exports.py"
    common = {path.stem for path in script.modules(tests, script.COMMANDS)}
    assert common >= {"test_exports", "parity", "check"}
    assert not common & {"__main__", "clap", "openl3", "panns", "vggish", "gudgud96"}
    assert {path.stem for path in script.modules(tests)} > common
