"""Protocols: what a published harness prepares otherwise, by name, in labels and in results."""

import json
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest

from fad_onnx.api.measure import Against, Wanted, protocol_of
from fad_onnx.cli import commands, main
from fad_onnx.cli.parser import build
from fad_onnx.errors import ModelTableError, OptionError
from fad_onnx.metrics import registry
from fad_onnx.networks import synthetic, table
from fad_onnx.networks.preparation import Preparation, Windows
from fad_onnx.networks.selection import select
from fad_onnx.networks.windows import Windower
from fad_onnx.pipeline.options import RunOptions
from fad_onnx.pipeline.run import Run

from . import report_factory
from .conftest import write_clip

EVERY = [(one.name, name) for one in table.models().values() for name in one.protocols]


@pytest.mark.parametrize(("model", "protocol"), EVERY)
def test_a_protocol_is_in_the_label_and_moves_the_fingerprint(model, protocol):
    native, changed = select(model), select(f"{model}:protocol={protocol}")
    assert native.protocol == "native" and changed.protocol == protocol
    assert changed.label == f"{model}:protocol={protocol}"
    assert changed.fingerprint("0" * 64) != native.fingerprint("0" * 64)
    assert changed.preparation != native.preparation
    assert changed.note and changed.note != native.note


def test_every_model_of_a_protocol_is_compared_or_has_a_reason():
    held = json.loads((Path(__file__).parents[1] / "benchmarks/protocols.json").read_text("utf-8"))
    compared = {(row["model"], row["protocol"]) for row in held["rows"]}
    reasons = {(name, one["protocol"]) for one in held["not_compared"] for name in one["models"]}
    assert compared | reasons >= set(EVERY)
    assert not reasons & compared and reasons <= set(EVERY)


def test_native_is_a_protocol_and_the_default():
    assert select("vggish:protocol=native") == select("vggish")


def test_a_model_that_a_protocol_does_not_define_is_an_error_with_those_it_does():
    with pytest.raises(OptionError, match=r"logmel is not defined by it, but vggish, .*clap"):
        select("logmel:protocol=gudgud96")
    with pytest.raises(OptionError, match="one of native, gudgud96, fadtk"):
        select("vggish:protocol=fadkt")


def test_a_call_has_one_protocol_for_the_models_that_name_none():
    run = Run(["vggish", "pann-16k:protocol=kadtk"], RunOptions(protocol="gudgud96"))
    labels = [selection.label for selection in run.selections]
    assert labels == ["vggish:protocol=gudgud96", "pann-16k:protocol=kadtk"]
    with pytest.raises(OptionError, match="protocol"):
        RunOptions(protocol=1)


@pytest.mark.parametrize("given", [["-m", "logmel", "--protocol", "fadtk"],
                                   ["-m", "logmel:protocol=fadtk"]])  # fmt: skip
def test_the_command_takes_a_protocol(given, tmp_path, capsys):
    write_clip(tmp_path / "a.wav", 0, 1.0)
    assert main(["score", str(tmp_path), str(tmp_path), *given]) != 0
    assert "logmel is not defined by it, but vggish" in capsys.readouterr().err


def test_a_protocol_chooses_an_output_where_the_user_names_none():
    made = select("whisper-tiny:protocol=fadtk")
    assert made.output_name == made.output.tensor == "decoder"
    assert made == select(made.label)
    named = select("whisper-tiny:output=encoder,protocol=fadtk")
    assert named.output_name == "encoder" and named == select(named.label) != made
    assert select("whisper-tiny").output_name == "encoder"


def test_an_output_that_the_network_lacks_is_an_error_of_the_table():
    text = json.loads((table.PACKAGE.parent / "artifacts.json").read_text("utf-8"))
    text["protocols"]["odd"] = {"summary": "", "models": {"vggish": {"output": "decoder"}}}
    with pytest.raises(ModelTableError, match=r"odd\.models\.vggish\.output.*'decoder'"):
        table.parse(json.dumps(text))


def test_an_option_that_is_given_decides_over_the_protocol():
    made = select("clap:crop=random,protocol=gudgud96").preparation
    assert made.windows.long == "random" and made.resampler == "resampy_kaiser_best"


@pytest.mark.parametrize(
    ("text", "path", "native"),
    [
        ("mert-95m:pooling=frames,protocol=kadtk", "pooling.over", "frames"),
        ("hubert-base:normalise=true,protocol=odd", "frontend.normalise", True),
        ("openl3-music:hop=0.5,protocol=odd", "windows.hop_samples", 24_000),
    ],
)
def test_an_option_that_is_given_its_default_decides_over_the_protocol(
    text, path, native, monkeypatch
):
    _add_a_protocol(
        monkeypatch,
        {
            "hubert-base": {"preparation.frontend.normalise": False},
            "openl3-music": {"preparation.windows.hop_samples": 2_400},
        },
    )
    field, made = attrgetter(path), select(text)
    plain = select(f"{made.model.name}:protocol={made.protocol}")
    assert field(made.preparation) == field(select(made.model.name).preparation) == native
    assert field(plain.preparation) != native
    assert made.label == text and select(made.label) == made
    assert made.fingerprint("0" * 64) != plain.fingerprint("0" * 64)
    assert list(plain.changed_options) == [] != list(made.changed_options)


def test_an_option_that_is_given_as_the_protocol_has_it_is_not_in_the_label():
    assert select("mert-95m:pooling=frames,protocol=fadtk") == select("mert-95m:protocol=fadtk")
    assert select("mert-95m:pooling=frames") == select("mert-95m")


def _add_a_protocol(monkeypatch, models):
    text = json.loads((table.PACKAGE.parent / "artifacts.json").read_text("utf-8"))
    text["protocols"]["odd"] = {"summary": "", "models": models}
    made = table.parse(json.dumps(text))
    monkeypatch.setattr(table, "models", lambda: made)


def test_a_protocol_of_an_unknown_model_or_field_is_an_error_of_the_table():
    text = json.loads((table.PACKAGE.parent / "artifacts.json").read_text("utf-8"))
    for models, place in (({"x": {}}, "models.x"), ({"vggish": {"preparation.x": 1}}, "vggish")):
        text["protocols"]["odd"] = {"summary": "", "models": models}
        with pytest.raises(ModelTableError, match=f"protocols.odd.*{place}"):
            table.parse(json.dumps(text))


PROTOCOLS = {
    name: one for entry in table.models().values() for name, one in entry.protocols.items()
}
DEFINED = [(name, metric) for name, one in PROTOCOLS.items() for metric in one.metrics]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_protocol_has_metrics(protocol):
    assert table.protocol(protocol).metrics
    assert table.protocol(protocol) is PROTOCOLS[protocol]


@pytest.mark.parametrize(("protocol", "metric"), DEFINED)
def test_a_definition_is_of_a_metric_with_options_that_it_has(protocol, metric):
    definition, known = PROTOCOLS[protocol].metrics[metric], registry.metric(metric)
    assert known.chosen(definition.options).items() >= definition.options.items()
    for name in definition.models:
        assert known.needs.output in ("embedding", *table.model(name).network.outputs)
    assert PROTOCOLS[protocol].options_of(metric) == definition.options


def test_a_metric_that_a_protocol_does_not_define_has_our_options():
    assert table.protocol("gudgud96").options_of("kad") == {}


def test_an_unknown_protocol_is_an_error_with_the_known_ones():
    with pytest.raises(OptionError, match="one of native, gudgud96, fadtk"):
        table.protocol("fadkt")


@pytest.mark.parametrize(
    ("protocol", "given", "used"),
    [
        ("native", {}, "reference"),
        ("kadtk", {}, "evaluation"),
        ("kadtk", {"kad_bandwidth": "reference"}, "reference"),
        ("fadtk", {"kad_bandwidth": "evaluation"}, "evaluation"),
    ],
)
def test_a_metric_follows_the_protocol_of_its_datasets(protocol, given, used, tmp_path):
    files = report_factory.clip_files(tmp_path, ["a.wav", "b.wav"])
    made = {"extra": {"label": f"vggish:protocol={protocol}"}}
    one, other = (report_factory.audio_set(str(i), files, seed=i, **made) for i in range(2))
    wanted = Wanted(kad=True, **given)
    against = Against(one, wanted.metrics, wanted.options, protocol_of(other, one))
    assert against.values(other)["kad"].fields["kad_bandwidth"] == used


def test_pann_by_numbers_has_no_other_output():
    one = select("pann-16k:protocol=gudgud96")
    assert one.width == 1 and one.output.width == 2048
    with pytest.raises(OptionError, match="does not have the output logits of pann-16k"):
        select("pann-16k:protocol=gudgud96,output=logits")
    assert select("pann-16k:protocol=av-benchmark,output=logits").width == 527


@pytest.mark.parametrize(("given", "used"), [([], {}), (["--kad-bandwidth", "reference"],
                                             {"kad_bandwidth": "reference"})])  # fmt: skip
def test_a_flag_that_is_not_given_leaves_the_option_to_the_protocol(given, used):
    options = build().parse_args(["score", "a", "b", "--kad", "--protocol", "kadtk", *given])
    assert commands._wanted(options).options == used


def test_definitions_of_models_that_a_protocol_lacks_are_an_error_of_the_table():
    text = json.loads((table.PACKAGE.parent / "artifacts.json").read_text("utf-8"))
    text["protocols"]["odd"] = {"summary": "", "models": {}, "metrics": {"fad": {"models": ["x"]}}}
    with pytest.raises(
        ModelTableError, match=r"protocols.odd.metrics.fad.models.*'x' is not a model"
    ):
        table.parse(json.dumps(text))


def test_a_longer_clip_is_cut_to_the_maximum():
    windower = Windower(Preparation(16000, maximum_samples=1000), None, "error")
    clip = synthetic.clip(1, 1500, 1)
    (window,) = windower.push(clip[:, :700]) + windower.push(clip[:, 700:], last=True)
    np.testing.assert_array_equal(window.samples, clip[:, :1000])


@pytest.mark.parametrize(
    ("samples", "valid"),
    [
        (30, [30, 20, 10]),
        (100, [100, *range(90, 0, -10)]),
        (125, [100, 100, 100, *range(95, 0, -10)]),
    ],
)
def test_windows_go_on_to_the_end_of_the_clip(samples, valid):
    windows = Windows("windows", length_samples=100, hop_samples=10, tail="pad_every")
    windower = Windower(Preparation(16000, windows=windows), None, "error")
    clip = synthetic.clip(1, samples, 1)
    found = windower.push(clip[:, :50]) + windower.push(clip[:, 50:], last=True)
    assert [window.valid_samples for window in found] == valid
    for i, window in enumerate(found):
        wanted = np.zeros((1, 100), np.float32)
        wanted[:, : valid[i]] = clip[:, 10 * i : 10 * i + 100]
        np.testing.assert_array_equal(window.samples, wanted)


@pytest.mark.parametrize("samples", [1, 4800, 255_999, 256_000, 256_001, 400_000])
def test_passt_of_av_benchmark_is_8_s_filled_with_zeros_to_10_s(samples):
    """av_bench/extract.py: cut to audio_length, then padded to 320,000 samples."""
    windower = Windower(select("passt:protocol=av-benchmark").preparation, None, "error")
    clip = synthetic.clip(2, samples)
    (window,) = windower.push(clip[:, :100_000]) + windower.push(clip[:, 100_000:], last=True)
    own = clip[0, :256_000]
    np.testing.assert_array_equal(window.samples[0], np.pad(own, (0, 320_000 - len(own))))


@pytest.mark.parametrize(
    "samples",
    [4801, 48_000, 48_001, 160_000, 160_001, 320_000, 320_001, 480_000, 480_001, 1_000_000],
)
def test_passt_of_stable_audio_metrics_has_windows_every_5_s(samples):
    """src/passt_kld.py: starts up to 5 s before the end, each window filled with zeros to 10 s,
    but for a clip of up to 1.5 s.
    """
    windower = Windower(select("passt:protocol=stable-audio-metrics").preparation, None, "error")
    clip = synthetic.clip(3, samples)
    found = windower.push(clip[:, :40_000]) + windower.push(clip[:, 40_000:], last=True)
    starts = range(0, max(160_000, samples - 160_000), 160_000)
    assert len(found) == len(starts)
    for window, start in zip(found, starts, strict=True):
        own = clip[0, start : start + 320_000]
        fill = 320_000 - len(own) if len(own) > 48_000 else 0
        np.testing.assert_array_equal(window.samples[0], np.pad(own, (0, fill)))


@pytest.mark.parametrize("seconds", [10, 20, 30])
@pytest.mark.parametrize("rest", [0, 1, 4800, 4801, 160_000])
@pytest.mark.parametrize("whole", [0, 1, 2])
def test_passt_of_audiocraft_has_segments(seconds, rest, whole):
    """metrics/kld.py, _process_audio: torch.split, and none of up to 0.15 s; nothing is filled."""
    model = "passt" if seconds == 10 else f"passt-{seconds}s"
    preparation = select(f"{model}:protocol=audiocraft,output=logits").preparation
    longest = 32_000 * seconds
    if (samples := whole * longest + rest) < 4801:
        return
    clip = synthetic.clip(3, samples)
    windower = Windower(preparation, None, "error")
    found = windower.push(clip[:, :40_000]) + windower.push(clip[:, 40_000:], last=True)
    parts = [clip[0, start : start + longest] for start in range(0, samples, longest)]
    parts = [part for part in parts if len(part) > 4800]
    assert len(found) == len(parts)
    for window, part in zip(found, parts, strict=True):
        np.testing.assert_array_equal(window.samples[0], part)


@pytest.mark.parametrize("seconds", [20, 30])
def test_passt_of_kadtk_has_windows_of_10_s_with_every_table(seconds):
    """kadtk 1.1.0, model_loader.py 824, PaSSTModel: the wrapper is that of the model of 10 s."""
    preparation = select(f"passt-{seconds}s:protocol=kadtk").preparation
    windower = Windower(preparation, None, "pad")
    clip = synthetic.clip(4, 200_000)
    found = windower.push(clip, last=True)
    whole = np.pad(clip[0], (0, 32_000 * seconds - 200_000))
    around = np.pad(whole, 160_000, mode="reflect")
    assert len(found) == {20: 9, 30: 13}[seconds]
    for i, window in enumerate(found):
        np.testing.assert_array_equal(window.samples[0], around[80_000 * i :][:320_000])


def test_passt_of_kadtk_is_logits_and_embedding():
    both = select("passt:protocol=kadtk")
    assert both.output.values == ("logits", "embedding")
    assert both.width == 1295 and both == select(both.label)
    assert select("passt:protocol=kadtk,output=embedding").width == 768


@pytest.mark.parametrize("name", ["fadtk", "dcase2024"])
def test_fad_infinity_of_fadtk_draws_single_embeddings(name):
    definition = table.protocol(name).metrics["fad-inf"]
    assert definition.options == {"inf_draw": "embeddings"}
