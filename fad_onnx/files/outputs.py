"""Where results go: files that appear whole or not at all; what is no regular file stays as it is.

Devices, pipes and open descriptors (`/dev/stdout`, `/dev/fd/N`) are written to and never replaced,
links are followed to their targets, and a regular file is replaced by one rename where its folder
allows that, else written over.
"""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import combinations
from pathlib import Path
from typing import BinaryIO

from ..audio.sources import SUFFIXES
from ..cache import root
from ..cache.filesystem import guarded, hold, make_folder, write_all
from ..errors import OutputError

PathLike = str | os.PathLike[str]
Writer = Callable[[BinaryIO], object]

# A folder that takes no new file, another user's file in a sticky one, a file that is a mount.
_NO_RENAME = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})


def write(path: PathLike, writer: Writer) -> Path:
    """Let `writer` fill the output at this path.

    Parameters
    ----------
    path : path
        A file, which is made or replaced (missing folders are made), or anything that can be
        written to: a device, a pipe, a descriptor as `/dev/stdout`, a link to one of these.
    writer : callable
        Is handed a binary file that can seek. Nothing changes if it raises or the disk is full.

    Returns
    -------
    Path
        The absolute path.

    Raises
    ------
    OutputError
        If it cannot be written; whatever `writer` raises passes.

    Examples
    --------
    >>> write("number.txt", lambda out: out.write(b"1.25"))  # doctest: +SKIP
    """
    path = Path(path).absolute()
    with guarded(path, OutputError):
        if _is_stream(path):
            with _spooled(writer) as content, _opened(path) as out:
                _copy(content, out)
        else:
            _replace(Path(os.path.realpath(path)), writer)
    return path


def write_bytes(path: PathLike, data: bytes) -> Path:
    """`write` for bytes at hand."""
    return write(path, lambda out: out.write(data))


def append(path: PathLike, added: Callable[[bytes], bytes]) -> None:
    """Add to the end of an output; a file that cannot take it all takes nothing.

    Processes that add to one file wait for each other.

    Parameters
    ----------
    path : path
        As of `write`.
    added : callable
        What to add, for the bytes that the file holds; a device or pipe holds none.

    Raises
    ------
    OutputError
        If it cannot be written; whatever `added` raises passes.
    """
    path = Path(path).absolute()
    with guarded(path, OutputError):
        if _is_stream(path):
            with _opened(path) as out:
                write_all(out, added(b""))
            return
        make_folder(Path(os.path.realpath(path)).parent, OutputError)
        with open(path, "a+b") as file:
            hold(file.fileno(), wait=True)
            file.seek(0)
            before = file.read()
            with _cut_back(file.fileno(), len(before)):
                write_all(file.fileno(), added(before))


def held(path: PathLike) -> bytes:
    """What `append` would add to; OutputError if it cannot be read."""
    with guarded(Path(path), OutputError):
        try:
            return b"" if _is_stream(path) else Path(path).read_bytes()
        except FileNotFoundError:
            return b""


def workspace(path: PathLike) -> Path | None:
    """Where to keep what is on its way to this output: its folder if that takes files, else None
    (what `tempfile` takes).
    """
    folder = Path(os.path.realpath(path)).parent
    there = not _is_stream(path) and os.access(folder, os.W_OK | os.X_OK)
    return folder if there else None


def check(outputs: Sequence[PathLike], inputs: Iterable[PathLike] = ()) -> None:
    """Refuse, before the work, outputs that cannot be written after it.

    Parameters
    ----------
    outputs : paths
        All outputs of one call.
    inputs : paths
        All that the call reads.

    Raises
    ------
    OutputError
        For a folder, for what this user may not write, for one file that is to hold two outputs
        or what goes to a standard stream, and for a file that is one of the inputs.
    """
    for path in outputs:
        with guarded(Path(path), OutputError):
            _check_writable(os.fspath(path))
    for first, second in combinations(outputs, 2):
        if _same(first, second):
            raise OutputError(second, "another output of this call goes there too")
    for path in outputs:
        if os.path.isfile(path) and any(_is_of(path, given) for given in inputs):
            raise OutputError(path, "it is one of the inputs")


def _is_stream(path: PathLike) -> bool:
    """Whether it is a descriptor, or there and no regular file."""
    try:
        regular = stat.S_ISREG(os.stat(path).st_mode)  # also finds links that lead in a circle
    except FileNotFoundError:
        regular = True
    return not regular or _descriptor(path) is not None


def _descriptor(path: PathLike) -> int | None:
    """The descriptor of this process that the path names, as /dev/stdout and links to it do.

    Opening the path would not do: sockets cannot be opened, and a file would be written from its
    start.
    """
    owned = {os.path.realpath(folder) for folder in ("/dev/fd", "/proc/self/fd")}
    text = os.path.abspath(path)
    while True:
        folder, name = os.path.split(text)
        if os.path.realpath(folder) in owned and name.isdecimal():
            return int(name)
        if not os.path.islink(text):
            return None
        text = os.path.join(folder, os.readlink(text))


@contextmanager
def _opened(path: Path, flags: int = 0) -> Iterator[int]:
    """A descriptor to write to what is there; without O_CREAT nothing is made or emptied."""
    own = _descriptor(path)
    flags |= os.O_WRONLY | getattr(os, "O_NOCTTY", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags, 0o666) if own is None else os.dup(own)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def _spooled(writer: Writer) -> Iterator[BinaryIO]:
    """What the writer writes, whole before any of it goes on."""
    with tempfile.TemporaryFile(prefix="fad-onnx-") as content:
        writer(content)
        yield content


def _copy(content: BinaryIO, descriptor: int, start: int = 0, end: int | None = None) -> None:
    content.seek(start)
    while block := content.read(1 << 20 if end is None else min(1 << 20, end - content.tell())):
        write_all(descriptor, block)


def _replace(target: Path, writer: Writer) -> None:
    """A regular file, or what is not there yet: by a rename if there can be one."""
    make_folder(target.parent, OutputError)
    if target.exists() and not os.access(target.parent, os.W_OK | os.X_OK):
        with _spooled(writer) as content:
            _write_over(content, target)
    else:
        root.publish_file(target, writer, OutputError, _rename)


def _rename(made: Path, target: Path) -> None:
    try:
        os.replace(made, target)
    except OSError as error:
        if error.errno not in _NO_RENAME or not os.access(target, os.W_OK):
            raise
        with open(made, "rb") as content:
            _write_over(content, target)
        made.unlink()


def _write_over(content: BinaryIO, target: Path) -> None:
    """First what lies beyond the old end: if the disk is full, the old bytes are still there."""
    with _opened(target) as out:
        old, size = os.fstat(out).st_size, content.seek(0, os.SEEK_END)
        os.lseek(out, old, os.SEEK_SET)
        with _cut_back(out, old):
            _copy(content, out, old)
        os.lseek(out, 0, os.SEEK_SET)
        _copy(content, out, 0, min(old, size))
        os.ftruncate(out, size)
        os.fsync(out)


@contextmanager
def _cut_back(descriptor: int, size: int) -> Iterator[None]:
    """What was added to a regular file is taken away again if not all of it could be."""
    try:
        yield
    except BaseException:  # an interrupt too must not leave half a line
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            os.ftruncate(descriptor, size)
        raise


def _check_writable(path: str) -> None:
    if not path or path.endswith(("/", os.sep)) or os.path.isdir(path):
        raise OutputError(path, "it is a folder" if path else "it has no name")
    try:
        mode = os.stat(path).st_mode
    except (FileNotFoundError, NotADirectoryError):
        if _descriptor(path) is not None:
            raise OutputError(path, "it is not open") from None
        return _check_folder(Path(os.path.realpath(path)).parent)
    if _descriptor(path) is not None:
        return None
    if stat.S_ISSOCK(mode):
        raise OutputError(path, "it is a socket")
    if not os.access(path, os.W_OK):
        raise OutputError(path, "this user may not write it")
    if stat.S_ISREG(mode):
        for descriptor, stream in ((1, "output"), (2, "errors")):
            if _is_open_as(descriptor, path):
                raise OutputError(path, f"the standard {stream} goes there too")
    return None


def _check_folder(folder: Path) -> None:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise OutputError(there, "a file stands where a folder is needed")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(there, "this user may not write into this folder")


def _is_open_as(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        # Closed, as in a windowed program.
        return False


def _same(first: PathLike, second: PathLike) -> bool:
    """Whether both are one regular file, made already or not; a descriptor takes one by one."""
    if _descriptor(first) is not None and _descriptor(second) is not None:
        return False
    if os.path.exists(first) and os.path.exists(second):
        return os.path.isfile(first) and os.path.samefile(first, second)
    names = {os.path.normcase(os.path.realpath(path)) for path in (first, second)}
    return len(names) == 1


def _is_of(path: PathLike, given: PathLike) -> bool:
    """Whether a file is what is given, or a clip in the folder that is given."""
    if not os.path.exists(given):
        return False
    if not os.path.isdir(given):
        return os.path.samefile(path, given)
    target, folder = Path(os.path.realpath(path)), Path(os.path.realpath(given))
    return target.suffix.lower() in SUFFIXES and folder in target.parents
