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

from fad_onnx.cli.run_flags import named_paths
from fad_onnx.errors import FadError
from fad_onnx.networks import selection, table

from . import golden, parity, protocols, scores, standalone, verify
from .check import difference
from .skeleton import Graph, export

TABLE = Path(__file__).parents[1] / "artifacts.json"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; the exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    # The exporter of torch warns of what is missing and deprecated inside torch.
    warnings.simplefilter("ignore", FutureWarning)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    commands = {"verify": _verify, "golden": _golden, "protocols": _protocols}
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
        one = selection.selection_of(table.model(chosen.names[0]), options)
        for path in standalone.write(one, _given(chosen.weights), chosen.output):
            print(f"{path} ({path.stat().st_size / 1e6:.1f} MB)")
        return 0
    graphs = _named(chosen.names, parser)
    return _check(graphs) if chosen.check else _write(graphs)


def _given(weights: list[str]) -> dict[str, Path]:
    """Checkpoint name to file; a file without a name is the main one."""
    return {name: Path(path) for name, path in named_paths(weights).items()}


def _named(names: Iterable[str], parser: argparse.ArgumentParser) -> list[Graph]:
    graphs, models = parity.graphs(), table.models()
    found: dict[str, Graph] = {}
    for name in names:
        wanted = {name} if name in graphs else set()
        if name in models:
            wanted |= {file.removesuffix(".onnx") for file in parity.graph_files(models[name])}
        for family in parity.families():
            if name in ("all", family.__name__.rpartition(".")[2]):
                wanted |= {graph.name for graph in family.GRAPHS}
        if not wanted & graphs.keys():
            parser.error(f"{name!r} is no graph, model or family: {', '.join(sorted(graphs))}")
        found |= {name: graphs[name] for name in sorted(wanted & graphs.keys())}
    return list(found.values())


def _write(graphs: Iterable[Graph]) -> int:
    """Write each graph, and its hash into the table."""
    for graph in graphs:
        data = export(graph)
        graph.path.write_bytes(data)
        digest = hashlib.sha256(data).hexdigest()
        _record(graph, digest)
        print(f"{graph.path.name}: {len(data)} bytes, sha256 {digest}")
    return 0


def _record(graph: Graph, digest: str) -> None:
    """Put the hash of a graph into the table; its layout stays as it is."""
    text = TABLE.read_text("utf-8")
    graphs = json.loads(text)["graphs"]
    name = json.dumps(graph.path.name)
    if graph.path.name in graphs:
        text = text.replace(f'{name}: "{graphs[graph.path.name]}"', f'{name}: "{digest}"')
    else:
        text = text.replace('"graphs": {\n', f'"graphs": {{\n    {name}: "{digest}",\n', 1)
    TABLE.write_text(text, "utf-8")


def _check(graphs: Iterable[Graph]) -> int:
    """Compare each committed graph, and the hash in the table, with a fresh export."""
    failed = 0
    for graph in graphs:
        problem = difference(graph)
        failed += problem is not None
        print(f"{graph.path.name}: {problem or 'as exported'}")
    return int(failed > 0)


def _models(names: Sequence[str]) -> list[table.Model]:
    every = [name for name in parity.offered("ORIGINALS") if parity.at_hand(name)]
    return [table.model(name) for name in names or table.models() if names or name in every]


def _verify(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m exporters verify", description=verify.__doc__)
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("--weights", action="append", default=[], metavar="[CHECKPOINT=]FILE")
    parser.add_argument("--seeds", type=int, default=3, help="synthetic checkpoints (default 3)")
    parser.add_argument("--clips", type=int, default=scores.SET_CLIPS,
                        help="of each synthetic dataset (default %(default)s)")  # fmt: skip
    parser.add_argument("--audio", nargs=2, type=Path, metavar=("REFERENCE", "EVALUATION"))
    parser.add_argument("--json", action="store_true")
    parser.add_argument(
        "--into", type=Path, metavar="FILE.json", help="replace these models' findings in a file"
    )
    chosen = parser.parse_args(arguments)
    if chosen.weights and len(chosen.models) != 1:
        parser.error("--weights needs one MODEL")
    given = [scores.read_set(folder) for folder in chosen.audio or ()]
    findings = []
    for model in _models(chosen.models):
        sets = tuple(given) or scores.synthetic_sets(model, chosen.clips)
        for finding in verify.verify(model, _given(chosen.weights), chosen.seeds, sets):
            findings.append(finding)
            print(verify.table([finding]).splitlines()[-1], file=sys.stderr)
    if chosen.into:
        chosen.into.write_text(json.dumps(verify.merged(chosen.into, findings), indent=1) + "\n")
    if chosen.json:
        print(json.dumps(verify.as_json(findings), indent=2))
    else:
        print(verify.table(verify.worst(findings)))
    failed = [text for finding in findings for text in finding.failures()]
    for text in failed:
        print(f"exporters: {text}", file=sys.stderr)
    return 1 if failed else 0


def _golden(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m exporters golden", description=golden.__doc__)
    parser.add_argument("names", nargs="*", metavar="MODEL or the graph of a text tower")
    names = parser.parse_args(arguments).names
    texts = [name for name in names if name in parity.offered("TEXTS")]
    written = [golden.write_text(name) for name in texts]
    models = [name for name in names if name not in texts]
    written += [golden.write(model) for model in (_models(models) if models or not names else ())]
    for path in written:
        print(f"{path} ({path.stat().st_size / 1e3:.0f} kB)")
    return 0


def _protocols(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser("python -m exporters protocols", description=protocols.__doc__)
    parser.add_argument("names", nargs="*", metavar="PROTOCOL[/MODEL]")
    parser.add_argument(
        "--into", type=Path, metavar="FILE.json", help="replace these numbers in a file"
    )
    parser.add_argument("--clips", type=int, metavar="N", help="the first N of each side alone")
    chosen = parser.parse_args(arguments)
    for row in protocols.rows(chosen.names, chosen.clips):
        print(json.dumps(row), flush=True)
        if chosen.into:
            text = json.dumps(protocols.merged(chosen.into, [row]), indent=1)
            chosen.into.write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
