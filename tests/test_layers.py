"""The rooms of the package and the one direction in which they import."""

import ast
from pathlib import Path

import fad_onnx

PACKAGE = Path(fad_onnx.__file__).parent
# Each room imports only from those above it; within a line, from none of its neighbours.
FLOORS = (
    ("errors", "_version"),
    ("metrics", "cache"),
    ("audio",),
    ("networks",),
    ("weights",),
    ("pipeline",),
    ("files",),
    ("api",),
    ("tools",),
    ("report",),
    ("cli",),
    ("__main__", "__init__"),
)


def room_of(path):
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(path):
    """The rooms that a module imports when it is loaded."""
    package = ("fad_onnx", *path.relative_to(PACKAGE).parts[:-1])
    for node in ast.parse(path.read_text("utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level:
            base = (*package[: len(package) - node.level + 1], *(node.module or "").split("."))
            names = [name for name in base if name][1:] or [alias.name for alias in node.names]
            yield from names[:1] if node.module or len(names) == 1 else names


def violations():
    floor = {room: index for index, rooms in enumerate(FLOORS) for room in rooms}
    for path in sorted(PACKAGE.rglob("*.py")):
        own = room_of(path)
        for other in imported(path):
            if other in floor and other != own and floor[other] >= floor[own]:
                yield f"{path.relative_to(PACKAGE)} ({own}) imports {other}"


def test_imports_run_in_one_direction():
    assert not list(violations())


def test_every_room_has_a_floor():
    rooms = {room_of(path) for path in PACKAGE.rglob("*.py")}
    assert rooms == {room for floor in FLOORS for room in floor}
    assert len(rooms) <= 16
