"""`python -m exporters verify` fails if an error exceeds the limit."""

from dataclasses import replace

import pytest

from exporters import __main__, verify

pytestmark = pytest.mark.parity

GOOD = verify.Finding("logmel", "", "none", 3, 9, 5e-7, 8e-7, 3e-4, 1.2, 1.2, 4e-7, 1e-5)


@pytest.mark.parametrize(
    ("change", "failed"),
    [
        ({}, []),
        ({"rows_error": 2e-4}, ["embeddings"]),
        ({"rows_error": float("nan"), "features_error": None}, ["embeddings"]),
        ({"features_error": 2e-4, "score_difference": 1e-3}, ["front end", "difference"]),
        # Levels of a quantised output: one rounded to the other side.
        ({"rows_error": 8e-4, "largest_difference": 1.0}, []),
    ],
)
def test_the_exit_code_tells_of_errors_above_the_limit(change, failed, monkeypatch, capsys):
    finding = replace(GOOD, **change)
    monkeypatch.setattr(verify, "verify", lambda *_: iter([finding]))
    assert __main__.main(["verify", "logmel", "--clips", "2"]) == bool(failed)
    said = capsys.readouterr().err
    assert [
        what for what in ("front end", "difference", "embeddings") if f", {what}: " in said
    ] == (sorted(failed, key=["front end", "difference", "embeddings"].index))
