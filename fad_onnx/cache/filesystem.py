"""File system helpers for all writers: errors in plain words, free space, ownership."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from ..errors import CacheError, FadError, OptionError

if sys.platform != "win32":
    import fcntl

SHARED_VARIABLE = "FAD_ONNX_SHARED"
TRUE = ("1", "true", "yes", "on")
# Bytes to leave free after a file is written, for the file system and other programs.
SPARE_BYTES = 1 << 24

Failure = Callable[[Path, str], FadError]


def reason(error: OSError, path: Path) -> str:
    """The reason of an error of the operating system, in words that suggest the remedy."""
    if error.errno in (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)):
        return f"the disk (or your quota on it) is full, {megabytes(free_bytes(path))} are free"
    if error.errno == errno.EROFS:
        return "is on a read-only file system"
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be read or written by this user (permission denied)"
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return "a file stands where a folder is needed, or the other way round"
    return (error.strerror or str(error)).lower()


@contextmanager
def guarded(path: Path, failure: Failure = CacheError) -> Iterator[None]:
    """Turn the operating system's errors into `failure(path, reason)`; FadErrors pass."""
    try:
        yield
    except FadError:
        raise
    except OSError as error:
        raise failure(_named(error, path), reason(error, path)) from error


def _named(error: OSError, path: Path) -> Path:
    """The path to report: that of the error, unless it is a temporary file next to `path`."""
    own = Path(os.fsdecode(error.filename)) if isinstance(error.filename, str | bytes) else path
    return path if path.parent in own.parents else own


def check_readable(folder: Path) -> Path:
    """Return the folder, which may not exist yet; CacheError if it is a file or not readable."""
    with guarded(folder):
        try:
            mode = folder.stat().st_mode
        except FileNotFoundError:
            return folder
        if not stat.S_ISDIR(mode):
            raise CacheError(folder, "is not a folder")
        with os.scandir(folder):
            return folder


def switched_on(variable: str) -> bool:
    """Whether an environment variable is 1; OptionError if it is neither 1 nor 0."""
    value = os.environ.get(variable, "").strip().lower()
    if value not in ("", "0", "false", "no", "off", *TRUE):
        raise OptionError(variable, f"{value!r} is neither 1 nor 0")
    return value in TRUE


def check_trusted(folder: Path) -> Path:
    """The folder; CacheError if anyone but this user, root and their group may change its contents.

    Whoever may write to the cache determines the numbers that are read from it. FAD_ONNX_SHARED=1
    trusts them. Folders without owner and mode (Windows) are not checked.
    """
    if sys.platform == "win32" or switched_on(SHARED_VARIABLE):
        return folder
    with guarded(folder):
        try:
            found = folder.stat()
        except FileNotFoundError:
            return folder
    problem = None
    if found.st_uid not in (os.geteuid(), 0):
        problem = f"belongs to another user ({found.st_uid}), who may change what is in it"
    elif found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        problem = f"everybody may write to it (mode {stat.S_IMODE(found.st_mode):o})"
    if problem:
        remedy = f"if you trust all who may write to it, set {SHARED_VARIABLE}=1"
        raise CacheError(folder, f"{problem}; {remedy}")
    return folder


def free_bytes(path: Path) -> int:
    """Free bytes for this user on the disk of the path, which may not exist yet."""
    for folder in (path, *path.parents):
        if folder.is_dir():
            return shutil.disk_usage(folder).free
    return 0


def require_room(path: Path, needed_bytes: int, failure: Failure = CacheError) -> None:
    """Raise `failure` unless `needed_bytes` and a reserve fit on the disk of the path."""
    with guarded(path, failure):
        free = free_bytes(path)
    if free < needed_bytes + SPARE_BYTES:
        raise failure(path, f"{megabytes(needed_bytes)} are needed, {megabytes(free)} are free")


def megabytes(count: int) -> str:
    """A number of bytes as text."""
    return f"{count / 1e6:.1f} MB"


def make_folder(folder: Path, failure: Failure = CacheError) -> Path:
    """The folder, created with its parents if necessary."""
    with guarded(folder, failure):
        if failure is CacheError:
            make_cache_folder(folder)
        else:
            folder.mkdir(parents=True, exist_ok=True)
    return folder


def make_cache_folder(folder: Path) -> None:
    """Create a folder with its parents, never writable for everyone, whatever the umask:
    such a cache would not be trusted the next time.
    """
    try:
        folder.mkdir(0o775, exist_ok=True)
    except FileNotFoundError:
        if folder.parent == folder:
            raise
        make_cache_folder(folder.parent)
        folder.mkdir(0o775, exist_ok=True)


def write_all(descriptor: int, data: bytes | memoryview) -> None:
    """Repeat os.write until all is written; it may write less, such as near a full disk."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def hold(descriptor: int, wait: bool = False) -> bool | None:
    """Take the exclusive lock of an open file, which is released with the descriptor.

    True: taken. False: another process has it. None: the file system has no locks.
    """
    if sys.platform == "win32":
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except BlockingIOError:
        return False
    except OSError:
        # Lustre and some FUSE drives have no flock; NFS refuses it for folders.
        return None
    return True


def keep_owner(descriptor: int, replaced: Path) -> None:
    """Give an open file the mode and owner of the file that it will replace, if any."""
    if sys.platform == "win32" or not replaced.exists():
        return
    old = os.stat(replaced)
    # Only root may change owners, and some drives store neither owner nor mode.
    with suppress(PermissionError):
        os.fchown(descriptor, old.st_uid, old.st_gid)
    with suppress(PermissionError):
        os.fchmod(descriptor, old.st_mode & 0o777)


def sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a power cut, where the system supports it."""
    if sys.platform == "win32":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        # Some network drives cannot fsync a folder; the rename is atomic in any case.
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
