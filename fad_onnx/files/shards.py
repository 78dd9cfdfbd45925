"""Shards of a dataset: cut from its list of files, recognised, and merged."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from ..audio.sources import AudioFile, Listing, left_out
from ..errors import OptionError, StatisticsError
from ..pipeline.datasets import Dataset
from ..pipeline.metadata import Metadata, Shard
from ..pipeline.provenance import RECORDED, together

COUNTS = (
    "files", "embeddings", "seconds", "files_skipped", "files_padded", "files_below_rate",
    "files_loud", "files_silent",
)  # fmt: skip


def cut(files: Sequence[AudioFile], part: str) -> Listing:
    """Part I of N, written "I/N", I from 1: a contiguous run, so that parts merge in order.

    With more parts than files, some are empty. The first part records the files that were left out.
    Raises OptionError.
    """
    i, n = _parsed(part)
    own = files[(i - 1) * len(files) // n : i * len(files) // n]
    return Listing(own, left_out(files) if i == 1 else "")


def _parsed(part: str) -> tuple[int, int]:
    index, _, count = part.partition("/")
    if not (index.isdecimal() and count.isdecimal() and 1 <= int(index) <= int(count)):
        raise OptionError("shard", f"{part!r} is not I/N with I from 1 to N")
    return int(index), int(count)


def part_of(listed: Sequence[str], files: Sequence[AudioFile], part: str) -> Shard:
    """The record of a part: its index, the number of parts, and a hash of the list of files.

    Files are identified by their names within the dataset, and the dataset by its own name, because
    its path may differ between machines.
    """
    index, count = _parsed(part)
    names = [*(os.path.basename(os.path.abspath(path)) for path in listed)]
    text = "\0".join([*names, *(file.name for file in files)])
    digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()
    return Shard(index, count, digest)


def check(parts: Sequence[Dataset]) -> None:
    """StatisticsError unless all parts of every list are there, each once."""
    held: dict[tuple[str, int], dict[int, Dataset]] = {}
    for one in parts:
        said = one.metadata.shard
        if not said:
            continue
        own = held.setdefault((said.list_sha256, said.of), {})
        if said.part in own:
            where = f"part {said.part} of {said.of}, as is {own[said.part].path}"
            raise StatisticsError(one.path, f"{where}; merge every part once")
        own[said.part] = one
    for (_, count), own in held.items():
        if len(own) < count:
            missing = (str(part) for part in range(1, count + 1) if part not in own)
            some = " ".join(islice(missing, 20)) + (" ..." if count - len(own) > 20 else "")
            first = next(iter(own.values()))
            raise StatisticsError(
                first.path, f"only {len(own)} of its {count} parts are given, missing: {some};"
                " merge all in one call (all must have been made of the same list of files)",
            )  # fmt: skip


def merged_metadata(parts: Sequence[Dataset]) -> Metadata:
    """The metadata of the whole: counts are added, and differing values are kept as lists."""
    every = [part.metadata for part in parts]
    lowest = [one.lowest_source_hz for one in every if one.lowest_source_hz]
    largest = [one.largest_file for one in every if one.largest_file]
    loudest = [one.loudest_file for one in every if one.loudest_file]
    counts: dict[str, Any] = {key: sum(getattr(one, key) or 0 for one in every) for key in COUNTS}
    return replace(
        every[0],
        **counts,
        protocol=_protocol([one.protocol for one in every]),
        weights=together([one.weights for one in every if one.weights]) or {},
        name=_published([one.name for one in every]),
        licence=_published([one.licence for one in every]),
        lowest_source_hz=min(lowest, default=None),
        largest_file=max(largest, key=lambda one: one.embeddings, default=None),
        loudest_file=max(loudest, key=lambda one: one.peak, default=None),
        left_out="; ".join(filter(None, (one.left_out for one in every))),
        shard=None,
        file_seconds=None,
    )


def _protocol(every: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    if not any(every):
        return {}
    recorded = {key: together([one.get(key) for one in every]) for key in RECORDED}
    return {**every[0], **{key: value for key, value in recorded.items() if value is not None}}


def _published(values: Sequence[str | None]) -> str | None:
    """The common name or licence of all parts; several are joined, and a missing one is named."""
    distinct = dict.fromkeys(values)
    if not any(distinct):
        return None
    return "; ".join(value or "not recorded" for value in distinct)
