"""The types of flags: each function parses a text, or raises an error that names the problem."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from typing import Any


class Once(argparse.Action):
    """A flag that takes one value: a second one is an error, not a silent replacement."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, value: Any, option: str | None = None
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            raise argparse.ArgumentError(self, "this command takes one; it is given twice")
        setattr(namespace, self.dest, value)


def pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    return key, value


def npz(text: str) -> str:
    if not text.endswith(".npz"):
        raise argparse.ArgumentTypeError(f"{text!r}: the output file must have the extension .npz")
    return text


def level(text: str) -> float:
    level = _number(text)
    if level is None or not 0 < level < 1:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a level between 0 and 1; before a path, write --ci=0.95"
        )
    return level


def _number(text: str) -> float | None:
    """A finite number, or None."""
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None


def between(least: float, most: float) -> Callable[[str], float]:
    """The type of an argument that is a number within bounds."""

    def parse(text: str) -> float:
        number = _number(text)
        if number is None or not least <= number <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number from {least:g} to {most:g}")
        return number

    return parse


def gigabytes(text: str) -> float:
    number = _number(text)
    if number is None or not 0 <= number <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a size in GB from 0 to 1e9")
    return number


def seconds(text: str) -> float:
    number = _number(text)
    if number is None or not 0 < number <= 1e9:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive number up to 1e9")
    return number


def whole(least: int, most: int = 2**31 - 1) -> Callable[[str], int]:
    """An argument type: a whole number within bounds."""

    def parse(text: str) -> int:
        # int() raises for more than 4,300 digits.
        if not text.isdecimal() or len(text) > 20 or not least <= int(text) <= most:
            kind = "positive number" if least == 1 else "whole number"
            raise argparse.ArgumentTypeError(f"{text!r} is not a {kind} from {least} to {most}")
        return int(text)

    return parse


positive = whole(1)


def shard(text: str) -> str:
    index, _, count = text.partition("/")
    digits = index.isdecimal() and count.isdecimal() and len(text) < 40
    if not (digits and 1 <= int(index) <= int(count)):
        raise argparse.ArgumentTypeError(f"{text!r} is not I/N with I from 1 to N")
    return text
