"""What CI leaves out because it has not changed since it passed."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / ".ci" / "parity.py"


pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="the source distribution has no CI")


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("ci_parity", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_family_of_exporters_does_not_run_because_another_one_changed(script):
    tests = ROOT / "tests" / "parity" / "test_exports.py"
    common = {path.stem for path in script.modules(tests, script.COMMANDS)}
    assert common >= {"test_exports", "parity", "check"}
    assert not common & {"__main__", "clap", "openl3", "panns", "vggish", "gudgud96"}
    assert {path.stem for path in script.modules(tests)} > common


def test_units_run_again_if_the_code_that_runs_networks_changes(script):
    assert {path.name for path in script.runtime()} >= {"group.py", "windows.py", "binding.py"}
    for name in script.WITH_RUNTIME:
        assert (ROOT / "tests" / f"{name}.py").is_file()
