"""Output files appear whole or not at all; anything but a regular file is written to in place.

Devices, pipes and open descriptors (`/dev/stdout`, `/dev/fd/N`) are written to and never replaced.
Links are followed to their targets. A regular file is replaced by a single rename if its folder
allows it, and otherwise overwritten.
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
from .descriptors import is_stream, opened, own_descriptor

PathLike = str | os.PathLike[str]
Writer = Callable[[BinaryIO], object]

# A read-only folder, another user's file in a sticky folder, a file that is a mount point.
_NO_RENAME = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY})


def write(path: PathLike, writer: Writer) -> Path:
    """Let `writer` fill the output at this path.

    Parameters
    ----------
    path : path
        A file, which is created or replaced (missing folders are created), or anything else that
        can be written to: a device, a pipe, a descriptor such as `/dev/stdout`, or a link to one.
    writer : callable
        Called with a seekable binary file. Nothing changes if it raises or the disk is full.

    Returns
    -------
    Path
        The absolute path.

    Raises
    ------
    OutputError
        If it cannot be written. Errors of `writer` are passed on.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write(f"{folder}/number.txt", lambda out: out.write(b"1.25")).name
    'number.txt'
    """
    path = Path(path).absolute()
    with guarded(path, OutputError):
        if is_stream(path):
            with _spooled(writer) as content, opened(path) as out:
                _copy(content, out)
        else:
            _replace(Path(os.path.realpath(path)), writer)
    return path


def write_bytes(path: PathLike, data: bytes) -> Path:
    """Write these bytes; see `write`."""
    return write(path, lambda out: out.write(data))


def append(path: PathLike, added: Callable[[bytes], bytes]) -> None:
    """Add to the end of an output: everything, or nothing if the disk is full.

    Processes that append to the same file wait for each other.

    Parameters
    ----------
    path : path
        See `write`.
    added : callable
        Called with the present contents of the file (empty for a device or a pipe); returns the
        bytes to add.

    Raises
    ------
    OutputError
        If it cannot be written. Errors of `added` are passed on.
    """
    path = Path(path).absolute()
    with guarded(path, OutputError):
        if is_stream(path):
            with opened(path) as out:
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
    """The present contents of an output; OutputError if they cannot be read."""
    with guarded(Path(path), OutputError):
        try:
            return b"" if is_stream(path) else Path(path).read_bytes()
        except FileNotFoundError:
            return b""


def workspace(path: PathLike) -> Path | None:
    """The folder for temporary files of this output: its own if writable, else None, which
    `tempfile` takes as the default folder.
    """
    folder = Path(os.path.realpath(path)).parent
    there = not is_stream(path) and os.access(folder, os.W_OK | os.X_OK)
    return folder if there else None


def check(outputs: Sequence[PathLike], inputs: Iterable[PathLike] = ()) -> None:
    """Refuse outputs that cannot be written, before any work is done.

    Parameters
    ----------
    outputs : paths
        All outputs of one call.
    inputs : paths
        All inputs of the call.

    Raises
    ------
    OutputError
        For a folder, a file without write permission, a file that is given for two outputs or is
        already open as a standard stream, and a file that is one of the inputs.
    """
    for path in outputs:
        with guarded(Path(path), OutputError):
            _check_writable(os.fspath(path))
    for first, second in combinations(outputs, 2):
        if _same(first, second):
            raise OutputError(second, "it is given for two outputs")
    for path in outputs:
        if os.path.isfile(path) and any(_is_of(path, given) for given in inputs):
            raise OutputError(path, "it is one of the inputs")


@contextmanager
def _spooled(writer: Writer) -> Iterator[BinaryIO]:
    """The complete output of the writer, in a temporary file."""
    with tempfile.TemporaryFile(prefix="fad-onnx-") as content:
        writer(content)
        yield content


def _copy(content: BinaryIO, descriptor: int, start: int = 0, end: int | None = None) -> None:
    content.seek(start)
    while block := content.read(1 << 20 if end is None else min(1 << 20, end - content.tell())):
        write_all(descriptor, block)


def _replace(target: Path, writer: Writer) -> None:
    """Write a regular file or create a new one, by a rename where possible."""
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
    """Write beyond the old end first: if the disk is full, the old bytes survive."""
    with opened(target) as out:
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
    """Truncate a regular file to its old size if the block raises."""
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
        if own_descriptor(path) is not None:
            raise OutputError(path, "it is not open") from None
        return _check_folder(Path(os.path.realpath(path)).parent)
    if own_descriptor(path) is not None:
        return None
    if stat.S_ISSOCK(mode):
        raise OutputError(path, "it is a socket")
    if not os.access(path, os.W_OK):
        raise OutputError(path, "you have no permission to write to it")
    if stat.S_ISREG(mode):
        for descriptor, stream in ((1, "output"), (2, "errors")):
            if _is_open_as(descriptor, path):
                raise OutputError(path, f"it is already open as the standard {stream}")
    return None


def _check_folder(folder: Path) -> None:
    there = next(one for one in (folder, *folder.parents) if one.exists())
    if not there.is_dir():
        raise OutputError(there, "it is a file, and a folder is needed")
    if not os.access(there, os.W_OK | os.X_OK):
        raise OutputError(there, "you have no permission to write to this folder")


def _is_open_as(descriptor: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except OSError:
        # The stream is closed, as in a program without a console.
        return False


def _same(first: PathLike, second: PathLike) -> bool:
    """Whether both are the same regular file, existing or not; a descriptor can take several."""
    if own_descriptor(first) is not None and own_descriptor(second) is not None:
        return False
    if os.path.exists(first) and os.path.exists(second):
        return os.path.isfile(first) and os.path.samefile(first, second)
    names = {os.path.normcase(os.path.realpath(path)) for path in (first, second)}
    return len(names) == 1


def _is_of(path: PathLike, given: PathLike) -> bool:
    """Whether a file is the given one, or a clip in the given folder."""
    if not os.path.exists(given):
        return False
    if not os.path.isdir(given):
        return os.path.samefile(path, given)
    target, folder = Path(os.path.realpath(path)), Path(os.path.realpath(given))
    return target.suffix.lower() in SUFFIXES and folder in target.parents
