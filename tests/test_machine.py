"""Cores and memory of this process, from made-up /proc and /sys of the usual kinds of machine."""

import os
import subprocess
import sys

import pytest

from fad_onnx.api import compat
from fad_onnx.cli import main
from fad_onnx.networks import machine, table
from fad_onnx.pipeline import options, run

GB = 1 << 30
V2 = "30 23 0:26 {top} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate"
V1 = "3{i} 31 0:3{i} {top} /sys/fs/cgroup/{name} rw,relatime shared:9 - cgroup cgroup rw,{name}"


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A root folder for a machine of 64 cores and 256 GB."""
    monkeypatch.setattr(machine, "_own_cores", lambda: 64)
    write(tmp_path, "proc/meminfo", f"MemTotal: 1 kB\nMemAvailable: {256 << 20} kB\n")
    return tmp_path


def write(root, path, text):
    place = root / path
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(f"{text}\n")


def v2(root, groups, files, top="/"):
    """A machine of version 2: the process's group, and the contents of files of groups."""
    write(root, "proc/self/cgroup", f"0::{groups}")
    write(root, "proc/self/mountinfo", "22 1 8:1 / / rw - ext4 /dev/sda rw\n" + V2.format(top=top))
    for path, text in files.items():
        write(root, f"sys/fs/cgroup/{path}", text)


def v1(root, cpu, memory, files, top="/", more=""):
    """The same for version 1; more: the group of version 2, on a machine that has both."""
    own = f"9:name=systemd:/x\n4:memory:{memory}\n2:cpu,cpuacct:{cpu}"
    write(root, "proc/self/cgroup", f"{own}\n0::{more}" if more else own)
    lines = [V1.format(i=i, name=n, top=top) for i, n in enumerate(("cpu,cpuacct", "memory"))]
    both = [V2.format(top="/").replace("/sys/fs/cgroup", "/sys/fs/cgroup/unified")] if more else []
    write(root, "proc/self/mountinfo", "\n".join(lines + both))
    for path, text in files.items():
        write(root, f"sys/fs/cgroup/{path}", text)


def found(root):
    return machine.cores(root), machine.available_bytes(root) / GB


def memory(limit, used, **stat):
    """The files of a group of version 2."""
    lines = "\n".join(f"{name} {value}" for name, value in {"anon": 7, **stat}.items())
    return {"memory.max": limit, "memory.current": used, "memory.stat": lines}


def within(group, files):
    return {f"{group}/{name}".lstrip("/"): text for name, text in files.items()}


def test_a_machine_without_limits(root):
    v2(root, "/user.slice", within("user.slice", {**memory("max", 5), "cpu.max": "max 100000"}))
    assert found(root) == (64, 256)


def test_nothing_known(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "_own_cores", lambda: 3)
    monkeypatch.setattr(os, "sysconf_names", {}, raising=False)
    assert machine.cores(tmp_path) == 3
    assert machine.available_bytes(tmp_path) is None


def test_a_container_with_a_namespace_of_its_own(root):
    v2(root, "/", {**memory(2 * GB, GB), "cpu.max": "150000 100000"})
    assert found(root) == (2, 1)


def test_a_container_that_is_shown_the_names_of_outside(root):
    files = {"cpu,cpuacct/cpu.cfs_quota_us": 300000, "cpu,cpuacct/cpu.cfs_period_us": 100000,
             "memory/memory.limit_in_bytes": 3 * GB, "memory/memory.usage_in_bytes": GB,
             "memory/memory.stat": "cache 1"}  # fmt: skip
    v1(root, "/docker/abc", "/docker/abc", files, top="/docker/abc")
    assert found(root) == (3, 2)
    v1(root, "/docker/abc/inner", "/elsewhere", files, top="/docker/abc")
    assert found(root) == (3, 2)


@pytest.mark.parametrize("level", ["system.slice", "system.slice/job", "system.slice/job/step"])
def test_a_limit_at_any_level_counts_and_the_smallest_wins(root, level):
    path = "/system.slice/job/step"
    v2(
        root,
        path,
        within("system.slice", {**memory(100 * GB, 9 * GB), "cpu.max": "5000000 100000"}),
    )
    assert found(root) == (50, 91)
    v2(root, path, within(level, {**memory(4 * GB, GB), "cpu.max": "200000 100000"}))
    assert found(root) == (2, 3)


def test_memory_high_counts(root):
    v2(root, "/a", within("a", {**memory("max", GB), "memory.high": 2 * GB}))
    assert found(root) == (64, 1)


def test_slurm_with_version_1(root):
    job = "slurm/uid_1/job_7"
    step = {f"memory/{job}/step_0/memory.limit_in_bytes": 2**63 - 4096,
            f"memory/{job}/step_0/memory.usage_in_bytes": GB,
            f"memory/{job}/memory.limit_in_bytes": 8 * GB,
            f"memory/{job}/memory.usage_in_bytes": 6 * GB,
            f"memory/{job}/memory.stat":
                f"inactive_file 1\ntotal_inactive_file {3 * GB}\ntotal_active_file {GB}",
            f"cpu,cpuacct/{job}/cpu.cfs_quota_us": -1,
            f"cpu,cpuacct/{job}/cpu.cfs_period_us": 100000}  # fmt: skip
    v1(root, f"/{job}/step_0", f"/{job}/step_0", step)
    assert found(root) == (64, 6)


def test_both_versions_at_once(root):
    files = {"memory/job/memory.limit_in_bytes": 8 * GB, "memory/job/memory.usage_in_bytes": 0,
             "unified/job/cgroup.procs": 1}  # fmt: skip
    v1(root, "/", "/job", files, more="/job")
    assert found(root) == (64, 8)
    write(root, "sys/fs/cgroup/unified/job/cpu.max", "100000 100000")
    assert found(root) == (1, 8)


def test_page_cache_is_not_used_memory(root):
    v2(root, "/", memory(8 * GB, 8 * GB, inactive_file=3 * GB, active_file=4 * GB))
    assert found(root) == (64, 7)
    v2(root, "/", memory(8 * GB, 9 * GB))  # over it for the moment
    assert found(root) == (64, 0)


def test_a_quota_below_one_core_is_one(root):
    v2(root, "/", {"cpu.max": "1000 100000"})
    assert machine.cores(root) == 1


def test_a_mount_with_a_blank_in_its_name(root):
    write(root, "proc/self/cgroup", "0::/")
    write(root, "proc/self/mountinfo", "30 23 0:26 / /sys/my\\040groups rw - cgroup2 none rw")
    write(root, "sys/my groups/cpu.max", "400000 100000")
    assert machine.cores(root) == 4


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system pins no process")
def test_cores_that_are_not_ours_are_not_counted():
    code = (
        "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
        "from fad_onnx.networks import machine; print(machine.cores())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"


def test_all_that_works_in_threads_asks_here(monkeypatch, capsys):
    model = next(one.name for one in table.models().values() if not one.network.checkpoints)
    monkeypatch.setattr(machine, "cores", lambda: 5)
    assert run.Run(model).job.workers == 5
    assert options.RunOptions(workers=7).worker_count == 7
    assert compat.FrechetAudioDistance(model_name=model)._run.workers == 5
    monkeypatch.setattr(machine, "cores", lambda: 3)
    assert main(["bench", model, "--clips", "2", "--seconds", "1"]) == 0
    assert {line.split()[2] for line in capsys.readouterr().out.splitlines()[1:]} == {"1", "3"}
