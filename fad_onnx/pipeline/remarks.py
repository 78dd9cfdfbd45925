"""Warnings about a dataset, derived from its metadata."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..audio.decoding import LOUD
from ..errors import shown
from . import provenance
from .metadata import Loudest, Metadata


def warnings(name: str, said: Metadata) -> tuple[str, ...]:
    """The warnings about a dataset, whether it was made now or read from a file."""
    count, files = said.embeddings or 0, said.files or 0
    largest, rate = said.largest_file, said.sample_rate_hz
    found = []
    if shard := said.shard:
        found.append(f"part {shard.part} of {shard.of} only: merge all of them")
    if not said.fingerprint:
        found.append("nothing in it says how it was made")
    if several := provenance.mixed(said.protocol):
        found.append(f"its parts were made differently: {'; '.join(several)}")
    if files > 1 and largest and largest.embeddings > count / 2:
        found.append(f"{shown(largest.name)} holds {largest.embeddings} of {count} embeddings")
    if padded := said.files_padded:
        found.append(f"{padded} of {files} clips were short and padded with silence")
    if skipped := said.files_skipped:
        found.append(f"{skipped} of {files + skipped} files were skipped")
    if omitted := said.left_out:
        found.append(
            f"left out {omitted}; to include audio of them, convert it to wav or flac,"
            " or name the folders"
        )
    if silent := said.files_silent:
        found.append(
            f"{silent} of {files} files are silent, or their channels cancel where they are mixed"
        )
    if loud := said.files_loud:
        loudest = said.loudest_file or Loudest("?", LOUD)
        found.append(
            f"{loud} of {files} files have samples beyond {LOUD:g}, up to {loudest.peak:.6g} in"
            f" {shown(loudest.name)}: floats are read as they are, and full scale is 1; divide"
            " what was int16 by 32768"
        )
    if low := said.files_below_rate:
        lowest = said.lowest_source_hz or 0
        found.append(
            f"{low} of {files} files are sampled below the model's {rate} Hz (down to"
            f" {lowest} Hz): nothing is above {lowest / 2:.0f} Hz in them"
        )
    found += _unvouched(said.weights)
    return tuple(f"{name}: {text}" for text in found)


def _unvouched(weights: Mapping[str, Any]) -> list[str]:
    """Warnings about official checkpoints for which nobody publishes a SHA-256."""
    facts = [one for one in weights.values() if isinstance(one, dict)]
    return [
        f"whether {provenance.text(one.get('file'))} is the official file was not checked: nobody"
        f" publishes a hash of it (it has sha256 {provenance.text(one.get('sha256'))})"
        for one in facts
        if "none" in provenance.several(one.get("checked"))
    ]
