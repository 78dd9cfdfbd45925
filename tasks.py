"""The recurring tasks of this project, one command each: python tasks.py NAME.

Run it without a name for a list. Everything runs with the Python that runs this file.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fad_onnx.networks.network import Checkpoint
    from fad_onnx.networks.table import Model

ROOT = Path(__file__).resolve().parent
PAGES = (
    ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "RELIABILITY.md",
    ROOT / "benchmarks" / "README.md",
)  # fmt: skip
PARITY = ROOT / "benchmarks" / "parity.json"
PROTOCOLS = ROOT / "benchmarks" / "protocols.json"
THROUGHPUT = ROOT / "benchmarks" / "throughput.json"
EVALUATE = ROOT / "benchmarks" / "evaluate.json"
CONTRAST = ("vggish", "pann-16k", "clap", "encodec-24k", "encodec-48k")


def test(*arguments: str) -> int:
    """the default tests: no torch, no network"""
    return _python("-m", "pytest", *arguments)


def slow(*arguments: str) -> int:
    """the tests that take minutes: large fuzz runs, killed processes, soak tests"""
    return _python("-m", "pytest", "-m", "slow", *arguments)


def large(*arguments: str) -> int:
    """golden answers of the large networks, and costly grids"""
    return _python("-m", "pytest", "-m", "large", *arguments)


def parity(*arguments: str) -> int:
    """the comparison with the original networks, as far as it changed; --all: all of it"""
    folder = "parity_transformers" if find_spec("transformers") else "parity"
    return _python(".ci/parity.py", f"tests/{folder}", *arguments)


def lint() -> int:
    """ruff, rules and format"""
    return _python("-m", "ruff", "check", ".") or _python("-m", "ruff", "format", "--check", ".")


def types() -> int:
    """mypy, strict on the package, and on a file of user code"""
    return _python("-m", "mypy")


def layers() -> int:
    """check that imports run in one direction, from upper packages to lower ones"""
    return _python("-m", "pytest", "-q", "tests/test_layers.py")


def export(*names: str) -> int:
    """write the ONNX graphs again (extra [export])"""
    return _python("-m", "exporters", *(names or ("all",)))


def bench(*arguments: str) -> int:
    """speed of the models on this machine"""
    return _python("-m", "fad_onnx", "bench", *arguments)


def docs() -> int:
    """write the generated parts of all pages again"""
    for page in PAGES:
        page.write_text(generated(page.read_text("utf-8")), "utf-8")
    return 0


TASKS: dict[str, Callable[..., int]] = {
    task.__name__: task
    for task in (test, large, slow, parity, lint, types, layers, export, bench, docs)
}


def generated(text: str) -> str:
    """A page with its generated parts brought up to date."""
    for name, make in PARTS.items():
        begin, end = f"<!-- {name}: begin (python tasks.py docs) -->\n", f"<!-- {name}: end -->"
        if begin in text:
            before, _, rest = text.partition(begin)
            _, _, after = rest.partition(end)
            text = before + begin + "".join(f"{line}\n" for line in make()) + end + after
    return text


def _models() -> Iterator[str]:
    from fad_onnx.networks import table

    yield "| model | what it is | rate | embeddings | download |"
    yield "|---|---|---|---|---|"
    for family, models in table.families().items():
        yield f"| **{family}** | | | | |"
        yield from map(_model, models)


def _model(model: Model) -> str:
    files = model.network.checkpoints.values()
    sizes = "unknown" if any(one.bytes is None for one in files) else _megabytes(files)
    name = f"`{model.name}`" + (" (default)" if model.default else "")
    return (
        f"| {name} | {model.summary} | {_kilohertz(model)}"
        f" | {model.output().width} per {_every(model)} | {sizes if files else 'none'} |"
    )


def _megabytes(files: Iterable[Checkpoint]) -> str:
    return f"{sum(one.bytes or 0 for one in files) / 1e6:,.0f}&nbsp;MB"


def _kilohertz(model: Model) -> str:
    return f"{model.preparation.sample_rate_hz / 1000:g}&nbsp;kHz"


def _licences() -> Iterator[str]:
    from fad_onnx.networks import table

    yield "| licence of the weights | models |"
    yield "|---|---|"
    models: dict[str, list[str]] = {}
    for model in table.models().values():
        for licence in dict.fromkeys(one.licence for one in model.network.checkpoints.values()):
            models.setdefault(licence, []).append(f"`{model.name}`")
    for licence, names in models.items():
        yield f"| {licence} | {', '.join(names)} |"


def _every(model: Model) -> str:
    """The part of a clip that one embedding covers."""
    if samples := model.output().samples_per_embedding:
        return f"{samples} samples"
    windows, pooling = model.preparation.windows, model.preparation.pooling
    if windows.cover == "windows" and windows.hop_samples and pooling.over != "clip":
        return f"{windows.hop_samples / model.preparation.sample_rate_hz:.2f} s"
    return "clip"


def _parity() -> Iterator[str]:
    if not PARITY.exists():
        yield "(not measured yet)"
        return
    rows = json.loads(PARITY.read_text("utf-8"))
    heads = list(rows["columns"])
    yield f"| {' | '.join(head.replace('rows', 'embeddings') for head in heads)} |"
    yield "|" + "---|" * len(heads)
    for row in rows["rows"]:
        yield f"| {' | '.join(str(row[head]) for head in heads)} |"


def _evaluate() -> Iterator[str]:
    if not EVALUATE.exists():
        yield "(not measured yet)"
        return
    command = [sys.executable, "benchmarks/evaluate.py", "--table", str(EVALUATE)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    yield from done.stdout.splitlines()


def _contrast() -> Iterator[str]:
    """FADs of the same clips and weights by protocol, and the difference from the harness' own."""
    from fad_onnx.networks import table

    rows = json.loads(PROTOCOLS.read_text("utf-8"))["rows"]
    most = max(row["clips"] for row in rows)
    fads = (row for row in rows if row["metric"] == "fad" and row["clips"] == most)
    found = {(row["protocol"], row["model"]): row for row in fads}
    known = dict.fromkeys(name for one in table.models().values() for name in one.protocols)
    yield f"| protocol | {' | '.join(f'`{model}`' for model in CONTRAST)} | all figures |"
    yield "|---|" + "---:|" * (len(CONTRAST) + 1)
    for protocol in ("native", *known):
        cells = [_figure(found.get((protocol, model))) for model in CONTRAST]
        every = [row["difference"] for row in rows if row["protocol"] == protocol and row["theirs"]]
        cells.append(f"{len(every)} (up to {_short(max(every))})" if every else "")
        yield f"| `{protocol}` | {' | '.join(cells)} |"


def _figure(row: dict[str, Any] | None) -> str:
    if row is None:
        return ""
    if row["theirs"] is None:
        return f"{row['ours']:.4g}"
    return f"{row['ours']:.4g} ({_short(row['difference'])})"


def _short(difference: float) -> str:
    """A number in a short form, such as 3e-8."""
    number, power = f"{difference:.0e}".split("e")
    return f"{number}e{int(power)}"


def _protocols() -> Iterator[str]:
    from fad_onnx.metrics import registry

    yield "| protocol | model | metric | clips | fad-onnx | the harness itself | difference |"
    yield "|---|---|---|---:|---:|---:|---:|"
    for row in json.loads(PROTOCOLS.read_text("utf-8"))["rows"]:
        if row["theirs"] is not None:
            title = registry.metric(row["metric"]).title
            yield (
                f"| `{row['protocol']}` | `{row['model']}` | {title} | {row['clips']}"
                f" | {row['ours']:.7g} | {row['theirs']:.7g} | {row['difference']:.1e} |"
            )


def _not_compared() -> Iterator[str]:
    yield "| protocol | models | why |"
    yield "|---|---|---|"
    for one in json.loads(PROTOCOLS.read_text("utf-8"))["not_compared"]:
        models = ", ".join(f"`{model}`" for model in one["models"])
        yield f"| `{one['protocol']}` | {models} | {one['why']} |"


def _harnesses() -> Iterator[str]:
    from fad_onnx.networks import table

    yield "| protocol | what it is | models | what it cannot reproduce |"
    yield "|---|---|---|---|"
    known = {key: one for model in table.models().values() for key, one in model.protocols.items()}
    for name, one in known.items():
        models = ", ".join(f"`{model}`" for model in one.models)
        note = (one.note or "").removeprefix(f"{name}: ")
        yield f"| `{name}` | {one.summary} | {models} | {note} |"


def _commands() -> Iterator[str]:
    from fad_onnx.cli.parser import build

    os.environ["COLUMNS"], os.environ["NO_COLOR"] = "100", "1"
    parser = build()
    (commands,) = (a for a in parser._actions if hasattr(a, "choices") and a.choices)
    for command in commands.choices:  # type: ignore[union-attr]
        out = io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
            build().parse_args([command, "--help"])
        yield from (f"## fad-onnx {command}", "", "```text")
        yield from (line.rstrip() for line in out.getvalue().rstrip().splitlines())
        yield from ("```", "")


def _costs() -> Iterator[str]:
    """The cost of a million and ten million clips of ten seconds, from measured speeds."""
    found = _throughput()
    if not found.get("models"):
        yield "(not measured yet)"
        return
    yield f"Measured on {found['machine']}, all cores at work."
    yield ""
    yield (
        "| model | clips a second | 10^6 clips | 10^6, a hundred such machines"
        " | 10^7, a hundred such machines | through the scheduler for 10^6 |"
    )
    yield "|---|---:|---:|---:|---:|---:|"
    for one in found["models"]:
        alone = 1e6 / one["clips_per_second"]
        sent = 1e6 / 16 * one["bytes_per_chunk"] / 1e9
        yield (
            f"| `{one['model']}` | {one['clips_per_second']:.3g} | {_duration(alone)}"
            f" | {_duration(alone / 100)} | {_duration(alone / 10)} | {sent:.1f}&nbsp;GB |"
        )


def _in_memory() -> Iterator[str]:
    """The speed of the same clips from files and from arrays."""
    found = _throughput()
    if not found.get("memory"):
        yield "(not measured yet)"
        return
    yield f"{found['machine']}; seconds and ratios are medians over five pairs of runs."
    yield ""
    yield "| model | clips | from files | from memory | files over memory | range |"
    yield "|---|---:|---:|---:|---:|---|"
    for one in found["memory"]:
        low, high = one["range"]
        yield (
            f"| `{one['model']}` | {one['clips']} | {one['files_seconds']:.2f} s"
            f" | {one['memory_seconds']:.2f} s | {one['files_over_memory']:.2f}"
            f" | {low:.2f}-{high:.2f} |"
        )


def _throughput() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(THROUGHPUT.read_text("utf-8")) if THROUGHPUT.exists() else {}
    return found


def _duration(seconds: float) -> str:
    hours = seconds / 3600
    if hours >= 72:
        return f"{hours / 24:.1f} days"
    return f"{hours:.1f} hours" if hours >= 1 else f"{60 * hours:.0f} minutes"


PARTS: dict[str, Callable[[], Iterator[str]]] = {
    "models": _models, "licences": _licences, "parity": _parity, "commands": _commands,
    "contrast": _contrast, "protocols": _protocols, "not-compared": _not_compared,
    "harnesses": _harnesses, "costs": _costs, "in-memory": _in_memory,
    "evaluate": _evaluate,
}  # fmt: skip


def _python(*arguments: str) -> int:
    return subprocess.run([sys.executable, *arguments], cwd=ROOT, check=False).returncode


def main(arguments: list[str]) -> int:
    """Run one task, or list them."""
    if not arguments or arguments[0] not in TASKS:
        print(__doc__)
        for name, task in TASKS.items():
            print(f"  {name:8} {task.__doc__}")
        return 0 if not arguments or arguments[0] in ("help", "-h", "--help") else 2
    return TASKS[arguments[0]](*arguments[1:])


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))
    raise SystemExit(main(sys.argv[1:]))
