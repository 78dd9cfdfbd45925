"""What the command line accepts. Imports nothing heavy, so that --help is instant."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._version import __version__

PROG = "fad-onnx"
SETS = "a folder (searched recursively), an audio file, or an .npz of `stats` or `embed`"


def build() -> argparse.ArgumentParser:
    """The parser with all commands."""
    parser = argparse.ArgumentParser(
        prog=PROG, description="Frechet Audio Distance with ONNX Runtime.", allow_abbrev=False
    )
    parser.add_argument("--version", action="version", version=f"{PROG} {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (_score, _stats, _embed, _merge, _models, _pull, _verify, _bench, _cache, _demo):
        add(commands)
    return parser


if TYPE_CHECKING:
    Commands = argparse._SubParsersAction[argparse.ArgumentParser]


def _command(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    return commands.add_parser(name, help=text, description=text, allow_abbrev=False)


def _score(commands: Commands) -> None:
    parser = _command(commands, "score", "Frechet audio distance of sets to a reference set.")
    parser.add_argument("reference", metavar="REFERENCE", help=SETS)
    parser.add_argument("evaluations", metavar="EVAL", nargs="+", help="likewise")
    _run(parser, several=True)
    _json(parser)
    parser.add_argument("--csv", metavar="FILE", help="append a line per result")
    parser.add_argument("--key", help="which statistics of a foreign .npz that holds several")
    parser.add_argument(
        "--inf", action="store_true", help="FAD-infinity: FAD extrapolated to infinitely many clips"
    )
    parser.add_argument(
        "--inf-draw", choices=("clips", "embeddings"), default="clips",
        help="subsets of whole clips (default), or of single embeddings as published",
    )  # fmt: skip
    parser.add_argument(
        "--ci", metavar="LEVEL", type=_level, nargs="?", const=0.95,
        help="a confidence interval over files (default 0.95; before a path write --ci=0.95)",
    )  # fmt: skip
    parser.add_argument("--kad", action="store_true", help="kernel audio distance as well")
    parser.add_argument(
        "--per-file", metavar="FILE.csv",
        help="write one CSV line for each clip, those that raise FAD most first",
    )  # fmt: skip
    parser.add_argument("--report", metavar="FILE.html", help="write a report with everything")
    parser.add_argument(
        "--seed",
        type=_whole(0, 2**32 - 1),
        default=0,
        metavar="N",
        help="of everything that is drawn (default: 0)",
    )


def _stats(commands: Commands) -> None:
    parser = _command(commands, "stats", "Statistics of a set, for later scores.")
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="a folder or an audio file")
    parser.add_argument("-o", "--output", metavar="STATS.npz", type=_npz, required=True)
    parser.add_argument("--name", help="what the set is called, for a reference to publish")
    parser.add_argument("--licence", metavar="TEXT", help="a note on the licence of the set")
    parser.add_argument(
        "--shard", metavar="I/N", type=_shard, help="only part I of N of the files (merge later)"
    )
    _run(parser)
    _json(parser)


def _embed(commands: Commands) -> None:
    parser = _command(commands, "embed", "Embeddings of every file.")
    parser.add_argument("audio", metavar="AUDIO", nargs="+", help="a folder or an audio file")
    parser.add_argument("-o", "--output", metavar="EMB.npz", type=_npz, required=True)
    _run(parser)
    _json(parser)


def _merge(commands: Commands) -> None:
    parser = _command(commands, "merge", "Statistics of parts into those of the whole.")
    parser.add_argument("parts", metavar="PART", nargs="+", help="files written by stats")
    parser.add_argument("-o", "--output", metavar="ALL.npz", type=_npz, required=True)
    _json(parser)


def _models(commands: Commands) -> None:
    parser = _command(commands, "models", "The models, and whether their weights are here.")
    _json(parser)


def _pull(commands: Commands) -> None:
    parser = _command(commands, "pull", "Fetch and convert weights ahead of use.")
    parser.add_argument("models", metavar="MODEL", nargs="+")
    parser.add_argument(
        "--from", dest="source", metavar="[NAME=]FILE", action="append", default=[],
        help="official checkpoint at hand, in place of the download",
    )  # fmt: skip
    parser.add_argument(
        "--keep", action="store_true", help="keep the download after it was converted"
    )
    _option(parser)
    parser.add_argument("--offline", action="store_true", help="never touch the network")
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")
    _json(parser)


def _verify(commands: Commands) -> None:
    parser = _command(
        commands, "verify",
        "Known-answer tests of this ONNX Runtime: every network on synthetic weights, offline,"
        " one at a time (up to 0.4 GB of temporary disk and 1 GB of memory, some seconds each).",
    )  # fmt: skip
    parser.add_argument("models", metavar="MODEL", nargs="*", help="default: all")
    parser.add_argument("--provider", default="cpu", help="what to test")
    _json(parser)


def _bench(commands: Commands) -> None:
    parser = _command(
        commands, "bench",
        "Audio-seconds per second of models and providers on this machine, and where the time"
        " goes; on synthetic weights and clips, so nothing is downloaded.",
    )  # fmt: skip
    parser.add_argument("models", metavar="MODEL", nargs="*", help="default: the default model")
    parser.add_argument(
        "--provider", action="append", default=[],
        help="may be given several times, to compare (default: cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_positive, action="append", default=[], metavar="N",
        help="may be given several times (default: 1 and all cores)",
    )  # fmt: skip
    parser.add_argument(
        "--batch", type=_positive, action="append", default=[], metavar="N",
        help="windows a batch; may be given several times (default: the model's own)",
    )  # fmt: skip
    parser.add_argument("--clips", type=_positive, default=16, metavar="N", help="default: 16")
    parser.add_argument("--seconds", type=_seconds, default=10.0, metavar="N", help="default: 10")
    parser.add_argument(
        "--rate", type=_whole(1000, 768_000), default=44100, metavar="HZ", help="default: 44100"
    )
    _json(parser)


def _cache(commands: Commands) -> None:
    parser = _command(
        commands, "cache",
        "The cache: embeddings, converted models, downloads. `prune` removes downloads and models"
        " that this release does not use, then embeddings, then other models, the least recently"
        " used first.",
    )  # fmt: skip
    parser.add_argument("action", choices=("info", "clear", "prune"))
    parser.add_argument("--cache-dir", metavar="DIR", help="a folder of embeddings alone")
    parser.add_argument(
        "--only", action="append", choices=("embeddings", "models", "downloads"),
        help="clear these alone; may be given several times",
    )  # fmt: skip
    parser.add_argument(
        "--max-gb", type=_gigabytes, metavar="N", help="prune all to this size (default: 20)"
    )
    _json(parser)


def _demo(commands: Commands) -> None:
    parser = _command(
        commands, "demo",
        "Score synthetic sets offline with the weightless model, to see that all works.",
    )  # fmt: skip
    _json(parser)


def _json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def _option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--option", metavar="KEY=VALUE", type=_pair, action="append", default=[],
        help="an option of the model; see `fad-onnx models`",
    )  # fmt: skip


def _run(parser: argparse.ArgumentParser, several: bool = False) -> None:
    """Options of everything that embeds audio."""
    parser.add_argument(
        "-m", "--model", metavar="MODEL", action="append" if several else "store",
        help="a name of `fad-onnx models`" + ("; may be given several times" if several else ""),
    )  # fmt: skip
    _option(parser)
    parser.add_argument(
        "--weights", metavar="[MODEL:][NAME=]FILE", action="append", default=[],
        help="a checkpoint of the same architecture, in place of the official one",
    )  # fmt: skip
    parser.add_argument(
        "--provider", default="auto",
        help="auto (CUDA where it loads, else CPU), cpu, cuda, tensorrt, coreml, directml, ...",
    )  # fmt: skip
    parser.add_argument("--device", type=_whole(0), default=0, metavar="N", help="index of the GPU")
    parser.add_argument(
        "--gpu-memory-mb", type=_positive, metavar="N", help="most that CUDA may take of the card"
    )
    parser.add_argument(
        "--skip-errors", action="store_true", help="go on after an unusable file and list it"
    )
    parser.add_argument(
        "--short", choices=("error", "skip", "pad"), default="error",
        help="a clip too short for the model: stop, leave it out, or pad it with silence",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=_positive, metavar="N", help="work on N things at once (default: cores)"
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="use the workers of a running Dask scheduler"
    )
    parser.add_argument("--no-cache", action="store_true", help="neither use nor keep embeddings")
    parser.add_argument("--cache-dir", metavar="DIR", help="where to keep embeddings")
    parser.add_argument("--offline", action="store_true", help="never touch the network")
    parser.add_argument(
        "--dry-run", action="store_true", help="only count files, seconds, rows, memory and time"
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def _npz(text: str) -> str:
    if not text.endswith(".npz"):
        raise argparse.ArgumentTypeError(
            f"{text!r} does not end in .npz, by which it is known later"
        )
    return text


def _level(text: str) -> float:
    level = _number(text)
    if level is None or not 0 < level < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no level; before a path write --ci=0.95 (between 0 and 1)"
        )
    return level


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def _gigabytes(text: str) -> float:
    number = _number(text)
    if number is None or not 0 <= number <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is no size in GB, from 0 to 1e9")
    return number


def _seconds(text: str) -> float:
    number = _number(text)
    if number is None or not 0 < number <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number, up to 1e9")
    return number


def _whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """The type of an argument that is a whole number within bounds."""

    def parse(text: str) -> int:
        # Python converts no more than 4,300 digits.
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            kind = "positive number" if least == 1 else "whole number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {kind}, from {least} to {most}")
        return int(text)

    return parse


_positive = _whole(1)


def _shard(text: str) -> str:
    index, _, count = text.partition("/")
    digits = index.isdecimal() and count.isdecimal() and len(text) < 40
    if not (digits and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return text
