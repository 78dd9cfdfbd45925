"""Values that a pickle stores as lines of text: protocol 0, and numbers of Python 2.

The formats are those of Python's pickle.py (load_int, load_long, load_float, load_string,
load_unicode, load_put, load_get).
"""

from __future__ import annotations

import codecs

from .pickle_machine import HUGE_INT, INLINE_BYTES, Machine

_MAX_DIGITS = 616  # digits of a number of 255 bytes, the longest of a binary opcode


def _whole(machine: Machine, digits: str) -> int:
    sign = digits[:1] == "-"
    if not (digits[sign:].isascii() and digits[sign:].isdigit()):
        raise machine.error("holds a whole number that is not written in digits")
    return int(digits)


def integer(machine: Machine) -> object:
    """INT: digits; "00" and "01" are False and True."""
    digits = machine.line(_MAX_DIGITS)
    return digits == "01" if digits in ("00", "01") else _whole(machine, digits)


def long(machine: Machine) -> object:
    """LONG: digits, with or without an L at the end."""
    digits = machine.line(INLINE_BYTES).removesuffix("L")
    return HUGE_INT if len(digits) > _MAX_DIGITS else _whole(machine, digits)


def index(machine: Machine) -> int:
    """The argument of PUT and GET."""
    return _whole(machine, machine.line(32))


def number(machine: Machine) -> float:
    """FLOAT: the output of repr."""
    written = machine.line()
    try:
        return float(written)
    except ValueError as error:
        raise machine.error("holds a number that is not one") from error


def python2_string(machine: Machine) -> None:
    """STRING: a quoted literal of Python 2; ASCII is text, all else is bytes."""
    written = machine.line(INLINE_BYTES).encode("latin-1")
    if len(written) < 2 or written[:1] != written[-1:] or written[:1] not in (b"'", b'"'):
        raise machine.error("holds a string without its quotes")
    try:
        value = codecs.escape_decode(written[1:-1])[0]
    except ValueError as error:
        raise machine.error("holds a string with a broken escape") from error
    assert isinstance(value, bytes)
    machine.push(value.decode("ascii") if value.isascii() else value)


def text(machine: Machine) -> str:
    """UNICODE: text with escapes for characters that are not in Latin-1."""
    written = machine.line(INLINE_BYTES).encode("latin-1")
    machine.file.spend(4 * len(written))
    try:
        return written.decode("raw-unicode-escape")
    except UnicodeDecodeError as error:
        raise machine.error("holds text with a broken escape") from error
