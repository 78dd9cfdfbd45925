"""Every graph of the release against golden answers of the reference implementation."""

import json

import numpy as np
import pytest

from fad_onnx.cli import main
from fad_onnx.networks import table
from fad_onnx.networks.selection import text_tower, variants
from fad_onnx.networks.spec import ModelSpec
from fad_onnx.tools import known_answers
from fad_onnx.weights import binding

from . import kit


def cost(network):
    """The tier of a network's golden answers: synthetic weights of up to 0.5 GB are "large"."""
    if not network.checkpoints:
        return []
    huge = kit.is_huge(binding.GRAPHS / network.graph)
    return [pytest.mark.slow if huge else pytest.mark.large]


MODELS = [pytest.param(name, marks=cost(model.network)) for name, model in table.models().items()]


@pytest.mark.parametrize("name", MODELS)
def test_golden_rows(name):
    model = table.model(name)
    checks = list(known_answers.verify(model))
    assert len(checks) == len(variants(model))
    for check in checks:
        assert check.passed and check.error < known_answers.TOLERANCE, check


TOWERS = {tower.graph: model for model in table.models().values() if (tower := text_tower(model))}


@pytest.mark.large
@pytest.mark.parametrize("graph", TOWERS)
def test_golden_captions(graph):
    """Each graph once, however many models share it."""
    checked = set()
    (check,) = known_answers.verify_text(TOWERS[graph], texts=checked)
    assert check.passed and check.error < known_answers.TOLERANCE, check
    assert checked == {graph}
    assert not list(known_answers.verify_text(TOWERS[graph], texts=checked))


def test_a_wrong_answer_fails_the_command(monkeypatch, capsys):
    name = next(one.name for one in table.models().values() if not one.network.checkpoints)
    assert main(["verify", name]) == 0
    assert capsys.readouterr().out.startswith("pass")
    read = known_answers.npz.read

    def disturbed(path):
        golden = read(path)
        return {k: v + 1e-3 if v.dtype == np.float32 else v for k, v in golden.items()}

    monkeypatch.setattr(known_answers.npz, "read", disturbed)
    assert main(["verify", name, "--json"]) == 1
    captured = capsys.readouterr()
    assert "1 of 2 known answers are wrong" in captured.err
    assert not json.loads(captured.out)["checks"][0]["passed"]


def test_spread_error_is_relative_to_the_spread():
    embeddings = np.array([[10.0, 0], [12, 0]])
    assert known_answers.spread_error(embeddings, embeddings) == 0
    assert known_answers.spread_error(
        embeddings + np.array([[1, 0], [0, 0]]), embeddings
    ) == pytest.approx(1 / np.sqrt(2))
    assert known_answers.spread_error(embeddings[:1], embeddings) == float("inf")
    assert known_answers.spread_error(embeddings[[0, 0]], embeddings[[0, 0]]) == float("inf")
    single = np.array([[1.0, 3.0]])
    assert known_answers.spread_error(np.array([[1.0, 4.0]]), single) == pytest.approx(0.5**0.5)


def test_a_published_truth_is_held_against_the_official_weights(monkeypatch):
    """With synthetic weights in their place: they must fail it, and pass what they really give."""
    from dataclasses import replace

    from fad_onnx.weights import prepare

    entry = next(entry for entry in table.models().values() if entry.published)
    assert [check.passed for check in known_answers.published(entry)] == [None] * len(
        entry.published
    )
    name = next(one.name for one in table.models().values() if not one.network.checkpoints)
    weightless = table.model(name)
    truth = replace(entry.published[0], options={})
    model = replace(weightless, published=(truth,))
    monkeypatch.setattr(table, "models", lambda: {name: model})
    (check,) = known_answers.published(model)
    assert check.passed is False and check.error > truth.tolerance
    embeddings = prepare.load(prepare.Request(ModelSpec(name))).embed(
        np.sin(2 * np.pi * truth.sine_hz * np.arange(3 * 16000) / 16000), 16000
    )
    right = replace(truth, mean=float(embeddings.mean()), deviation=float(embeddings.std()))
    (check,) = known_answers.published(replace(model, published=(right,)))
    assert check.passed and check.error < 1e-5
    (check,) = known_answers.published(weightless)
    assert check.passed is None and "no answer is published" in check.what
