"""The cores and the memory that this process may use, also in a container or a batch job.

The limits of a control group apply to all groups below it, so the smallest limit of all levels
above the process counts. Version 1 of control groups has one hierarchy per controller and version
2 a single one; a machine may use both at once.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path, PurePosixPath

from ..errors import ThreadLimitError

ROOT = Path("/")


def cores(root: Path = ROOT) -> int:
    """The number of cores in the process's affinity mask, limited by its quota.

    `root` holds /proc and /sys. A quota of one and a half cores counts as two.
    """
    quotas = [quota for folder in _groups(root, "cpu") if (quota := _quota(folder)) is not None]
    return max(1, min([_own_cores(), *quotas]))


def available_bytes(root: Path = ROOT) -> int | None:
    """Memory available now, by the kernel's estimate and the limits of control groups.

    `root` holds /proc and /sys. None if the system does not tell (Linux does).
    """
    rooms = (_room(folder) for folder in _groups(root, "memory"))
    found = [room for room in chain([_free(root)], rooms) if room is not None]
    return min(found) if found else None


@contextmanager
def starting_threads() -> Iterator[None]:
    """Turn Python's RuntimeError for a thread that does not start into ThreadLimitError."""
    try:
        yield
    except RuntimeError as error:
        if "start new thread" not in str(error):
            raise
        raise ThreadLimitError from error


def _own_cores() -> int:
    count: Callable[[], int | None] | None = getattr(os, "process_cpu_count", None)  # Python 3.13
    if count is not None:
        return count() or 1
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups for a controller, with all their parents."""
    own: dict[str, PurePosixPath] = {}
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), PurePosixPath(path))
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        version, _, options = kind.split(" ", 2)
        # Version 2 names no controller in either file.
        name = {"cgroup": controller, "cgroup2": ""}.get(version)
        if name is None or name not in own or (name and name not in re.split("[ ,]", options)):
            continue
        top, place = (PurePosixPath(_unescaped(part)) for part in mount.split(" ")[3:5])
        folder = root / place.relative_to("/")
        # A container cannot see groups outside the mounted one.
        below = own[name].relative_to(top) if own[name].is_relative_to(top) else PurePosixPath()
        yield from (folder / part for part in (below, *below.parents))


def _unescaped(text: str) -> str:
    """A path from mountinfo, which escapes white space as three octal digits."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), text)


def _quota(folder: Path) -> int | None:
    """The quota of one group in cores, rounded up; None without a limit."""
    names = ("cpu.max",), ("cpu.cfs_quota_us", "cpu.cfs_period_us")
    for words in (" ".join(_text(folder / name) for name in each).split() for each in names):
        if len(words) == 2 and words[0].isdecimal():  # neither "max" nor -1
            return -(-int(words[0]) // int(words[1]))
    return None


def _room(folder: Path) -> int | None:
    """The bytes left below the limit of one group; None without a limit."""
    limits = [_text(folder / f"memory.{n}") for n in ("max", "high", "limit_in_bytes")]
    used = _text(folder / "memory.current") or _text(folder / "memory.usage_in_bytes")
    numbers = [int(limit) for limit in limits if limit.isdecimal()]
    if not (numbers and used):
        return None
    return max(0, min(numbers) - max(0, int(used) - _file_pages(folder)))


def _file_pages(folder: Path) -> int:
    """Bytes of the group's page cache, which the kernel reclaims before it kills a process.

    This includes the active list, which holds files that were read twice, such as audio (once for
    its hash, once for its samples).
    """
    words = (line.split() for line in _text(folder / "memory.stat").splitlines())
    facts = {name: int(value) for name, value in words}
    names = ("inactive_file", "active_file")
    # Version 1 counts subgroups only under "total_" names, version 2 always.
    return sum(facts.get(f"total_{name}", facts.get(name, 0)) for name in names)


def _free(root: Path) -> int | None:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) << 10
    if "SC_AVPHYS_PAGES" in getattr(os, "sysconf_names", {}):
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return None


def _text(path: Path) -> str:
    """The text of a kernel file, "" if it does not exist or cannot be read."""
    try:
        return path.read_text("utf-8", "surrogateescape").strip()
    except OSError:
        return ""
