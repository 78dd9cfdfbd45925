"""The head of an HTTP reply, and which part of a file its body brings."""

from __future__ import annotations

import http.client
import re
from collections.abc import Mapping
from dataclasses import dataclass

from .connection import Broken


class Refused(Exception):
    """The server said or did something that another attempt will not mend."""


@dataclass(frozen=True)
class Reply:
    """The head of a reply: status and headers, names in lower case."""

    url: str
    status: int
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Start:
    """Where the body's first byte belongs, and the file's full length if the server says it.

    offset: 0 for the whole file, the bytes at hand for the rest, -1 if it fits neither.
    """

    offset: int
    total: int | None


def start(reply: Reply, have: int) -> Start:
    """Decide from the head of a reply to a request for everything from byte `have` on.

    Raises Refused or Broken for a status that brings no part of the file.
    """
    if reply.status == 206:
        return _partial(reply, have)
    if reply.status == 200:
        length = reply.headers.get("content-length", "")
        return Start(0, int(length) if re.fullmatch(r"[0-9]{1,18}", length) else None)
    if reply.status == 416:
        # All of it is here already, or the part that is here is none of this file.
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
