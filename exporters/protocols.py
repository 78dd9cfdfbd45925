"""The table of protocols: our numbers and the harness' own, from the same clips and weights."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import harnesses
from .harnesses import Compared, clips

CLIPS = (
    f"{clips.CLIPS} and {clips.CLIPS} synthetic clips, or the first of them,"
    f" {clips.RATE_HZ / 1000:g} kHz stereo of {clips.SECONDS[0]:g} to {max(clips.LONG.values()):g}"
    " s, with offsets and peaks near full scale; synthetic weights"
)

TIMES = "the same network as {} in another size, and the same preparation"
SAME = "the same network and preparation as {}"
FORK = "its code is fadtk's, line for line, but for PANN and a check of the length of clips"
DAC = (
    "hours of computation; what its loader makes of single clips is compared by"
    " tests/parity/test_dac.py"
)
# For each protocol, the models without a figure.
NOT_COMPARED: Mapping[str, Mapping[tuple[str, ...], str]] = {
    "gudgud96": {
        ("clap-630k",): SAME.format("`clap`"),
        ("clap-music-speech", "clap-music-speech-audioset"): SAME.format("`clap-music-audioset`"),
        ("clap-630k-fusion",): SAME.format("`clap-630k-audioset-fusion`"),
    },
    "fadtk": {
        ("cdpam-acoustic", "cdpam-content"): (
            "its code for CDPAM needs NumPy below 1.24; its published scores, with official"
            " weights, are repeated by tests/parity/test_cdpam.py"
        ),
        ("dac-44k",): DAC,
        ("wav2vec2-large-960h",): TIMES.format("`wav2vec2-base-960h`"),
        ("whisper-base", "whisper-small", "whisper-medium", "whisper-large"): TIMES.format(
            "`whisper-tiny`"
        ),
    },
    "kadtk": {
        ("cdpam-acoustic", "cdpam-content"): "its code for CDPAM needs NumPy below 1.24",
        ("dac-44k",): DAC,
        ("wav2vec2-large-960h",): TIMES.format("`wav2vec2-base-960h`"),
        ("whisper-base", "whisper-small", "whisper-medium", "whisper-large"): TIMES.format(
            "`whisper-tiny`"
        ),
        ("openl3-env",): SAME.format("`openl3-music`"),
        ("passt-20s", "passt-30s"): (
            "9 and 13 windows a clip; what its loader makes of single clips is compared by"
            " tests/parity/test_passt.py"
        ),
    },
    "dcase2024": {
        (
            "dac-44k", "mert-95m", "wav2vec2-base-960h", "wav2vec2-large-960h", "hubert-base",
            "cdpam-acoustic", "cdpam-content", "whisper-tiny", "whisper-base", "whisper-small",
            "whisper-medium", "whisper-large", "msclap-2023", "clap", "clap-music-audioset",
            "encodec-24k", "encodec-48k",
        ): FORK,
    },
    "audiocraft": {("passt-20s", "passt-30s"): TIMES.format("`passt`")},
    "stable-audio-metrics": {
        ("openl3-env",): SAME.format("`openl3-music`"),
    },
}  # fmt: skip


def rows(names: Sequence[str], wanted: int | None = None) -> Iterator[dict[str, Any]]:
    """Compute the rows of some protocols.

    Parameters
    ----------
    names : sequence of str
        PROTOCOL or PROTOCOL/MODEL; all if it is empty. "native" has no harness.
    wanted : int, optional
        The number of clips on each side, if not all.

    Yields
    ------
    dict
        `protocol`, `model`, `metric`, `ours`, `theirs` (None for "native"), `difference` and
        `clips`, the number on each side.
    """
    known = list(harnesses.cases())
    every = [*known, *(("native", model) for model in dict.fromkeys(model for _, model in known))]
    chosen = [case for case in every if not names or {case[0], "/".join(case)} & set(names)]
    with tempfile.TemporaryDirectory() as folder:
        written: dict[int, tuple[Path, Path]] = {}
        for protocol, model in chosen:
            if (count := wanted or clips.count(model)) not in written:
                (Path(folder) / str(count)).mkdir()
                written[count] = clips.write(Path(folder) / str(count), count)
            folders = written[count]
            if protocol == "native":
                yield {**_native(model, folders), "clips": count}
            else:
                for one in harnesses.compared(protocol, model, folders):
                    yield _row(one, count)


def _row(one: Compared, count: int) -> dict[str, Any]:
    return {**asdict(one), "difference": one.difference, "clips": count}


def _native(model: str, folders: tuple[Path, Path]) -> dict[str, Any]:
    tensors = harnesses.checkpoint(model, 0)
    found = harnesses.scored("native", model, tensors, folders, ["fad"])
    return {
        "protocol": "native", "model": model, "metric": "fad", "ours": found["fad"],
        "theirs": None, "difference": None,
    }  # fmt: skip


def _key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["protocol"], row["model"], row["metric"]


def merged(path: Path, found: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The content of the file, in which these rows replace its own for the same numbers.

    Parameters
    ----------
    path : Path
        benchmarks/protocols.json; need not exist.
    found : sequence of dict
        What `rows` gave.

    Returns
    -------
    dict
        `clips` describes the clips, `rows` are in the order of protocols and models, and
        `not_compared` gives the models without a figure and the reasons.
    """
    held = json.loads(path.read_text("utf-8"))["rows"] if path.exists() else []
    keyed = {_key(row): row for row in (*held, *found)}
    every = [keyed[key] for key in sorted(keyed)]
    left_out = [
        {"protocol": protocol, "models": list(models), "why": why}
        for protocol, groups in NOT_COMPARED.items()
        for models, why in groups.items()
    ]
    return {"clips": CLIPS, "rows": every, "not_compared": left_out}
