"""Functions for files at URLs, through fsspec (extra [remote]), and for local files alike."""

from __future__ import annotations

import io
import os
import re
import sys
from dataclasses import dataclass
from functools import lru_cache
from threading import Lock
from typing import Any, BinaryIO, cast
from urllib.parse import quote, unquote, urlsplit

from ..cache.filesystem import switched_on
from ..errors import AudioError, MissingDependencyError, NoAudioError, SourceError
from .blobs import Blob, InMemory, OnDisk, Span, cut_short, why

OFFLINE_VARIABLE = "FAD_ONNX_OFFLINE"
# The most bytes of one clip or archive in memory: 48 minutes of a CD, decoded.
MEMBER_BYTES = 1 << 29
BLOCK_BYTES = 1 << 20
_fetching = Lock()
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
# Exceptions of fsspec's file systems other than OSError, if their libraries are loaded.
_ERRORS = {
    "aiohttp": ("ClientError",),
    "botocore.exceptions": ("BotoCoreError", "ClientError"),
    "gcsfs.retry": ("HttpError",),
}


def is_url(path: str) -> bool:
    """Whether a path names a scheme, as in s3://bucket/clips."""
    return _URL.match(path) is not None


def is_http(path: str) -> bool:
    """Whether this is a web URL, which may have a query and whose server may not list folders."""
    return path.startswith(("http://", "https://"))


def file_part(path: str) -> str:
    """The path without the query of a URL, for its name and suffix."""
    return urlsplit(path)._replace(query="", fragment="").geturl() if is_http(path) else path


def decoded(url: str, part: str) -> str:
    """A part of a URL as the name of a file: web URLs encode some characters."""
    return unquote(part, errors="surrogateescape") if is_http(url) else part


def beneath(folder: str, path: str) -> str:
    """The URL of a file below the URL of a folder."""
    return f"{folder}/{quote(os.fsencode(path)) if is_http(folder) else path}"


def filesystem(url: str) -> tuple[Any, str]:
    """fsspec's file system of a URL, and the path in it.

    Raises MissingDependencyError without fsspec or the package that it needs for this scheme, and
    SourceError for an unknown scheme or if FAD_ONNX_OFFLINE is set.
    """
    if switched_on(OFFLINE_VARIABLE):
        raise SourceError(url, f"{OFFLINE_VARIABLE} is set, so that no URL is read")
    try:
        from fsspec.core import url_to_fs
    except ImportError as error:
        line = "pip install 'fad-onnx[remote]'"
        raise MissingDependencyError("a URL needs fsspec", line) from error
    try:
        first, colons, rest = url.partition("::")
        found: tuple[Any, str] = url_to_fs(url if "://" in rest else first)
        if colons and "://" not in rest:  # a name with colons, which fsspec takes for a chain
            found = found[0], found[0]._strip_protocol(url)
    except ImportError as error:
        scheme = url.partition("://")[0]
        package = {"s3": "s3fs", "gs": "gcsfs", "http": "aiohttp", "https": "aiohttp"}.get(scheme)
        line = f"pip install {package}" if package else str(error)
        raise MissingDependencyError(f"{scheme}:// needs another package", line) from error
    except ValueError as error:
        raise SourceError(url, str(error)) from error
    return found


def errors() -> tuple[type[Exception], ...]:
    """The exceptions of reading a URL."""
    loaded = ((sys.modules.get(module), names) for module, names in _ERRORS.items())
    foreign = [getattr(module, name) for module, names in loaded if module for name in names]
    return OSError, ValueError, *foreign


def opened(path: str, block_bytes: int = BLOCK_BYTES) -> BinaryIO:
    """Open a file or URL for reading at any position; a URL is read in blocks.

    Raises AudioError if it cannot be opened, and those of `filesystem`.
    """
    if not is_url(path):
        return OnDisk(path).open()
    if not gives_parts(path):
        return io.BytesIO(_whole(path))
    system, inner = filesystem(path)
    try:
        file = system.open(inner, "rb", block_size=block_bytes, cache_type="readahead")
    except errors() as error:
        raise failure(path, error) from error
    return cast(BinaryIO, file)


def version(path: str) -> tuple[int, ...]:
    """A key of open files in this process, because a fork must not share their position.

    For a URL, the key is only the process: the contents are assumed not to change meanwhile.
    """
    if is_url(path):
        return (os.getpid(),)
    with OnDisk(path).open() as file:
        found = os.fstat(file.fileno())
    return os.getpid(), found.st_ino, found.st_size, found.st_mtime_ns


def span(path: str, start: int, size: int, label: str) -> Blob:
    """A part of a file or URL; a part of a URL is held in memory."""
    if not is_url(path):
        return Span(path, start, size, label)
    check_size(size, label)
    return InMemory(read(path, start, size, label), label)


def read(path: str, start: int, size: int, label: str) -> bytes:
    """Some bytes of a file or URL; AudioError if they are not there."""
    if not is_url(path):
        with Span(path, start, size, label).open() as file:
            return file.read()
    if not gives_parts(path):
        data = _whole(path)[start : start + size]
        if len(data) < size:
            raise cut_short(label, len(data), size)
        return data
    system, inner = filesystem(path)
    try:
        data = system.cat_file(inner, start=start, end=start + size) if size else b""
    except errors() as error:
        raise failure(label, error) from error
    if len(data) > size:
        raise AudioError(label, "the server gives more than the part that was asked for")
    if len(data) < size:
        raise cut_short(label, len(data), size)
    return data


def gives_parts(url: str) -> bool:
    """Whether a server answers requests for a part of this file, asked once in a process."""
    return not is_http(url) or _gives_parts(url, os.getpid())


@lru_cache(maxsize=4096)
def _gives_parts(url: str, process: int) -> bool:
    system, inner = filesystem(url)
    try:
        with system.open(inner, "rb", block_size=1, cache_type="none") as file:
            if not file.seekable():
                return False
            file.seek(1)
            file.read(1)
    except ValueError:  # fsspec's answer to a server that sends the whole file
        return False
    except errors() as error:
        raise failure(url, error) from error
    return True


def _whole(url: str) -> bytes:
    """All bytes at a web URL. The last archive is kept: its clips are read one by one."""
    with _fetching:
        return _fetched(url, os.getpid())


@lru_cache(maxsize=1)
def _fetched(url: str, process: int) -> bytes:
    blob = Whole().blob(url, url)
    assert isinstance(blob, InMemory)
    return blob.data


@dataclass(frozen=True, slots=True)
class Whole:
    """All bytes at a URL."""

    @property
    def key(self) -> str:
        """A constant: there is only one such part."""
        return "whole"

    def blob(self, path: str, label: str) -> Blob:
        """The bytes, in memory."""
        system, inner = filesystem(path)
        try:
            if is_http(path):
                # Neither ask for the size in advance nor trust an announced one.
                with system.open(inner, "rb", block_size=0) as file:
                    return InMemory(_all_of(file, label), label)
            check_size(system.size(inner) or 0, label)
            return InMemory(system.cat_file(inner), label)
        except errors() as error:
            raise failure(label, error) from error


def _all_of(file: BinaryIO, label: str) -> bytes:
    held, count = [], 0
    while block := file.read(BLOCK_BYTES):
        held.append(block)
        count += len(block)
        check_size(count, label)
    return b"".join(held)


def check_size(size: int, label: str) -> None:
    """AudioError for a clip, or an archive that comes only whole, too large for memory."""
    if size > MEMBER_BYTES:
        raise AudioError(
            label, f"{size} bytes; at most {MEMBER_BYTES} may be held in memory: give it as a local"
            " file, outside a compressed archive",
        )  # fmt: skip


def failure(label: str, error: Exception) -> AudioError:
    """The error to raise for a URL that cannot be read."""
    if isinstance(error, AudioError):
        return error
    reason = why(error) or type(error).__name__
    if isinstance(error, FileNotFoundError):  # fsspec gives the URL as the reason
        reason = "no such file"
    return AudioError(label, f"cannot be read: {reason}")


def is_folder(url: str) -> bool:
    """Whether a URL is a folder; a web URL only if it ends with a slash."""
    if is_http(url):
        return file_part(url).endswith("/")
    system, inner = filesystem(url)
    try:
        return bool(system.isdir(inner))
    except errors() as error:
        raise NoAudioError(url, f"cannot be read: {why(error)}") from error


def below(url: str) -> list[tuple[str, str]]:
    """Every file below a URL, as (URL, path from there), in no order; NoAudioError without any."""
    system, inner = filesystem(url)
    try:
        found = system.find(inner)
    except errors() as error:
        raise NoAudioError(url, f"cannot be listed: {why(error)}") from error
    top = inner.rstrip("/") + "/"
    return [(system.unstrip_protocol(one), decoded(url, one.removeprefix(top))) for one in found]


def globbed(url: str) -> list[str]:
    """The URLs that match a pattern; those of folders end with a slash."""
    system, inner = filesystem(url)
    try:
        found = system.glob(inner, detail=True)
    except errors() as error:
        raise NoAudioError(url, f"cannot be listed: {why(error)}") from error
    return [
        system.unstrip_protocol(one).rstrip("/") + "/" * (about["type"] == "directory")
        for one, about in found.items()
    ]
