"""The cache folder: where it is, locks, and files that appear whole or not at all.

Everything is written into the folder of its final place, under a name that begins with
`.fad-onnx-tmp-`, flushed to the disk, and renamed once. Leftovers of killed processes are
removed by the next publication into the same folder, if they are old enough and not locked.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import filelock
import platformdirs

from ..errors import CacheError, CheckpointError
from .embeddings.hashes import FileHashes
from .filesystem import (
    Failure,
    check_readable,
    check_trusted,
    guarded,
    hold,
    keep_owner,
    make_folder,
    require_room,
    sync_folder,
)

logger = logging.getLogger("fad_onnx")

HOME_VARIABLE = "FAD_ONNX_HOME"
# Outputs go to folders of the user, where only files that are certainly ours may be removed.
TEMPORARY = ".fad-onnx-tmp-"
# A leftover without a lock is removed after an hour; on file systems without locks (some network
# drives), after a week.
LEFTOVER_SECONDS = 3600.0
UNKNOWN_SECONDS = 7 * 86400.0


def root() -> Path:
    """The cache folder: FAD_ONNX_HOME, or the platform's user cache. Not created here.

    Raises CacheError if there is no home folder to put it in, if it cannot be read, or if
    others may write to it (see filesystem.check_trusted).
    """
    named = os.environ.get(HOME_VARIABLE)
    try:
        folder = Path(named or platformdirs.user_cache_dir("fad-onnx", appauthor=False))
        folder = folder.expanduser().absolute()
    except RuntimeError as error:
        raise CacheError(named or "the cache", "there is no home folder to put it in") from error
    return check_trusted(check_readable(folder))


def part(name: str) -> Path:
    """A folder in the cache folder, with the same checks. Not created here."""
    return check_trusted(root() / name)


@contextmanager
def locked(name: str) -> Iterator[None]:
    """Hold the lock of this name against all other processes and threads.

    The lock is released when its process ends, for any reason. Not re-entrant. Waits, with a
    warning, while another process holds it. Raises CacheError if the cache cannot be written.
    """
    folder = make_folder(part("locks"))
    path = folder / f"{_plain(name)}.lock"
    lock = _acquire(path, name)
    try:
        yield
    finally:
        lock.release()


@contextmanager
def held(names: Iterable[str]) -> Iterator[bool]:
    """Hold the locks of these names if all are free now; yield whether they were."""
    folder = make_folder(part("locks"))
    free = True
    with ExitStack() as taken:
        with guarded(folder):
            try:
                for name in sorted(set(names)):
                    lock = filelock.FileLock(folder / f"{_plain(name)}.lock")
                    taken.enter_context(lock.acquire(timeout=0))
            except filelock.Timeout:
                free = False
        yield free


def _acquire(path: Path, name: str) -> filelock.BaseFileLock:
    lock: filelock.BaseFileLock = filelock.FileLock(path)
    with guarded(path):
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout:
            logger.warning("waiting for another process that works on %s", name)
            lock.acquire()
        except NotImplementedError:
            # Older filelock on a drive without flock; newer releases fall back by themselves.
            lock = filelock.SoftFileLock(path)
            lock.acquire()
    return lock


def _plain(name: str) -> str:
    """The name as a file name; unusual or long names get a hash."""
    if re.fullmatch(r"[A-Za-z0-9_.=-]{1,100}", name):
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:16]
    return re.sub(r"[^A-Za-z0-9_.=-]", "_", name)[:60] + "-" + digest


def publish_file(
    final: Path,
    writer: Callable[[BinaryIO], object],
    failure: Failure = CacheError,
    rename: Callable[[Path, Path], object] | None = None,
) -> Path:
    """Let `writer` fill a file and give it its final name by one rename. A file that it replaces
    passes on its mode and owner.

    If `writer` raises, nothing changes. `rename` is used instead of os.replace. Errors of the
    operating system become `failure(path, reason)`.
    """
    final = final.absolute()
    make_folder(final.parent, failure)
    with guarded(final, failure):
        sweep(final.parent)
        temporary = _temporary(final)
        descriptor = os.open(
            temporary, os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            with os.fdopen(descriptor, "w+b") as out:
                hold(descriptor)
                keep_owner(descriptor, final)
                writer(out)
                out.flush()
                os.fsync(descriptor)
            (rename or os.replace)(temporary, final)
        except BaseException:  # an interrupt too must not leave half a file
            with suppress(FileNotFoundError):
                temporary.unlink()
            raise
        sync_folder(final.parent)
    return final


def publish_bytes(final: Path, data: bytes, failure: Failure = CacheError) -> Path:
    """`publish_file` for bytes."""
    return publish_file(final, lambda out: out.write(data), failure)


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in a note of the cache; {} if it is missing or damaged.

    Nothing depends on these notes. Raises CacheError if it cannot be read.
    """
    with guarded(path):
        try:
            found = json.loads(path.read_bytes())
        except (FileNotFoundError, ValueError, RecursionError):
            return {}
    return found if isinstance(found, dict) else {}


def publish_folder(
    final: Path,
    writer: Callable[[Path], object],
    failure: Failure = CacheError,
    needed_bytes: int = 0,
) -> Path:
    """Let `writer` fill an empty folder and give it its final name by one rename.

    An existing folder of that name stays as it is: names in the cache contain hashes, so the work
    of a second writer is equal and can be dropped. If `writer` raises, no folder appears.
    """
    final = final.absolute()
    make_folder(final.parent, failure)
    require_room(final.parent, needed_bytes, failure)
    with guarded(final, failure):
        sweep(final.parent)
        temporary = _temporary(final)
        temporary.mkdir()
        descriptor = _open_folder(temporary)
        try:
            if descriptor is not None:
                hold(descriptor)
            writer(temporary)
            _sync_tree(temporary)
            _rename_folder(temporary, final)
        finally:
            if descriptor is not None:
                os.close(descriptor)
            shutil.rmtree(temporary, ignore_errors=True)
        sync_folder(final.parent)
    return final


def _rename_folder(temporary: Path, final: Path) -> None:
    try:
        os.rename(temporary, final)
    except OSError:
        # ENOTEMPTY, EEXIST or EACCES by platform; all that matters is whether it exists now.
        if not final.is_dir():
            raise


def _temporary(final: Path) -> Path:
    return final.with_name(f"{TEMPORARY}{os.getpid()}-{secrets.token_hex(6)}")


def _open_folder(folder: Path) -> int | None:
    """A descriptor whose lock stops `sweep` while the folder is filled; None on Windows."""
    return None if os.name == "nt" else os.open(folder, os.O_RDONLY)


def _sync_tree(folder: Path) -> None:
    for parent, _, names in os.walk(folder):
        for name in names:
            with open(os.path.join(parent, name), "rb+") as file:
                os.fsync(file.fileno())
        sync_folder(Path(parent))


def sweep(folder: Path, now: float | None = None) -> list[Path]:
    """Remove half-written leftovers of killed processes; return the removed paths."""
    removed = []
    for path in folder.glob(f"{TEMPORARY}*"):
        if _abandoned(path, time.time() if now is None else now):
            logger.info("removing %s, left behind by an earlier run", path)
            # Another process may remove it at the same time, and Windows keeps open files.
            with suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            removed.append(path)
    return removed


def _abandoned(path: Path, now: float) -> bool:
    """Whether no process works on the file or folder: it is old, and its lock is free."""
    try:
        age = now - _newest(path)
        if age < LEFTOVER_SECONDS:
            return False
        descriptor = _open_folder(path) if path.is_dir() else os.open(path, os.O_RDWR)
    except OSError:
        # It is gone, or belongs to another user.
        return False
    free = None
    if descriptor is not None:
        free = hold(descriptor)
        os.close(descriptor)
    return free is True or (free is None and age > UNKNOWN_SECONDS)


def _newest(path: Path) -> float:
    inside = path.rglob("*") if path.is_dir() else ()
    return max(float(entry.stat().st_mtime) for entry in (path, *inside))


def file_sha256(path: Path, failure: Failure = CheckpointError) -> str:
    """SHA-256 of a file in hexadecimal, remembered in the cache until the file changes.

    Raises `failure(path, reason)` if the file cannot be read. A cache that cannot be read or
    written only costs time.
    """
    with FileHashes(part("hashes")) as hashes:
        return hashes.sha256(path, failure)
