"""Download checkpoints: resume, verify, one process at a time, and appear whole or not at all.

An interrupted download leaves NAME.part and NAME.part.json (the URL, the server's validator, and
the number of bytes flushed to disk), from which it resumes. NAME.json describes a finished file:
its hash, its source, and the digest with which the hash was compared.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ...cache import root
from ...cache.filesystem import TRUE, guarded, make_folder, require_room, switched_on
from ...errors import CheckpointError, ChecksumError, DownloadError, OptionError
from .connection import Broken, Patience
from .partial import Partial
from .reply import Refused, Reply, start
from .transfer import blocks, refusal, request
from .verified import Fetched, PublishedFile, check, local_files, tools_files, verify

logger = logging.getLogger("fad_onnx")

OFFLINE_VARIABLE = "FAD_ONNX_OFFLINE"
# The variables of other tools; our own comes first.
OFFLINE_ELSEWHERE = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE")
MIRROR_VARIABLE = "FAD_ONNX_MIRROR"
# The count of consecutive failures restarts after this many new bytes.
PROGRESS_BYTES = 1 << 20
# The limit for a file of unpublished length; the largest known checkpoint has 6.2 GB.
LARGEST_BYTES = 1 << 34

Progress = Callable[[str, int, int | None], object]


@dataclass(frozen=True)
class _Task:
    source: PublishedFile
    url: str
    destination: Path
    progress: Progress
    patience: Patience


def obtain(
    source: PublishedFile,
    folder: Path,
    folders: Iterable[Path] = (),
    *,
    offline: bool = False,
    progress: Progress | None = None,
) -> Fetched:
    """Find the file in `folder`, or a verified copy in `folders` or in the cache of another tool,
    which is used in place and never changed; otherwise, download it into `folder`.

    If no digest is published, the file name suffices only in `folders` and in torch.hub's cache.
    """
    destination = folder / source.file
    if not destination.is_file():
        others = tools_files(source) if source.digests else []
        for path in [*local_files(source.file, folders), *others]:
            try:
                return verify(source, path)
            except (ChecksumError, CheckpointError) as error:
                logger.warning("not used: %s", error)
    return fetch(source, destination, offline=offline, progress=progress)


def fetch(
    source: PublishedFile,
    destination: Path,
    *,
    offline: bool = False,
    mirror: str | None = None,
    progress: Progress | None = None,
    patience: Patience | None = None,
) -> Fetched:
    """The file at `destination`, downloaded now if it is not there yet.

    With `offline`, the network is not used, even if is_offline() is false. If `mirror` is None,
    FAD_ONNX_MIRROR counts. Calls `progress(name, bytes so far, total bytes or None)`. Raises
    DownloadError, ChecksumError, CheckpointError, CacheError. A file with a wrong hash is removed
    and never gets its final name.
    """
    by_option, offline = offline, offline or is_offline()
    found = _kept(source, destination, offline)
    if found:
        return found
    url = mirrored(source.url, os.environ.get(MIRROR_VARIABLE) if mirror is None else mirror)
    if offline:
        elsewhere = not by_option and not os.environ.get(OFFLINE_VARIABLE) and offline_elsewhere()
        why = f"offline, as {elsewhere} says" if elsewhere else "offline"
        problem = f"is not in the cache, and the network is not used ({why})"
        raise DownloadError(url, problem, _by_hand(destination))
    make_folder(destination.parent)
    with root.locked(f"{destination.name}-{_short(str(destination.absolute()))}"):
        task = _Task(source, url, destination, progress or _silent, patience or Patience())
        return _kept(source, destination, offline) or _download(task)


def _silent(name: str, done: int, total: int | None) -> None:
    return None


def is_offline() -> bool:
    """Whether FAD_ONNX_OFFLINE forbids the network, or else HF_HUB_OFFLINE or
    TRANSFORMERS_OFFLINE do.
    """
    ours = switched_on(OFFLINE_VARIABLE)
    return ours if os.environ.get(OFFLINE_VARIABLE) else offline_elsewhere() is not None


def offline_elsewhere() -> str | None:
    """The variable of another tool that forbids the network, or None."""
    return next((v for v in OFFLINE_ELSEWHERE if os.environ.get(v, "").lower() in TRUE), None)


def mirrored(url: str, mirror: str | None) -> str:
    """The URL with its scheme and host replaced by the mirror; path and query stay.

    https://zenodo.org/records/1/files/a.pth with the mirror https://files.lab/weights becomes
    https://files.lab/weights/records/1/files/a.pth.
    """
    if not mirror:
        return url
    if problem := refusal(mirror):
        raise OptionError(MIRROR_VARIABLE, problem)
    parts, place = urlsplit(url), urlsplit(mirror)
    if place.query or place.fragment:
        raise OptionError(MIRROR_VARIABLE, f"{mirror!r} has a query or fragment")
    query = f"?{parts.query}" if parts.query else ""
    return f"{mirror.rstrip('/')}{parts.path}{query}"


def _kept(source: PublishedFile, destination: Path, offline: bool) -> Fetched | None:
    """The verified file at the destination, or None. A damaged file is removed; offline, where
    nothing can replace it, it is an error."""
    if not destination.is_file():
        return None
    try:
        digest = root.file_sha256(destination)
    except CheckpointError:
        if destination.exists():
            raise
        return None  # another process has converted and removed it
    recorded = root.read_json(_beside(destination, ".json")).get("sha256", digest)
    done = "it is left there, offline" if offline else "it is fetched again"
    try:
        found = verify(source, destination, done, digest)
        if recorded != digest:
            raise ChecksumError(destination, recorded, digest, done)
    except (ChecksumError, CheckpointError) as error:
        if offline and destination.exists():
            raise
        logger.warning("%s", error)
        with guarded(destination):
            destination.unlink(missing_ok=True)
        return None
    return found


def _download(task: _Task) -> Fetched:
    source, destination, again = task.source, task.destination, True
    with Partial.open(destination, task.url) as partial:
        while True:
            resumed = _complete(task, partial)
            digest = partial.sha256()
            try:
                checked = check(
                    source, destination, digest, "what arrived was removed", partial.path
                )
                break
            except ChecksumError as error:
                partial.reset()
                if not (resumed and again):
                    raise
                # The part of an earlier run may be damaged: download once more from the first byte.
                logger.warning("%s, and fetched again from the first byte", error)
                again = False
        found = Fetched(destination, digest, partial.size, checked)
        record(task.url, found, destination)
        partial.publish()
    return found


def _complete(task: _Task, partial: Partial) -> bool:
    """Complete the partial file in a bounded number of attempts; return whether it was resumed."""
    best, failures, resumed = partial.size, 0, False
    while True:
        resumed = resumed or partial.size > 0
        try:
            _transfer(task, partial)
            return resumed
        except Refused as error:
            raise DownloadError(task.url, str(error), _by_hand(task.destination)) from error
        except Broken as error:
            failures = 0 if partial.size >= best + PROGRESS_BYTES else failures + 1
            best = max(best, partial.size)
            if failures >= (error.attempts_in_all or task.patience.attempts):
                problem = f"{error} ({failures} attempts)"
                raise DownloadError(task.url, problem, _again(partial)) from error
            logger.warning("%s: %s, trying again", task.url, error)
            time.sleep(min(task.patience.pause_seconds * 2**failures, 30.0))


def _transfer(task: _Task, partial: Partial) -> None:
    """Append the missing bytes to the partial file."""
    source = task.source
    if source.bytes is not None and partial.size >= source.bytes:
        if partial.size == source.bytes:
            return
        partial.reset()
    # Ask for the plain bytes: nothing is decompressed here.
    headers = {"Accept-Encoding": "identity", **partial.range_headers()}
    with request(task.url, headers, task.patience) as (reply, body):
        total = _begin(source, partial, reply)
        if total == partial.size:
            return
        require_room(partial.path, (total or 0) - partial.size)
        limit = LARGEST_BYTES if total is None else total
        for block in blocks(body):
            if partial.size + len(block) > limit:
                partial.reset()
                raise Refused(f"more than the {limit} bytes it should have are sent")
            partial.append(block)
            task.progress(source.file, partial.size, total)
            if partial.size == total:
                return
    if partial.size < (total or 1):
        raise Broken(f"the connection was cut after {partial.size} of {total or '?'} bytes")


def _begin(source: PublishedFile, partial: Partial, reply: Reply) -> int | None:
    """Prepare the partial file for the body of this reply; return the length to expect."""
    begin = start(reply, partial.size)
    if begin.offset < 0:
        partial.reset()
        raise Broken("the server sent another part than requested")
    total = _total(source, begin.total, bool(reply.headers.get("content-encoding")))
    if begin.offset == 0:
        partial.reset()
        partial.remember(reply)
    elif not partial.is_of(reply):
        partial.reset()
        raise Broken("the server's file has changed meanwhile")
    return total


def _total(source: PublishedFile, announced: int | None, encoded: bool) -> int | None:
    """The length to expect; Refused if the server announces another one than is published."""
    if announced == 0:
        raise Refused("the server's file is empty")
    if source.bytes is not None:
        if announced is not None and announced != source.bytes:
            raise Refused(f"the server has {announced} bytes, published are {source.bytes}")
        return source.bytes
    if not source.digests and (announced is None or encoded):
        raise Refused(
            "neither length nor hash is known, so a truncated file could not be recognised"
        )
    return announced


def record(url: str, found: Fetched, destination: Path) -> None:
    """Record for later runs, in the folder of the destination, the file that was found."""
    facts = {"url": url, "bytes": found.bytes, "sha256": found.sha256, "checked": found.checked}
    root.publish_bytes(_beside(destination, ".json"), json.dumps(facts, indent=2).encode())


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:16]


def _by_hand(destination: Path) -> str:
    return (
        f"fetch it elsewhere and give it to `fad-onnx pull` with --from, or put it at {destination}"
    )


def _again(partial: Partial) -> str:
    kept = f"the {partial.size} bytes that arrived are kept" if partial.size else "nothing arrived"
    return f"run again ({kept}), or {_by_hand(partial.final)}"
