"""Statistics files: what is written comes back; what is wrong is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fad_onnx.errors import OutputError, StatisticsError, TooFewEmbeddingsError
from fad_onnx.files import statistics
from fad_onnx.metrics.frechet import Gaussian, frechet_distance
from fad_onnx.metrics.moments import Moments

DIM = 5
METADATA = {"model": "m", "fingerprint": "f", "files": 3, "note": "ümläut \n"}


def moments(count: int, seed: int = 0) -> Moments:
    return Moments.of(np.random.RandomState(seed).randn(count, DIM) + 1)


def own(count: int = 20) -> dict[str, np.ndarray]:
    """The members of a file of ours."""
    made = moments(count)
    members = {
        "mu": made.mean,
        "sigma": made.covariance(),
        "count": np.array(count),
        "metadata": np.array(json.dumps(METADATA)),
    }
    return members | ({"factor": made.factor} if made.factor is not None else {})


def write(path: Path, members: dict[str, np.ndarray]) -> Path:
    np.savez(path, **members)
    return path


@pytest.mark.parametrize("count", [1, 2, DIM, DIM + 1, DIM + 2, 50])
def test_comes_back_and_goes_on_adding(count: int, tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    made = moments(count)
    statistics.save(path, made, METADATA)
    stored = statistics.load(path)
    assert stored.metadata == METADATA
    assert not stored.foreign
    assert isinstance(stored.moments, Moments)
    assert stored.moments.count == count
    assert np.array_equal(stored.moments.mean, made.mean)
    assert (stored.moments.factor is None) == (made.factor is None)
    more = moments(9, 1)
    whole = (made + more).covariance()
    np.testing.assert_allclose(
        (stored.moments + more).covariance(), whole, rtol=0, atol=1e-14 * np.abs(whole).max()
    )


def test_pytorch_fid_can_read_it(tmp_path: Path) -> None:
    made = moments(4)
    statistics.save(tmp_path / "a.npz", made, METADATA)
    with np.load(tmp_path / "a.npz") as archive:
        assert archive["mu"].dtype == archive["sigma"].dtype == np.float64
        assert np.array_equal(archive["sigma"], made.covariance())


def test_the_same_statistics_are_the_same_bytes(tmp_path: Path) -> None:
    statistics.save(tmp_path / "a", moments(9), METADATA)
    statistics.save(tmp_path / "b", moments(9), dict(reversed(METADATA.items())))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_nothing_is_left_behind_when_it_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "inside").touch()
    with pytest.raises(OutputError):
        statistics.save(tmp_path / "taken", moments(9), METADATA)
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_no_rows_are_no_statistics(tmp_path: Path) -> None:
    with pytest.raises(TooFewEmbeddingsError):
        statistics.save(tmp_path / "a.npz", Moments.empty(DIM), METADATA)


def test_one_row_can_be_merged_but_not_scored(tmp_path: Path) -> None:
    statistics.save(tmp_path / "a.npz", moments(1), METADATA)
    stored = statistics.load(tmp_path / "a.npz")
    with pytest.raises(TooFewEmbeddingsError):
        Gaussian.of(stored.moments)


@pytest.mark.parametrize("names", [("mu", "sigma"), ("mu_ref", "sigma_ref")])
def test_statistics_of_pytorch_fid_and_stable_audio_metrics(
    names: tuple[str, str], tmp_path: Path
) -> None:
    made = moments(50)
    values = (made.mean, made.covariance())
    path = write(tmp_path / "other.npz", dict(zip(names, values, strict=True)))
    stored = statistics.load(path)
    assert stored.foreign
    assert stored.metadata == {}
    assert isinstance(stored.moments, Gaussian)
    assert frechet_distance(stored.moments, made) < 1e-12


def test_statistics_of_fadtk(tmp_path: Path) -> None:
    made = {"x": moments(50), "y.z": moments(40, 1)}
    members = {f"{key}.mu": value.mean for key, value in made.items()}
    members |= {f"{key}.cov": value.covariance() for key, value in made.items()}
    path = write(tmp_path / "toolkit.npz", members)
    for key, value in made.items():
        stored = statistics.load(path, key)
        assert stored.foreign
        assert frechet_distance(stored.moments, value) < 1e-12
    with pytest.raises(StatisticsError, match=r"several statistics; choose with --key: x, y\.z"):
        statistics.load(path)
    with pytest.raises(StatisticsError, match=r"no statistics called 'w'; .*: x, y\.z"):
        statistics.load(path, "w")
    only = write(tmp_path / "one.npz", {k: v for k, v in members.items() if k.startswith("x")})
    assert statistics.load(only).foreign


def test_statistics_at_a_url_are_refused() -> None:
    with pytest.raises(StatisticsError, match="read from local files: fetch it"):
        statistics.load("https://example.org/a.npz")


def test_a_file_without_statistics_says_what_it_holds(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.npz", {"a.wav": np.zeros((3, 2))})
    with pytest.raises(StatisticsError, match=r"rows\.npz: not a statistics file: it holds a\.wav"):
        statistics.load(path)


@pytest.mark.parametrize(
    ("member", "value", "match"),
    [
        ("mu", np.zeros(DIM + 1), "do not match"),
        ("mu", np.full(DIM, np.nan), "NaN"),
        ("mu", np.array(["a"] * DIM), "real numbers"),
        ("sigma", np.full((DIM, DIM), np.inf), "infinity"),
        ("sigma", np.eye(DIM)[:, :-1], "do not match"),
        ("sigma", np.triu(np.ones((DIM, DIM))), "not symmetric"),
        ("sigma", -np.eye(DIM), "negative variance"),
        ("count", np.array(0), "count"),
        ("count", np.array(1), "1 embedding"),
        ("count", np.array(20.0), "count"),
        ("count", np.array([20]), "count"),
        ("metadata", np.array("{"), "not JSON"),
        ("metadata", np.array("[" * 100_000), "not JSON"),
        ("metadata", np.array("[1]"), "JSON object"),
        ("metadata", np.array(["{}"]), "single string"),
        ("metadata", np.array(b"{}"), "single string"),
        ("metadata", np.array('"' + "x" * 1_000_000 + '"'), "1,000,000"),
    ],
)
def test_wrong_members_are_named(
    member: str, value: np.ndarray, match: str, tmp_path: Path
) -> None:
    path = write(tmp_path / "bad.npz", own() | {member: value})
    with pytest.raises((StatisticsError, TooFewEmbeddingsError), match=rf"bad\.npz.*{match}"):
        statistics.load(path)


@pytest.mark.parametrize(
    ("member", "value", "match"),
    [
        ("count", np.array(4), "does not fit"),
        ("factor", np.zeros((2, DIM + 1)), "does not fit"),
        ("factor", np.full((2, DIM), np.nan), "NaN"),
        ("factor", np.ones((2, DIM)), "do not agree"),
        ("sigma", np.eye(DIM), "do not agree"),
        ("sigma", np.full((DIM, DIM), np.nan), "NaN"),
        ("sigma", np.eye(DIM - 1), "do not agree"),
    ],
)
def test_a_factor_must_fit(member: str, value: np.ndarray, match: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bad.npz", own(3) | {member: value})
    with pytest.raises(StatisticsError, match=rf"bad\.npz.*{match}"):
        statistics.load(path)


def test_an_indefinite_covariance_is_refused_when_it_is_used(tmp_path: Path) -> None:
    sigma = np.eye(DIM)
    sigma[0, 1] = sigma[1, 0] = 2.0
    path = write(tmp_path / "bad.npz", own() | {"sigma": sigma})
    with pytest.raises(StatisticsError, match="negative eigenvalue"):
        Gaussian.of(statistics.load(path).moments)
    foreign = write(tmp_path / "foreign.npz", {"mu": np.zeros(DIM), "sigma": sigma})
    with pytest.raises(StatisticsError, match="negative eigenvalue"):
        statistics.load(foreign)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"not a zip file at all"])
def test_what_is_no_archive(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(StatisticsError, match=r"bad\.npz"):
        statistics.load(path)


def test_pickles_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "bad.npz", own() | {"metadata": np.array({"a": 1}, dtype=object)})
    with pytest.raises(StatisticsError, match=r"bad\.npz"):
        statistics.load(path)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(StatisticsError, match=r"none\.npz"):
        statistics.load(tmp_path / "none.npz")
