"""Exact medians in bounded memory, against NumPy's."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import pytest

from fad_onnx.metrics import median

CASES = {
    "spread": np.random.RandomState(0).exponential(1.0, 1001),
    "even": np.random.RandomState(1).exponential(1.0, 1000),
    "concentrated": 5 + 1e-12 * np.random.RandomState(2).rand(1000),
    "all equal": np.full(1000, 0.1),
    "two values": np.repeat([1.0, 2.0], 500),
    "two neighbours": np.repeat([1.0, np.nextafter(1.0, 2.0)], 500),
    "zeros": np.r_[np.zeros(500), -0.0, np.arange(1.0, 500.0)],
    "wide": np.logspace(-300, 300, 1000),
    "denormal": np.arange(1000) * 5e-324,
    "one": np.array([3.0]),
    "pair": np.array([3.0, 1.0]),
}


def source(values: np.ndarray) -> Callable[[], Iterator[np.ndarray]]:
    shuffled = np.random.RandomState(3).permutation(values)
    return lambda: iter(np.array_split(shuffled, 7))


@pytest.mark.parametrize("held", [1, 2, 30, 10_000])
@pytest.mark.parametrize("name", CASES)
def test_equals_numpy(name: str, held: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(median, "HELD", held)
    values = CASES[name]
    low, high = median.median(source(values), len(values))
    expected = np.sort(np.abs(values))[[(len(values) - 1) // 2, len(values) // 2]]
    assert [low, high] == expected.tolist()
    assert (low + high) / 2 == np.median(values)


def test_holds_no_more_than_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(median, "HELD", 50)
    sizes = []
    concatenate = np.concatenate
    monkeypatch.setattr(
        np, "concatenate", lambda parts: sizes.append(sum(map(len, parts))) or concatenate(parts)
    )
    median.median(source(CASES["even"]), 1000)
    assert sizes
    assert max(sizes) <= 50
