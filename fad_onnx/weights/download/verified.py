"""A checkpoint file, compared with its published size and digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol
from urllib.parse import quote, unquote, urlsplit

from ...cache import root
from ...cache.filesystem import guarded
from ...errors import CheckpointError, ChecksumError

# The kinds of published digests; see networks.network.DIGESTS.
Checked = Literal["sha256", "sha256_prefix", "md5", "git_blob_sha1", "none"]


class PublishedFile(Protocol):
    """The published facts about a file; None where unknown."""

    @property
    def file(self) -> str: ...
    @property
    def url(self) -> str: ...
    @property
    def bytes(self) -> int | None: ...
    @property
    def digests(self) -> Mapping[str, str]: ...


@dataclass(frozen=True)
class Fetched:
    """A file with its SHA-256, its size, and the digest with which it was compared."""

    path: Path
    sha256: str
    bytes: int
    checked: Checked


def local_files(name: str, folders: Iterable[Path] = ()) -> list[Path]:
    """Files of this name in the folders and in torch.hub's cache, unverified.

    frechet_audio_distance 0.3.4, fad.py 92-121, keeps downloads of torch.hub in `checkpoints` of
    its ckpt_dir or in torch.hub's cache, and its own (PANN, CLAP) in the folder above.
    """
    hub = torch_hub_folder()
    places = [place for folder in folders for place in (Path(folder), Path(folder) / "checkpoints")]
    places += [hub, hub.parent] if hub else []
    # torch.hub names a file by the last part of its URL, escapes and all.
    names = dict.fromkeys((Path(name).name, quote(Path(name).name)))
    found = (Path(place) / each for place in places for each in names)
    return [path for path in found if os.path.isfile(path)]


def torch_hub_folder() -> Path | None:
    """The folder of torch.hub.load_state_dict_from_url; None without a home folder."""
    home = _expanded(os.environ.get("TORCH_HOME") or f"{_cache_home()}/torch")
    return home and home / "hub" / "checkpoints"


def tools_files(source: PublishedFile) -> list[Path]:
    """Unverified files of this name in the caches of other tools: panns_inference, and all that use
    the Hugging Face hub.
    """
    panns = _expanded(f"~/panns_data/{source.file}")
    found = [panns] if panns else []
    parts = urlsplit(source.url).path.split("/")
    # huggingface.co/OWNER/NAME/resolve/REVISION/FILE
    if urlsplit(source.url).hostname == "huggingface.co" and parts[3:4] == ["resolve"]:
        hub = _hugging_face_folder()
        kept = hub and hub / f"models--{parts[1]}--{parts[2]}" / "snapshots"
        revisions = sorted(kept.glob("*"), key=lambda one: one.name != parts[4]) if kept else []
        found += [revision.joinpath(*map(unquote, parts[5:])) for revision in revisions]
    return [path for path in found if os.path.isfile(path)]


def _hugging_face_folder() -> Path | None:
    """The cache folder of the hub, found as in huggingface_hub.constants."""
    named = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if named:
        return _expanded(named)
    home = _expanded(os.environ.get("HF_HOME") or f"{_cache_home()}/huggingface")
    return home and home / "hub"


def _cache_home() -> str:
    return os.environ.get("XDG_CACHE_HOME") or "~/.cache"


def _expanded(text: str) -> Path | None:
    """The path with `~` expanded; None without a home folder."""
    try:
        return Path(os.path.expandvars(text)).expanduser()
    except RuntimeError:
        return None


def verify(
    source: PublishedFile,
    path: Path,
    done: str = "the file was left as it is",
    digest: str | None = None,
) -> Fetched:
    """Compare size and hash with the published ones; ChecksumError ends with `done`."""
    with guarded(path, CheckpointError):
        size = path.stat().st_size
    check_size(source, path, size, done)
    digest = digest or root.file_sha256(path)
    return Fetched(path, digest, size, check(source, path, digest, done, path))


def check_size(
    source: PublishedFile, path: Path, size: int, done: str = "the file was left as it is"
) -> None:
    """CheckpointError if the published size is another one."""
    if source.bytes is not None and size != source.bytes:
        raise CheckpointError(path, f"{size} bytes, published with {source.bytes}; {done}")


def check(source: PublishedFile, path: Path, sha256: str, done: str, data: Path) -> Checked:
    """The kind of published digest that matches; ChecksumError if one differs.

    `sha256` is that of the file; `data` is its path, which is read if no SHA-256 is published.
    """
    published = source.digests
    if expected := published.get("sha256"):
        _compare("sha256", expected, sha256, path, done)
        return "sha256"
    checked: Checked = "none"
    if prefix := published.get("sha256_prefix"):
        _compare("sha256_prefix", prefix, sha256, path, done)
        checked = "sha256_prefix"
    if expected := published.get("md5"):
        _compare("md5", expected, _digest(data, "md5"), path, done)
        checked = "md5"
    if expected := published.get("git_blob_sha1"):
        head = f"blob {data.stat().st_size}\0".encode()
        _compare("git_blob_sha1", expected, _digest(data, "sha1", head), path, done)
        checked = "git_blob_sha1"
    return checked


def _compare(kind: str, expected: str, got: str, path: Path, done: str) -> None:
    # Only SHA-256 is ever published in part.
    if not got.startswith(expected):
        raise ChecksumError(path, expected, got, done, kind)


def _digest(path: Path, name: str, head: bytes = b"") -> str:
    """The digest of `head` and the file, by the algorithm of the publisher, even a weak one."""
    begun = hashlib.new(name, head, usedforsecurity=False)
    with guarded(path, CheckpointError), open(path, "rb") as file:
        return hashlib.file_digest(file, lambda: begun).hexdigest()
