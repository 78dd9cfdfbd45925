"""Options that would be ignored: an error that names them and what they need, with exit code 2."""

import pickle

import pytest

import fad_onnx
from fad_onnx.cli import main
from fad_onnx.errors import NoEffectError
from fad_onnx.metrics import registry
from fad_onnx.networks.runtime import Settings

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
