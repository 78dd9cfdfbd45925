"""The command-line parser. It imports nothing heavy, so that --help is instant."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from .._version import __version__
from ..metrics import registry
from ..metrics.registry import FIRST
from .argument_types import gigabytes, npz, positive, seconds, shard, whole
from .common_flags import LEVEL as LEVEL
from .common_flags import add_json, add_metric_options, add_option, add_registered, add_run

PROG = "fad-onnx"
AUDIO = (
    "a folder (searched recursively), an audio file, a list (.txt, .csv, .tsv, .jsonl), an archive"
    " (.tar, .tar.gz, .zip, .parquet), or several of these by a pattern in quotes"
    " ('shards/{000..099}.tar'), local or at a URL (s3://, https://, ...)"
)
DATASETS = f"{AUDIO}; or an .npz from `stats` or `embed`"


def build() -> argparse.ArgumentParser:
    """Build the parser with all commands."""
    parser = argparse.ArgumentParser(
        prog=PROG, description="Frechet Audio Distance with ONNX Runtime.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (
        _score,
        _evaluate,
        _stats,
        _embed,
        _merge,
        _models,
        _pull,
        _verify,
        _bench,
        _cache,
        _demo,
    ):
        add(commands)
    return parser


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=text, allow_abbrev=False)


def _add_results(parser: argparse.ArgumentParser) -> None:
    """Add the files that `score` and `evaluate` write, and what they read from other tools."""
    parser.add_argument("--csv", metavar="FILE", help="append one line per result")
    parser.add_argument(
        "--per-file", metavar="FILE.csv",
        help="write one CSV line per clip of all EVAL and models, highest influence on FAD first",
    )  # fmt: skip
    parser.add_argument(
        "--report", metavar="FILE.html", help="write an HTML report with all results"
    )
    parser.add_argument(
        "--key", help="which statistics to read from another tool's .npz that holds several"
    )


def _score(commands: Commands) -> None:
    parser = _command(
        commands,
        "score",
        "Frechet audio distance between a reference dataset and one or more others.",
    )
    parser.add_argument("reference", metavar="REFERENCE", help=DATASETS)
    parser.add_argument(
        "evaluations", metavar="EVAL", nargs="+", help="a dataset to score, of the same kinds"
    )
    add_run(parser, several=True)
    add_json(parser)
    for switch, metric in registry.switches().items():
        parser.add_argument(f"--{switch}", action="store_true", help=metric.summary)
    add_metric_options(parser, [registry.metric(FIRST), *registry.switches().values()])
    _add_results(parser)


def _evaluate(commands: Commands) -> None:
    known = list(registry.metrics().values())
    said = "; ".join(f"{one.name}: {one.summary}" for one in known)
    parser = _command(
        commands, "evaluate", f"Several metrics of one or more datasets, in one pass. {said}."
    )
    parser.add_argument("evaluations", metavar="EVAL", nargs="*", help=DATASETS)
    parser.add_argument(
        "--reference", metavar="REFERENCE", action="append", dest="references", default=[],
        help="what to compare with; may be given several times: an .npz for each model, or folders"
        " that are one dataset",
    )  # fmt: skip
    parser.add_argument(
        "--captions", metavar="FILE",
        help="captions of the clips, for clap-score: .csv or .tsv with columns file and caption, or"
        " .jsonl",
    )  # fmt: skip
    parser.add_argument(
        "--metric", metavar="METRIC[:MODEL]", action="append", dest="metrics",
        help=f"{', '.join(one.name for one in known)}; may be given several times; without it fad,"
        " or every metric of the protocol (with --model, those that it computes with this model)",
    )  # fmt: skip
    parser.add_argument(
        "--compare", metavar=("A", "B"), nargs=2, action="append", default=[],
        help="also say whether dataset A is better than B: clips with the same name are compared"
        " with each other; may be given several times",
    )  # fmt: skip
    add_metric_options(parser, known)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print one JSON object")
    form.add_argument("--markdown", action="store_true", help="print a table in Markdown")
    form.add_argument("--latex", action="store_true", help="print a table in LaTeX (booktabs)")
    _add_results(parser)
    add_run(
        parser,
        several=True,
        whose=", for every metric that names no model (default: that of an .npz, else the default"
        " model)",
    )


def _stats(commands: Commands) -> None:
    parser = _command(
        commands, "stats", "Compute the statistics of a dataset, to score against later."
    )
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help=AUDIO)
    parser.add_argument("-o", "--output", metavar="STATS.npz", type=npz, required=True)
    parser.add_argument("--name", help="name of the dataset, stored in the file")
    parser.add_argument(
        "--licence", metavar="TEXT", help="licence of the dataset, stored in the file"
    )
    parser.add_argument(
        "--shard",
        metavar="I/N",
        type=shard,
        help="only part I of N of the clips (combine them with merge)",
    )
    add_run(parser)
    add_json(parser)


def _embed(commands: Commands) -> None:
    parser = _command(commands, "embed", "Compute the embeddings of every clip.")
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help=AUDIO)
    parser.add_argument("-o", "--output", metavar="EMB.npz", type=npz, required=True)
    add_run(parser)
    add_json(parser)


def _merge(commands: Commands) -> None:
    parser = _command(
        commands, "merge", "Merge the statistics of parts into those of the whole dataset."
    )
    parser.add_argument("parts", metavar="PART", nargs="+", help="files written by `stats`")
    parser.add_argument("-o", "--output", metavar="ALL.npz", type=npz, required=True)
    add_json(parser)


def _models(commands: Commands) -> None:
    parser = _command(
        commands,
        "models",
        "List the models by the family of their network, and whether their weights are on this"
        " machine.",
    )
    add_registered(parser)
    add_json(parser)


def _pull(commands: Commands) -> None:
    parser = _command(commands, "pull", "Download and convert weights in advance.")
    parser.add_argument("models", metavar="MODEL", nargs="+")
    parser.add_argument(
        "--from", dest="source", metavar="[NAME=]FILE", action="append", default=[],
        help="use this official checkpoint instead of downloading it",
    )  # fmt: skip
    parser.add_argument("--keep", action="store_true", help="keep the download after conversion")
    add_option(parser)
    parser.add_argument("--offline", action="store_true", help="never touch the network")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    add_registered(parser)
    add_json(parser)


def _verify(commands: Commands) -> None:
    parser = _command(
        commands, "verify",
        "Test this ONNX Runtime against known answers: every network with synthetic weights,"
        " offline, one at a time (some seconds and up to 1.3 GB of disk each; the two largest take"
        " minutes, and 3 and 6 GB).",
    )  # fmt: skip
    parser.add_argument("models", metavar="MODEL", nargs="*", help="default: all")
    parser.add_argument(
        "--provider", default="cpu", help="execution provider to test (default: cpu)"
    )
    parser.add_argument(
        "--published", metavar="HARNESS",
        help="compare scores with official weights with a harness' published ones: fadtk",
    )  # fmt: skip
    parser.add_argument("--audio", metavar="FOLDER", help="with --published: the harness' clips")
    parser.add_argument(
        "--statistics", metavar="FILE", help="with --published: its statistics of the reference"
    )
    add_registered(parser)
    add_json(parser)


def _bench(commands: Commands) -> None:
    parser = _command(
        commands, "bench",
        "Measure seconds of audio per second for models and providers on this machine, and where"
        " the time is spent, with synthetic weights and clips: nothing is downloaded.",
    )  # fmt: skip
    parser.add_argument("models", metavar="MODEL", nargs="*", help="default: the default model")
    parser.add_argument(
        "--provider", action="append", default=[],
        help="execution provider; repeat to compare several (default: cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=positive, action="append", default=[], metavar="N",
        help="worker threads; repeat to compare several (default: 1 and all cores)",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=positive, action="append", default=[], metavar="N",
        help="windows per batch; repeat to compare several (default: the model's own)",
    )  # fmt: skip
    parser.add_argument(
        "--clips", type=positive, default=16, metavar="N", help="number of clips (default: 16)"
    )
    parser.add_argument(
        "--seconds",
        type=seconds,
        default=10.0,
        metavar="N",
        help="length of a clip (default: 10)",
    )
    parser.add_argument(
        "--rate",
        type=whole(1000, 768_000),
        default=44100,
        metavar="HZ",
        help="sample rate of the clips (default: 44100)",
    )
    add_registered(parser)
    add_json(parser)


def _cache(commands: Commands) -> None:
    parser = _command(
        commands, "cache",
        "Show, clear or prune the cache of embeddings, converted models and downloads. `prune`"
        " first removes downloads and models that this release does not use, then embeddings, then"
        " other models, least recently used first.",
    )  # fmt: skip
    parser.add_argument("action", choices=("info", "clear", "prune"))
    parser.add_argument(
        "--cache-dir",
        metavar="DIR",
        help="a folder of cached embeddings, instead of the whole cache",
    )
    parser.add_argument(
        "--only", action="append", choices=("embeddings", "models", "downloads"),
        help="clear only these; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--max-gb", type=gigabytes, metavar="N", help="prune to this total size (default: 20)"
    )
    add_json(parser)


def _demo(commands: Commands) -> None:
    parser = _command(
        commands, "demo",
        "Score two synthetic datasets with a model that needs no download, to check the"
        " installation.",
    )  # fmt: skip
    parser.add_argument(
        "--folder", metavar="DIR",
        help="only write the datasets, a reference and three systems, into this folder",
    )  # fmt: skip
    add_json(parser)
