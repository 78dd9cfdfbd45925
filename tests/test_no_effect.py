"""Options that would be ignored: an error that names them and what they need, with exit code 2."""

import pickle
from dataclasses import replace

import pytest

import fad_onnx
from fad_onnx.cli import main
from fad_onnx.errors import IncompatibleStatisticsError, NoEffectError, OptionError
from fad_onnx.metrics import registry
from fad_onnx.networks import table
from fad_onnx.networks.protocols import Protocol
from fad_onnx.networks.runtime import Settings

from . import toy
from .conftest import write_clip
from .kit import WEIGHTLESS


def other_value(option):
    """A value that is not the default."""
    return next(one for one in (*option.choices, 1) if one != option.default)


def unchosen():
    """(option, its flags) of every option of `score` that FAD alone does not have."""
    own = registry.options([registry.metric(registry.FIRST)])
    for keyword, option in registry.options(registry.switches().values()).items():
        if keyword not in own:
            having = [key for key, one in registry.switches().items() if option in one.options]
            yield pytest.param(option, having, id=keyword)


def usage_error(capsys, *arguments):
    """The message of a command that must end with exit code 2 and one line."""
    capsys.readouterr()
    assert main([str(one) for one in arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith("fad-onnx: ") and len(error.splitlines()) == 1
    return error


def test_there_are_such_options():
    assert {case.id for case in unchosen()} >= {"inf_draw", "seed", "kad_bandwidth"}


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
@pytest.mark.parametrize(("option", "switches"), list(unchosen()))
def test_an_option_of_score_without_its_metric(option, switches, more, clips, capsys):
    flags = " or ".join(f"--{switch}" for switch in switches)
    for value in (option.default, other_value(option)):
        line = ("score", clips, clips, "-m", WEIGHTLESS, option.flag, value, *more)
        assert f"{option.flag}: has no effect without {flags}" in usage_error(capsys, *line)
        assert main([*map(str, line), f"--{switches[0]}", "-q"]) == 0


@pytest.mark.parametrize(("option", "switches"), list(unchosen()))
def test_in_python_it_names_the_parameters(option, switches):
    value = other_value(option)
    with pytest.raises(NoEffectError, match=f"^{option.keyword}: has no effect without ") as caught:
        fad_onnx.Wanted(**{option.keyword: value})
    assert caught.value.others == tuple(switches)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    for switch in switches:
        assert fad_onnx.Wanted(**{option.keyword: value, switch: True}).options


@pytest.mark.large
def test_a_report_computes_what_its_options_are_of(clips, tmp_path):
    pytest.importorskip("matplotlib")
    line = ("score", clips, clips, "-m", WEIGHTLESS, "--seed", 3, "--inf-draw", "embeddings", "-q",
            "--report", tmp_path / "r.html")  # fmt: skip
    assert main([str(one) for one in line]) == 0


@pytest.mark.parametrize("more", [(), ("--dry-run",)])
def test_an_option_of_evaluate_without_its_metric(clips, capsys, more):
    line = ("evaluate", clips, "--reference", clips, "-m", WEIGHTLESS, *more)
    for option in registry.options(registry.metrics().values()).values():
        having = [one.name for one in registry.metrics().values()
                  if option.keyword in registry.options([one])]  # fmt: skip
        if registry.FIRST not in having:
            error = usage_error(capsys, *line, f"{option.flag}={other_value(option)}")
            needed = " or ".join(f"--metric {name}" for name in having)
            assert f"{option.flag}: has no effect without {needed}" in error


@pytest.mark.parametrize(("flags", "said"), [
    (("--no-cache", "--cache-dir", "d"), "--cache-dir: has no effect with --no-cache"),
    (("--provider", "cpu", "--device", 1), "--device: has no effect with --provider cpu"),
    (("--provider", "cpu", "--gpu-memory-mb", 9), "--gpu-memory-mb: has no effect with --provider"),
    (("--key", "k"), "--key: has no effect without an .npz of statistics"),
])  # fmt: skip
def test_flags_of_a_run_that_rule_each_other_out(flags, said, clips, capsys):
    assert said in usage_error(capsys, "score", clips, clips, "-m", WEIGHTLESS, *flags)
    line = ("evaluate", clips, "--reference", clips, "-m", WEIGHTLESS)
    assert said in usage_error(capsys, *line, *flags)


def test_settings_of_cards_go_with_providers_that_take_them():
    for provider in ("auto", "cuda"):
        assert Settings(provider, device=1, memory_limit_mb=9)
    assert Settings("tensorrt", device=1) and Settings("cpu")
    with pytest.raises(NoEffectError, match="^memory_limit_mb: has no effect with provider=tens"):
        Settings("tensorrt", memory_limit_mb=9)
    with pytest.raises(NoEffectError, match="^cache_dir: has no effect with cache=False$"):
        fad_onnx.score(".", ".", cache=False, cache_dir="d")


def test_flags_of_the_other_commands(capsys, tmp_path):
    for flag in ("--audio", "--statistics"):
        error = usage_error(capsys, "verify", WEIGHTLESS, flag, "x")
        assert f"{flag}: has no effect without --published" in error
    line = ("cache", "clear", "--cache-dir", tmp_path)
    assert "--only, --cache-dir: " in usage_error(capsys, *line, "--only", "models")
    assert main([*map(str, line), "--only", "embeddings"]) == 0


@pytest.fixture
def toys(monkeypatch, tmp_path):
    """Two files of the model "toy", whose embeddings are of clips, or "native" ones of frames."""
    folder = tmp_path / "graphs"
    folder.mkdir()
    harness = Protocol("harness", "a harness", {"toy": {"preparation.level_before": ["remove_dc"]}})
    toy.install(monkeypatch, folder)
    every = table.models()
    every["toy"] = replace(every["toy"], protocols={"harness": harness})
    monkeypatch.setattr(table, "models", lambda: every)
    monkeypatch.setattr(table, "protocol", lambda name: harness)
    for name in ("a", "b"):
        for index in range(3):
            write_clip(tmp_path / name / f"{index}.wav", ord(name) + index, 2)
        for kind in ("pooling=clip", "pooling=frames", "protocol=harness"):
            made = tmp_path / f"{name}-{kind}.npz"
            fad_onnx.embed(tmp_path / name, f"toy:output=frames,{kind}", output=made, cache=False)
    return lambda kind: [tmp_path / f"{name}-{kind}.npz" for name in ("a", "b")]


@pytest.mark.parametrize(("kind", "fitting", "other"), [
    ("pooling=clip", ("pooling=clip",), ("pooling=seconds", "pooling=frames", "protocol=harness")),
    ("pooling=frames", ("pooling=frames", "protocol=native"), ("pooling=clip", "protocol=harness")),
    ("protocol=harness", ("protocol=harness",), ("protocol=native",)),
])  # fmt: skip
def test_files_that_were_made_with_other_options(toys, kind, fitting, other):
    sides = toys(kind)
    expected = float(fad_onnx.score(*sides))
    for given in fitting:
        assert float(fad_onnx.score(*sides, f"toy:{given}")) == expected
        assert [*fad_onnx.evaluate(*sides[::-1], f"fad:toy:{given}").to_dict().values()] == [
            expected
        ]
    for given in other:
        said = f"-m toy:{given}.* do not mix: it was made with toy:"
        with pytest.raises(IncompatibleStatisticsError, match=said):
            fad_onnx.score(*sides, f"toy:{given}")
        with pytest.raises(IncompatibleStatisticsError, match=said.replace(given, f".*{given}")):
            fad_onnx.evaluate(*sides[::-1], f"fad:toy:output=frames,{given}")
        if given.startswith("protocol"):
            with pytest.raises(IncompatibleStatisticsError, match="it was made with toy:"):
                fad_onnx.evaluate(*sides[::-1], "fad", protocol=given.partition("=")[2])


def test_weights_of_a_model_that_nothing_runs(toys):
    with pytest.raises(OptionError, match="^weights: all datasets are made already; nothing is"):
        fad_onnx.evaluate(*toys("pooling=clip"), "fad", weights="w.pth")


def test_a_reference_that_no_metric_needs_is_said_and_not_embedded(toys, tmp_path, monkeypatch):
    model = table.model("toy")
    outputs = {**model.network.outputs, "logits": model.network.outputs["frames"]}
    network = replace(model.network, outputs=outputs)
    every = {**table.models(), "toy": replace(model, network=network)}
    monkeypatch.setattr(table, "models", lambda: every)
    given = {"metric_options": {"isc_splits": 2}, "cache": False}
    alone = fad_onnx.evaluate(tmp_path / "a", None, "isc:toy", **given)
    # An unreadable reference shows that nobody reads it.
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "x.wav").write_bytes(b"RIFF")
    found = fad_onnx.evaluate(tmp_path / "a", tmp_path / "damaged", "isc:toy", **given)
    assert found.to_dict() == alone.to_dict()
    assert [text for text in found.warnings if "the reference is not used" in text]
    assert not [text for text in alone.warnings if "the reference is not used" in text]
