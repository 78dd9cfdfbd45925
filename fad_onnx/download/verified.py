"""A checkpoint at hand, compared with what is published about it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote

from .. import store
from ..disk import guarded
from ..errors import CheckpointError, ChecksumError

Checked = Literal["sha256", "prefix", "none"]


class Source(Protocol):
    """What is published about a file; None where it is not known."""

    @property
    def file(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def bytes(self) -> int | None: ...
    @property
    def sha256(self) -> str | None: ...
    @property
    def sha256_prefix(self) -> str | None: ...


@dataclass(frozen=True)
class Fetched:
    """A file at hand: its SHA-256, its size, and against what the hash was checked."""

    path: Path
    sha256: str
    bytes: int
    checked: Checked


def local_files(name: str, folders: Iterable[Path] = ()) -> list[Path]:
    """Files of this name in the folders and in torch.hub's cache, unverified.

    frechet_audio_distance 0.3.4, fad.py 92-121, keeps what torch.hub.load_state_dict_from_url
    fetches in `checkpoints` of its ckpt_dir or torch.hub's cache, and what it fetches by itself
    (PANN, CLAP) beside that folder.
    """
    hub = torch_hub_folder()
    places = [place for folder in folders for place in (Path(folder), Path(folder) / "checkpoints")]
    places += [hub, hub.parent]
    # torch.hub names a file by the last part of its URL, escapes and all.
    names = dict.fromkeys((Path(name).name, quote(Path(name).name)))
    found = (Path(place) / each for place in places for each in names)
    return [path for path in found if path.is_file()]


def torch_hub_folder() -> Path:
    """Where torch.hub.load_state_dict_from_url keeps checkpoints."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
    home = Path(os.environ.get("TORCH_HOME") or cache / "torch").expanduser()
    return home / "hub" / "checkpoints"


def verify(
    source: Source, path: Path, done: str = "the file was left as it is", digest: str | None = None
) -> Fetched:
    """Compare size and hash with what is published; ChecksumError says what was `done`."""
    with guarded(path, CheckpointError):
        size = path.stat().st_size
    check_size(source, path, size, done)
    digest = digest or store.file_sha256(path)
    return Fetched(path, digest, size, check(source, path, digest, done))


def check_size(
    source: Source, path: Path, size: int, done: str = "the file was left as it is"
) -> None:
    """CheckpointError if a file of this size is not the published one."""
    if source.bytes is not None and size != source.bytes:
        raise CheckpointError(path, f"{size} bytes, published with {source.bytes}; {done}")


def check(source: Source, path: Path, digest: str, done: str) -> Checked:
    """Against what this hash could be checked; ChecksumError if it is another."""
    if source.sha256:
        if digest != source.sha256.lower():
            raise ChecksumError(path, source.sha256, digest, done)
        return "sha256"
    if source.sha256_prefix:
        if not digest.startswith(source.sha256_prefix.lower()):
            raise ChecksumError(path, f"{source.sha256_prefix}...", digest, done)
        return "prefix"
    return "none"
