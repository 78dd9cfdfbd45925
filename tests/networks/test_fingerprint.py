"""Fingerprints never change for the same numbers: published statistics depend on them."""

import json
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import ClassVar

import pytest

from fad_onnx.networks import selection, table, version_1
from fad_onnx.networks.preparation import Preparation, Samples, SamplesAndStft, Stft
from fad_onnx.networks.schema import canonical, from_json
from fad_onnx.networks.selection import select

# Written once for each model and never again: python -m tests.networks.test_fingerprint adds
# those of new models.
GOLDEN = Path(__file__).with_name("fingerprints.json")
KNOWN = json.loads(GOLDEN.read_text("utf-8"))
TENSORS = "0" * 64


@pytest.mark.parametrize("label", KNOWN["version 2"])
def test_golden_fingerprints(label):
    assert select(label).fingerprint(TENSORS) == KNOWN["version 2"][label]


def test_every_model_has_a_golden_fingerprint():
    assert set(KNOWN["version 2"]) >= set(table.models())


@pytest.mark.parametrize("label", KNOWN["version 1"])
def test_fingerprints_of_version_1_can_still_be_made(label):
    assert version_1.fingerprint(select(label), TENSORS) == KNOWN["version 1"][label]


def all_fingerprints():
    return {label: select(label).fingerprint(TENSORS) for label in KNOWN["version 2"]}


def test_they_tell_models_options_outputs_and_tensors_apart():
    found = all_fingerprints()
    # Models that differ by nothing but their official file are told apart by the tensors.
    assert len(set(found.values())) == len(found)
    assert select("clap").fingerprint("1" * 64) != found["clap"]
    one = select("vggish")
    assert one.decoding("int16").fingerprint(TENSORS) != found["vggish"]


def test_a_new_field_with_a_default_moves_nothing():
    """A field of a front end that is null for all of today's, and one with a default."""
    fields = [
        ("dither", float | None, field(default=None)),
        ("lifter", str, field(default="none")),
    ]
    newer = make_dataclass("Newer", fields, bases=(Stft,), frozen=True)
    frontend = select("vggish").preparation.frontend
    same = newer(
        **{name: getattr(frontend, name) for name in Stft.__dataclass_fields__ if name != "kind"}
    )
    assert canonical(same) == canonical(frontend)
    assert canonical(newer(1, 1, 1, dither=0.5))["dither"] == 0.5


def test_a_new_option_with_its_default_moves_nothing(monkeypatch):
    data = json.loads((table.PACKAGE.parent / "artifacts.json").read_text("utf-8"))
    data["models"]["vggish"]["options"]["hop"] = {
        "help": "a new one", "default": "15360", "sets": "preparation.windows.hop_samples",
        "values": ["15360", "7680"],
    }  # fmt: skip
    models = table.parse(json.dumps(data))
    monkeypatch.setattr(selection, "model", lambda name=None: models[name or "vggish"])
    assert all_fingerprints() == KNOWN["version 2"]
    assert select("vggish:hop=7680").fingerprint(TENSORS) not in KNOWN["version 2"].values()


def test_a_new_kind_of_front_end_moves_nothing():
    @dataclass(frozen=True)
    class Cepstrum:
        kind: ClassVar[str] = "cepstrum"
        coefficients: int

    wider = make_dataclass(
        "Wider",
        [("frontend", Samples | Stft | SamplesAndStft | Cepstrum, field(default_factory=Samples))],
        bases=(Preparation,), frozen=True,
    )  # fmt: skip
    for model in table.models().values():
        written = canonical(model.preparation)
        assert canonical(from_json(wider, written, "test")) == written
    made = from_json(
        wider, {"sample_rate_hz": 1, "frontend": {"kind": "cepstrum", "coefficients": 13}}, "test"
    )
    assert canonical(made)["frontend"] == {"kind": "cepstrum", "coefficients": 13}


if __name__ == "__main__":
    KNOWN["version 2"] = {**{name: select(name).fingerprint(TENSORS) for name in table.models()},
                          **KNOWN["version 2"]}  # fmt: skip
    GOLDEN.write_text(json.dumps(KNOWN, indent=1) + "\n", "utf-8")
