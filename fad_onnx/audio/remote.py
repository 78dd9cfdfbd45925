"""Files behind a URL, through fsspec (extra [remote]), and files of this machine alike."""

from __future__ import annotations

import re

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")


def is_url(path: str) -> bool:
    """Whether a path names a scheme, as in s3://bucket/clips."""
    return _URL.match(path) is not None
