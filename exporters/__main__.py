"""python -m exporters: write graphs, prove that they are what the exporters write, compare.

NAME is a graph, a model (all of its graphs), a family (a module of this package) or "all".
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

from fad_onnx import manifest
from fad_onnx.errors import FadError

from . import golden, parity, scores, standalone, verify
from .check import difference
from .skeleton import Graph, export

TABLE = Path(__file__).parents[1] / "artifacts.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # The exporter of torch warns of what is missing and deprecated inside torch.
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    commands = {"verify": _verify, "golden": _golden}
    try:
        if arguments and arguments[0] in commands:
            return commands[arguments[0]](arguments[1:])
        return _graphs(arguments)
    except FadError as error:
        print(f"exporters: {error}", file=sys.stderr)
        return 1


def _graphs(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m exporters", description=__doc__)
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if it differs")
    parser.add_argument("--weights", action="append", default=[], metavar="[CHECKPOINT=]FILE")
    parser.add_argument("--option", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT.onnx")
    chosen = parser.parse_args(arguments)
    if bool(chosen.weights) != bool(chosen.output) or (chosen.weights and len(chosen.names) > 1):
        parser.error("a standalone model needs one NAME, --weights FILE and -o OUT.onnx")
    if chosen.weights:
        options = dict(option.split("=", 1) for option in chosen.option)
        model = manifest.model(chosen.names[0])
        for path in standalone.write(model, options, _given(chosen.weights), chosen.output):
            print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return 0
    graphs = _named(chosen.names, parser)
    return _check(graphs) if chosen.check else _write(graphs)


def _given(weights: Iterable[str]) -> dict[str, Path]:
    """Checkpoint name to file; a file without a name is the main one."""
    named = {}
    for text in weights:
        name, equals, file = text.partition("=")
        named[name if equals and name.isidentifier() else "main"] = Path(file if equals else text)
    return named


def _named(names: Iterable[str], parser: argparse.ArgumentParser) -> list[Graph]:
    graphs, rows = parity.graphs(), manifest.models()
    found: dict[str, Graph] = {}
    for name in names:
        wanted = {name} if name in graphs else set()
        if name in rows:
            wanted |= {file.removesuffix(".onnx") for file in parity.hashes(rows[name])}
        for family in parity.families():
            if name in ("all", family.__name__.rpartition(".")[2]):
                wanted |= {graph.name for graph in family.GRAPHS}
        if not wanted & graphs.keys():
            parser.error(f"{name!r} is no graph, model or family: {', '.join(sorted(graphs))}")
        found |= {name: graphs[name] for name in sorted(wanted & graphs.keys())}
    return list(found.values())


def _write(graphs: Iterable[Graph]) -> int:
    """Write each graph, and its hash into the rows that use it."""
    for graph in graphs:
        data = export(graph)
        graph.path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        users = _record(graph, digest)
        print(f"{graph.path.name}: {len(data)} bytes, sha256 {digest}, used by {users or 'no row'}")
    return 0


def _record(graph: Graph, digest: str) -> str:
    table = json.loads(TABLE.read_text("utf-8"))
    users = []
    for name, row in table["models"].items():
        for variant in row["variants"]:
            if variant["graph"] == graph.path.name:
                variant["sha256"] = digest
                users.append(name)
        if row["tiles"] and row["tiles"]["head"] == graph.path.name:
            row["tiles"]["head_sha256"] = digest
            users.append(name)
    TABLE.write_text(json.dumps(table, indent=2, ensure_ascii=False) + "\n", "utf-8")
    return ", ".join(dict.fromkeys(users))


def _check(graphs: Iterable[Graph]) -> int:
    """Compare each committed graph, and the hash in the table, with a fresh export."""
    failed = 0
    for graph in graphs:
        problem = difference(graph)
        failed += problem is not None
        print(f"{graph.path.name}: {problem or 'as exported'}")
    return int(failed > 0)


def _models(names: Sequence[str]) -> list[manifest.Model]:
    originals = parity.offered("ORIGINALS")
    return [
        manifest.model(name) for name in names or manifest.models() if names or name in originals
    ]


def _verify(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m exporters verify", description=verify.__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--weights", action="append", default=[], metavar="[CHECKPOINT=]FILE")
    parser.add_argument("--seeds", type=int, default=3, help="synthetic checkpoints (default 3)")
    parser.add_argument("--audio", nargs=2, type=Path, metavar=("REFERENCE", "EVALUATION"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--into", type=Path, metavar="FILE.json", help="replace these models' findings in a file"
    )
    chosen = parser.parse_args(arguments)
    if chosen.weights and len(chosen.models) != 1:
        parser.error("--weights needs one MODEL")
    sets = None
    if chosen.audio:
        sets = scores.read_set(chosen.audio[0]), scores.read_set(chosen.audio[1])
    findings = []
    for model in _models(chosen.models):
        for finding in verify.verify(model, _given(chosen.weights), chosen.seeds, sets):
            findings.append(finding)
            print(verify.table([finding]).splitlines()[-1], file=sys.stderr)
    if chosen.into:
        chosen.into.write_text(json.dumps(verify.merged(chosen.into, findings), indent=1) + "\n")
    if chosen.json:
        print(json.dumps(verify.as_json(findings), indent=2))
    else:
        print(verify.table(verify.worst(findings)))
    return 0


def _golden(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m exporters golden", description=golden.__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    for model in _models(parser.parse_args(arguments).models):
        path = golden.write(model)
        print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
