"""Files from bytes, and a watch that sees what Python is made to do."""

import sys
import threading

import pytest

WATCH = threading.local()
# Mapping a file means to stat, open and map it; all else that Python reports is foul play.
HARMLESS = {"mmap.__new__", "builtins.id", "object.__getattr__", "sys._getframe"}


def _hook(event, arguments):
    seen = getattr(WATCH, "seen", None)
    if seen is None or event in HARMLESS or event.startswith("cpython."):
        return
    reads = event == "open" and arguments[1] in ("rb", "r", None)
    if not reads or not str(arguments[0]).startswith(WATCH.folder):
        seen.append((event, repr(arguments)[:200]))


sys.addaudithook(_hook)


class Watch:
    """What happened since it was entered, beyond reading files of one folder."""

    def __init__(self, folder):
        self.folder = str(folder)

    def __enter__(self):
        WATCH.folder, WATCH.seen = self.folder, []
        return self

    def __exit__(self, kind, error, trace):
        seen, WATCH.seen = WATCH.seen, None
        if kind is None:
            assert not seen, seen[:5]


@pytest.fixture
def write(tmp_path):
    """Bytes -> the path of a file that holds them."""

    def write(data, name="checkpoint"):
        path = tmp_path / name
        path.write_bytes(data)
        return path

    return write


@pytest.fixture
def watch(tmp_path):
    return Watch(tmp_path)
