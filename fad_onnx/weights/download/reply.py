"""The head of an HTTP reply, and the part of the file in its body."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .connection import Broken


class Refused(Exception):
    """The server's reply is wrong in a way that another attempt will not change."""


@dataclass(frozen=True)
class Reply:
    """The head of a reply: status and headers, names in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Start:
    """The position of the body's first byte, and the file's length if the server gives it.

    `offset` is 0 for the whole file, the number of bytes on disk for the rest, and -1 otherwise.
    """

    offset: int
    total: int | None


def start(reply: Reply, have: int) -> Start:
    """Read the head of a reply to a request for all bytes from `have` on.

    Raises Refused or Broken for a status that brings no part of the file.
    """
    if reply.status == 206:
        return _partial(reply, have)
    if reply.status == 200:
        length = reply.headers.get("content-length", "")
        return Start(0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None)
    if reply.status == 416:
        # The file is complete already, or the bytes on disk are of another file.
        if have and reply.headers.get("content-range") == f"bytes */{have}":
            return Start(have, have)
        return Start(-1, None)
    text = f"HTTP {reply.status} {http.client.responses.get(reply.status, '')}".strip()
    if reply.status in (408, 425, 429) or reply.status >= 500:
        raise Broken(text)
    raise Refused(text)


def _partial(reply: Reply, have: int) -> Start:
    stated = reply.headers.get("content-range", "")
    found = re.fullmatch(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)", stated)
    if not have or not found or int(found[1]) != have:
        return Start(-1, None)
    return Start(have, None if found[3] == "*" else int(found[3]))
