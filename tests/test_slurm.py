"""The job scripts of docs/clusters.md, run by a stand-in for Slurm."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fad_onnx
from fad_onnx.files import archives, statistics

from .kept import as_tar, files_of
from .kit import WEIGHTLESS

PAGE = Path(__file__).parents[1] / "docs" / "clusters.md"
# Runs the tasks of an array, or what --wrap names, at once, and says the number of the job.
SBATCH = r"""#!/bin/bash
set -euo pipefail
if [ "${2:-}" = --wrap ]; then bash -c "$3"; echo 'Submitted batch job 8'; exit; fi
for last; do :; done
IFS=- read -r first final <<< "$(sed -n 's/^#SBATCH --array=//p' "$last")"
for task in $(seq "$first" "$final"); do
    SLURM_ARRAY_TASK_ID=$task bash "$last" >&2
done
echo 7
"""

pytestmark = [
    pytest.mark.large,
    pytest.mark.skipif(os.name == "nt", reason="the page's scripts are for bash"),
]


def scripts():
    return re.findall(r"```bash\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


@pytest.fixture
def cluster(clips, tmp_path, monkeypatch):
    """A folder with shards, and programs called fad-onnx and sbatch."""
    files = files_of(clips)
    (tmp_path / "shards").mkdir()
    for index in range(4):
        own = files[index * len(files) // 4 : (index + 1) * len(files) // 4]
        as_tar(clips, tmp_path / "shards" / f"{index:03}.tar", own)
    programs = tmp_path / "programs"
    programs.mkdir()
    for name, text in (
        ("sbatch", SBATCH),
        ("fad-onnx", f'#!/bin/bash\nexec {sys.executable} -m fad_onnx "$@"\n'),
    ):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(PAGE.parents[1]))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def bash(script):
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def same(path, audio):
    found = statistics.load(path).moments
    whole = fad_onnx.stats(audio, model=WEIGHTLESS, cache=False).moments
    assert found.count == whole.count
    np.testing.assert_allclose(found.mean, whole.mean, rtol=1e-12)
    scale = np.abs(whole.covariance()).max()
    np.testing.assert_allclose(found.covariance(), whole.covariance(), atol=1e-12 * scale)


def test_an_array_over_shards_and_its_merge(cluster):
    (job,) = (script for script in scripts() if "--array=0-3" in script)
    (submit,) = (script for script in scripts() if "sbatch --parsable" in script)
    (cluster / "stats.sbatch").write_text(job)
    bash(submit)
    assert sorted(os.listdir("parts")) == [f"{index:03}.npz" for index in range(4)]
    same("generated.npz", "shards/{000..003}.tar")
    os.remove("parts/002.npz")
    with pytest.raises(AssertionError, match=r"parts/002\.npz"):
        bash(submit.splitlines()[1].replace("$job", "7"))


def test_an_array_over_parts_of_a_folder(cluster):
    (job,) = (script for script in scripts() if "--array=1-4" in script)
    (cluster / "parts.sbatch").write_text(job)
    bash("sbatch parts.sbatch")
    merged = archives.merge([f"parts/{index}.npz" for index in range(1, 5)], "generated.npz")
    assert merged.counts["files"] == 10
    same("generated.npz", "clips/")
