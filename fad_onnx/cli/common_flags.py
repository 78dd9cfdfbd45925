"""Flags that several commands share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from ..metrics import registry
from ..metrics.registry import Metric
from .argument_types import Once, between, level, pair, positive, whole

LEVEL = 0.95


def add_metric_options(parser: argparse.ArgumentParser, metrics: Sequence[Metric]) -> None:
    """Add a flag for each option of these metrics; without a flag, the protocol decides."""
    for option in registry.options(metrics).values():
        kind: dict[str, Any] = {"type": str}
        if option.choices:
            kind = {"choices": option.choices}
        elif option.whole:
            kind = {"type": whole(*option.whole), "metavar": "N"}
        elif option.number:
            kind = {"type": between(*option.number), "metavar": "X"}
        elif option.level:
            kind = {"type": level, "metavar": "LEVEL", "nargs": "?", "const": LEVEL}
        parser.add_argument(option.flag, default=argparse.SUPPRESS, help=option.help, **kind)


def add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def add_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--option", metavar="KEY=VALUE", type=pair, action="append", default=[],
        help="an option of the model; see `fad-onnx models`",
    )  # fmt: skip


def add_run(parser: argparse.ArgumentParser, several: bool = False, whose: str = "") -> None:
    """Add the options of all commands that embed audio; `whose` is added to the help of --model."""
    parser.add_argument(
        "-m", "--model", metavar="MODEL", action="append" if several else Once,
        help=f"a name from `fad-onnx models`{whose}"
        + ("; may be given several times" if several else ""),
    )  # fmt: skip
    add_registered(parser)
    add_option(parser)
    parser.add_argument(
        "--protocol", metavar="NAME",
        help="prepare clips as a published harness does: gudgud96, fadtk, kadtk, ... (default:"
        " native)",
    )  # fmt: skip
    parser.add_argument(
        "--weights", metavar="[MODEL:][NAME=]FILE", action="append", default=[],
        help="a checkpoint of the same architecture, instead of the official one",
    )  # fmt: skip
    parser.add_argument(
        "--provider", default="auto",
        help="auto (CUDA if it loads, else CPU), cpu, cuda, tensorrt, coreml, directml, ...",
    )  # fmt: skip
    parser.add_argument("--device", type=whole(0), default=0, metavar="N", help="index of the GPU")
    parser.add_argument(
        "--gpu-memory-mb",
        type=positive,
        metavar="N",
        help="limit of the GPU memory that CUDA uses",
    )
    parser.add_argument(
        "--skip-errors", action="store_true", help="skip unusable files, and list them"
    )
    parser.add_argument(
        "--short", choices=("error", "skip", "pad"), default="error",
        help="clips too short for the model: stop, skip them, or pad them with silence",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=positive, metavar="N", help="number of worker threads (default: cores)"
    )
    parser.add_argument(
        "--dask", metavar="ADDRESS", help="use the workers of a running Dask scheduler"
    )
    parser.add_argument(
        "--no-cache", action="store_true", help="neither read nor store cached embeddings"
    )
    parser.add_argument("--cache-dir", metavar="DIR", help="where to cache embeddings")
    parser.add_argument("--offline", action="store_true", help="never touch the network")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="only estimate files, seconds, embeddings, memory and time",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="no progress")


def add_registered(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--models", metavar="FILE.json", dest="registered", action="append", default=[],
        help="add models of your own; may be given several times",
    )  # fmt: skip
