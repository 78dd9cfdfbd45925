"""Runs the parity tier: what changed since it last passed, or everything.

    python .ci/parity.py FOLDER [--all] [--list] [--only=TEXT]

FOLDER is tests/parity or tests/parity_transformers; the environment must have the packages that
its tests import. A unit is a file of tests, or a family of exporters in test_exports.py. Its key
is a hash of the test, of the modules of exporters and tests that it imports, of the graphs of these
exporters, and of what artifacts.json says of their models. Comments and docstrings do not count.
`.ci/parity.json` holds the key with which each unit last passed; a unit with the same key is left
out, and a line says so.

The code that runs networks is part of the keys of WITH_RUNTIME alone. For the rest, golden answers
of the originals cover it, and every run of the default and large tiers compares these.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
RECORD = ROOT / ".ci" / "parity.json"
HARNESSES = ROOT / "exporters" / "harnesses"
COMMANDS = ROOT / "exporters" / "__main__.py"
# Quick units that use the run time in every way: whole clips, single tensors, front ends, weights.
WITH_RUNTIME = ("parity/test_vggish", "parity_transformers/test_whisper")
RUNTIME = ("fad_onnx/audio", "fad_onnx/networks", "fad_onnx/weights")
sys.path.insert(0, str(ROOT))


def modules(path: Path, without: Path | None = None) -> set[Path]:
    """A file and every module of exporters and tests that it imports, directly or not."""
    found = {without} if without else set()
    waiting = [path]
    while waiting:
        own = waiting.pop()
        if own in found:
            continue
        found.add(own)
        waiting += [one for one in imported(own) if one not in found]
        if own == HARNESSES / "__init__.py":  # which imports every module of its folder by itself
            waiting += HARNESSES.glob("*.py")
    return found - {without}


def imported(path: Path) -> Iterator[Path]:
    package = path.relative_to(ROOT).parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: len(package) - node.level + 1]) if node.level else ""
            whole = ".".join(part for part in (base, node.module or "") if part)
            names = [whole, *(f"{whole}.{alias.name}" for alias in node.names)]
        for name in names:
            if name.partition(".")[0] in ("exporters", "tests"):
                place = ROOT / name.replace(".", "/")
                yield from (
                    one for one in (place.with_suffix(".py"), place / "__init__.py")
                    if one.is_file()
                )  # fmt: skip


def graphs(paths: set[Path]) -> list[str]:
    """The graphs that these modules export."""
    names = []
    for path in sorted(paths):
        if path.parent == ROOT / "exporters" and path.stem not in ("__main__", "__init__"):
            module = importlib.import_module(f"exporters.{path.stem}")
            names += [graph.name for graph in getattr(module, "GRAPHS", ())]
    return names


def described(names: list[str]) -> list[object]:
    """What the table says of the models whose graphs these are."""
    from fad_onnx.networks import table
    from fad_onnx.networks.selection import parts

    return [
        one.describe() | {"graph": one.graph_sha256}
        for model in table.models().values()
        for one in parts(model)
        if one.graph.removesuffix(".onnx") in names
    ]


def meaning(path: Path) -> bytes:
    """What a file says to the interpreter: a module without its comments and docstrings."""
    if path.suffix != ".py":
        return path.read_bytes()
    tree = ast.parse(path.read_text("utf-8"))
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return ast.dump(tree).encode()


def key(paths: set[Path]) -> str:
    whole = hashlib.sha256()
    for path in sorted(paths):
        whole.update(str(path.relative_to(ROOT)).encode() + b"\0" + meaning(path))
    names = graphs(paths)
    for name in names:
        whole.update((ROOT / f"fad_onnx/networks/graphs/{name}.onnx").read_bytes())
    whole.update(json.dumps(described(names), sort_keys=True).encode())
    return whole.hexdigest()


def runtime() -> set[Path]:
    """The modules that turn samples and a checkpoint into embeddings."""
    return {path for folder in RUNTIME for path in (ROOT / folder).rglob("*.py")}


def families() -> dict[str, Path]:
    """The exporter modules that write graphs, by name."""
    from exporters import parity

    return {
        module.__name__.rpartition(".")[2]: Path(str(module.__file__))
        for module in parity.families()
    }


def units(folder: Path) -> Iterator[tuple[str, Path, str | None, set[Path]]]:
    """Name, file, family and modules of each unit."""
    for path in sorted(folder.glob("test_*.py")):
        own = modules(path) | modules(folder / "conftest.py")
        if path.name != "test_exports.py":
            yield path.stem, path, None, own
            continue
        yield path.stem, path, "", own | {ROOT / "artifacts.json"}  # it looks at every model
        # The command line imports every exporter: the unit of all families tests it.
        common = modules(path, COMMANDS) | modules(folder / "conftest.py", COMMANDS)
        for family, module in families().items():
            yield f"{path.stem}[{family}]", path, family, common | modules(module, COMMANDS)


def passed() -> dict[str, str]:
    """The key with which each unit last passed."""
    found: dict[str, str] = json.loads(RECORD.read_text("utf-8")) if RECORD.is_file() else {}
    return found


def run(path: Path, family: str | None) -> int:
    """The tests of a unit, in a process of their own: its networks are gone before the next."""
    environment = os.environ | ({} if family is None else {"PARITY_FAMILY": family})
    command = [sys.executable, "-m", "pytest", "-q", "-m", "parity and not slow", str(path)]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode


def main() -> int:
    arguments = sys.argv[1:]
    folder = (ROOT / arguments[0]).resolve()
    record, failed = passed(), []
    only = next((one[7:] for one in arguments if one.startswith("--only=")), "")
    for name, path, family, own in units(folder):
        name = f"{folder.name}/{name}"
        if only not in name:
            continue
        now = key(own | runtime() if name in WITH_RUNTIME else own)
        same = record.get(name) == now
        if same and "--all" not in arguments:
            print(f"{name}: unchanged since it passed", flush=True)
            continue
        print(f"{name}: runs", flush=True)
        if "--list" in arguments:
            continue
        start = time.monotonic()
        code = run(path, family)
        print(f"{name}: {time.monotonic() - start:.0f} s, code {code}", flush=True)
        if code == 0:
            record = {**passed(), name: now}  # another run may have written in the meantime
            RECORD.write_text(json.dumps(dict(sorted(record.items())), indent=1) + "\n", "utf-8")
        else:
            failed.append(name)
    print(f"failed: {', '.join(failed) or 'none'}")
    return bool(failed)


if __name__ == "__main__":
    sys.exit(main())
