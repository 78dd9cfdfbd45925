"""Bias of FAD, FAD-infinity and KAD, coverage of intervals, and rankings of clips, simulated.

    python benchmarks/statistics_simulation.py [--repeats 200] > statistics.json
    python benchmarks/statistics_simulation.py --plot statistics.png < statistics.json

Sets are drawn from Gaussians whose distances are known in closed form. Prints JSON; asserts
nothing. The plot needs matplotlib. See README-statistics.md.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fad_onnx.metrics.confidence_interval import Side, distance_and_maps, file_influences, interval
from fad_onnx.metrics.fad_infinity import fad_infinity
from fad_onnx.metrics.frechet import Gaussian, file_distance, frechet_distance
from fad_onnx.metrics.influence import influences
from fad_onnx.metrics.kad import KernelReference
from fad_onnx.metrics.moments import Moments

Array = NDArray[np.float64]
Files = list[Array]


@dataclass(frozen=True)
class Source:
    """A Gaussian in `dim` dimensions; embeddings of a clip share the part `alike` of the variance.

    Its variances fall like 1 / k. `apart` moves the mean by one in total and mixes the
    dimensions; without it, all sources of a dimension are the same.
    """

    dim: int
    apart: bool = False
    alike: float = 0.5

    @property
    def mean(self) -> Array:
        return np.full(self.dim, self.dim**-0.5 if self.apart else 0.0)

    @cached_property
    def root(self) -> Array:
        scale = np.diag(np.arange(1.0, self.dim + 1) ** -0.5)
        if not self.apart:
            return scale
        mixing = np.random.RandomState(9).randn(self.dim, self.dim) / np.sqrt(self.dim)
        return scale @ (np.eye(self.dim) + 0.5 * mixing)

    @cached_property
    def gaussian(self) -> Gaussian:
        return Gaussian.of_statistics(self.mean, self.root.T @ self.root)

    def files(self, random: np.random.RandomState, count: int, rows: int) -> Files:
        alike = self.alike if rows > 1 else 0.0
        shape = (count, rows, self.dim)
        shared = np.sqrt(alike) * random.randn(count, 1, self.dim)
        own = np.sqrt(1 - alike) * random.randn(*shape)
        return list((shared + own) @ self.root + self.mean)


def kernel_mean(first: Source, second: Source, bandwidth: float) -> float:
    """E exp(-|x - y|^2 / (2 s^2)) for independent x and y of the two sources."""
    spread = first.root.T @ first.root + second.root.T @ second.root
    widened = spread + bandwidth**2 * np.eye(first.dim)
    gap = first.mean - second.mean
    log_volume = np.linalg.slogdet(widened / bandwidth**2)[1]
    return float(np.exp(-0.5 * (log_volume + gap @ np.linalg.solve(widened, gap))))


def true_kad(reference: Source, evaluation: Source, bandwidth: float) -> float:
    """100 MMD^2 of the sources themselves."""
    within = sum(kernel_mean(one, one, bandwidth) for one in (reference, evaluation))
    return 100 * (within - 2 * kernel_mean(reference, evaluation, bandwidth))


def summary(values: list[float], truth: float) -> dict[str, float]:
    return {
        "mean": round(float(np.mean(values)), 5),
        "sd": round(float(np.std(values, ddof=1)), 5),
        "truth": round(truth, 5),
    }


def bias(dim: int, rows: int, rows_per_file: int, apart: bool, repeats: int) -> dict[str, Any]:
    """Means of the three distances over repeated evaluation sets; FAD's reference is exact.

    KAD has a reference of 1,000 embeddings, drawn anew each time.
    """
    evaluation, reference = Source(dim, apart), Source(dim)
    names = ("fad", "fad_inf", "fad_inf_by_file", "kad", "bandwidth")
    found: dict[str, list[float]] = {name: [] for name in names}
    for seed in range(repeats):
        random = np.random.RandomState(seed)
        x = np.concatenate(evaluation.files(random, rows // rows_per_file, rows_per_file))
        found["fad"].append(frechet_distance(reference.gaussian, Moments.of(x)))
        files = [rows_per_file] * (rows // rows_per_file)
        for name, per_file in (("fad_inf", None), ("fad_inf_by_file", files)):
            extrapolated = fad_infinity(reference.gaussian, x, seed, per_file)
            if extrapolated.value is not None:
                found[name].append(extrapolated.value)
        kernel = KernelReference(np.concatenate(reference.files(random, 1000, 1)))
        found["kad"].append(float(kernel.distance(x)))
        found["bandwidth"].append(kernel.bandwidth)
    truth = frechet_distance(reference.gaussian, evaluation.gaussian)
    kad_truth = true_kad(reference, evaluation, float(np.mean(found["bandwidth"])))
    result = {"dim": dim, "rows": rows, "rows_per_file": rows_per_file, "apart": apart}
    result |= {"fad": summary(found["fad"], truth), "kad": summary(found["kad"], kad_truth)}
    for name in ("fad_inf", "fad_inf_by_file"):
        result[name] = summary(found[name], truth) if found[name] else None
    return result


def coverage(
    dim: int, files: int, rows_per_file: int, apart: bool, two_sided: bool, repeats: int
) -> dict[str, Any]:
    """How often the interval holds the mean distance of all repeats."""
    evaluation, reference = Source(dim, apart), Source(dim)
    found = []
    for seed in range(repeats):
        random = np.random.RandomState(seed)
        x = Side.of(evaluation.files(random, files, rows_per_file))
        y = Side.of(reference.files(random, files, rows_per_file))
        against = y if two_sided else reference.gaussian
        found.append([interval(x, against, level) for level in (0.9, 0.95)])
    expected = float(np.mean([pair[0].estimate for pair in found]))
    spread = float(np.std([pair[0].estimate for pair in found], ddof=1))
    covered = [
        [one.low is not None and one.high is not None and one.low <= expected <= one.high
         for one in pair] for pair in found
    ]  # fmt: skip
    errors = [pair[0].standard_error or 0.0 for pair in found]
    return {
        "dim": dim, "files": files, "rows_per_file": rows_per_file, "apart": apart,
        "two_sided": two_sided, "covered_90": round(float(np.mean(covered, axis=0)[0]), 3),
        "covered_95": round(float(np.mean(covered, axis=0)[1]), 3),
        "error_over_sd": round(float(np.median(errors)) / spread, 2),
    }  # fmt: skip


def paired_coverage(
    dim: int, files: int, noise: float, shift: float, repeats: int
) -> dict[str, Any]:
    """As `coverage`, for an evaluation dataset made from the reference's own clips.

    Every embedding gets noise of its own, `noise` times the source's deviation, and all are
    shifted by `shift`. Both intervals: from pairs, and as if the datasets were independent.
    """
    source = Source(dim)
    pairs = [(i, i) for i in range(files)]
    found = []
    for seed in range(repeats):
        random = np.random.RandomState(seed)
        clean = source.files(random, files, 5)
        made = [x + noise * random.randn(*x.shape) @ source.root + shift * dim**-0.5 for x in clean]
        x, y = Side.of(made), Side.of(clean)
        found.append([interval(x, y, 0.95, pairs=which) for which in (pairs, [])])
    estimates = [both[0].estimate for both in found]
    expected, spread = float(np.mean(estimates)), float(np.std(estimates, ddof=1))
    result: dict[str, Any] = {"dim": dim, "files": files, "noise": noise, "shift": shift}
    for name, own in zip(("paired", "independent"), zip(*found, strict=True), strict=True):
        inside = [one.low <= expected <= one.high for one in own]
        errors = [one.standard_error or 0.0 for one in own]
        result[f"{name}_covered_95"] = round(float(np.mean(inside)), 3)
        result[f"{name}_error_over_sd"] = round(float(np.median(errors)) / spread, 2)
    return result


def bootstrap(dim: int, files: int, repeats: int, resamples: int = 200) -> dict[str, Any]:
    """Coverage of the 95 % percentile bootstrap over files, for comparison."""
    evaluation, reference = Source(dim, True), Source(dim)
    estimates, bounds = [], []
    for seed in range(repeats):
        random = np.random.RandomState(seed)
        x = np.concatenate(evaluation.files(random, files, 1))
        y = np.concatenate(reference.files(random, files, 1))
        draws = []
        for _ in range(resamples):
            again = (side[random.randint(files, size=files)] for side in (x, y))
            draws.append(frechet_distance(*map(Moments.of, again)))
        estimates.append(frechet_distance(Moments.of(x), Moments.of(y)))
        bounds.append(np.percentile(draws, [2.5, 97.5]))
    low, high = np.transpose(bounds)
    expected = np.mean(estimates)
    inside = float(np.mean((low <= expected) & (expected <= high)))
    return {"dim": dim, "files": files, "repeats": repeats, "covered_95": round(inside, 3)}


def ranking(dim: int, shift: float, reference_clips: int, repeats: int) -> dict[str, Any]:
    """Share of the ten highest clips that come from the shifted source, for each ranking.

    200 clips of the reference's source and 20 of a source whose mean is moved, of 1 to 30
    embeddings. `derivative` is the first-order influence of fad_onnx.interval, `agreement` its
    correlation with the influence.
    """
    source = Source(dim)
    found: dict[str, list[float]] = {name: [] for name in (*RANKINGS, "agreement")}
    for seed in range(repeats):
        random = np.random.RandomState(seed)
        lengths = random.choice([1, 2, 5, 10, 30], 220)
        clips = [source.files(random, 1, int(rows))[0] for rows in lengths]
        clips[200:] = [clip + shift * dim**-0.5 for clip in clips[200:]]
        reference = Gaussian.of(Side.of(source.files(random, reference_clips, 10)).moments)
        values = rankings(clips, reference)
        for name in RANKINGS:
            found[name].append(float((np.argsort(-values[name])[:10] >= 200).mean()))
        agreement = np.corrcoef(values["influence"], values["derivative"])[0, 1]
        found["agreement"].append(float(agreement))
    means = {name: round(float(np.mean(values)), 3) for name, values in found.items()}
    return {"dim": dim, "shift": shift, "reference_clips": reference_clips, **means}


RANKINGS = ("influence", "derivative", "mean_distance", "fad")


def rankings(clips: Files, reference: Gaussian) -> dict[str, Array]:
    """The number that each ranking gives to each clip."""
    side = Side.of(clips)
    own = Gaussian.of(side.moments)
    _, (transport, _) = distance_and_maps(own, reference)
    alone = [file_distance(reference, Moments.of(clip)) for clip in clips]
    return {
        "influence": influences(clips, side.moments, reference),
        "derivative": file_influences(side, own.mean - reference.mean, transport)
        / side.moments.count,
        "mean_distance": np.array([one.mean_distance for one in alone]),
        "fad": np.array([one.fad for one in alone]),
    }


def simulate(repeats: int) -> dict[str, Any]:
    few = max(repeats // 4, 2)
    sizes = (40, 70, 100, 150, 200, 300, 500, 1000, 2000)
    cases = product((8, 64, 128), (30, 60, 100, 300), (1, 5), (False, True), (False, True))
    return {
        "repeats": {"bias": few, "coverage": repeats},
        "bias": [
            bias(64, rows, per_file, apart, few)
            for apart, per_file, rows in product((False, True), (1, 5), sizes)
        ],
        "ranking": [
            ranking(dim, shift, 1000, few) for dim, shift in product((16, 128), (0.5, 1.0, 2.0))
        ],
        "coverage": [coverage(*case, repeats) for case in cases],
        "paired_coverage": [
            paired_coverage(dim, files, noise, shift, repeats)
            for dim, files, noise, shift in product(
                (8, 64, 128), (30, 100, 300), (0.1, 0.5), (0.0, 0.5)
            )
        ],
        "percentile_bootstrap": [bootstrap(dim, 60, few) for dim in (8, 64)],
    }


def by_lines(result: dict[str, Any]) -> str:
    """JSON with one line for each case, which diffs well."""
    parts = [f' "repeats": {json.dumps(result["repeats"])}']
    for name in [name for name in result if name != "repeats"]:
        cases = ",\n".join(f"  {json.dumps(case)}" for case in result[name])
        parts.append(f' "{name}": [\n{cases}\n ]')
    return "{\n" + ",\n".join(parts) + "\n}"


def plot(result: dict[str, Any], path: str) -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot
    from PIL import Image

    figure, ((left, right), (low, coverages)) = pyplot.subplots(
        2, 2, figsize=(11, 8.5), layout="constrained"
    )
    for axes, rows_per_file in ((left, 1), (right, 5)):
        plot_bias(axes, result["bias"], ("fad", "fad_inf", "fad_inf_by_file"), rows_per_file)
        axes.set_title(f"FAD, 64 dimensions, {TITLES[rows_per_file]}")
        axes.set_ylim(-0.4, 4.4)
    plot_bias(low, result["bias"], ("kad", "kad_alike"), None)
    low.set_title("KAD, 64 dimensions")
    plot_coverage(coverages, result["coverage"])
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=80)
    # A palette of 96 colours: a third of the bytes.
    Image.open(drawn).convert("RGB").quantize(96).save(path, optimize=True)


TITLES = {1: "independent embeddings", 5: "5 per clip, half their variance shared"}
NAMES = {
    "fad": "FAD",
    "fad_inf": "FAD-infinity, embeddings drawn",
    "fad_inf_by_file": "FAD-infinity, clips drawn",
    "kad": "KAD, independent embeddings",
    "kad_alike": "KAD, 5 embeddings per clip",
}
COLOURS = dict(zip(NAMES, ("#0072b2", "#d55e00", "#009e73", "#0072b2", "#d55e00"), strict=True))


def plot_bias(
    axes: Any, cases: list[dict[str, Any]], which: tuple[str, ...], rows_per_file: int | None
) -> None:
    for name, apart in product(which, (True, False)):
        key = name.removesuffix("_alike")
        rows = rows_per_file or (5 if name.endswith("_alike") else 1)
        chosen = [
            case for case in cases
            if case["apart"] == apart and case["rows_per_file"] == rows and case[key]
        ]  # fmt: skip
        # With one embedding per clip the two ways of drawing are the same.
        if not (name == "fad_inf_by_file" and rows == 1):
            plot_line(axes, chosen, key, name, apart)
        axes.axhline(chosen[0][key]["truth"], color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="embeddings of the evaluation set")
    axes.set_xticks([50, 100, 200, 500, 1000, 2000], ["50", "100", "200", "500", "1000", "2000"])
    axes.minorticks_off()
    axes.set_ylabel("mean and standard deviation; dotted: true value")
    axes.legend(fontsize=8)


def plot_line(axes: Any, chosen: list[dict[str, Any]], key: str, name: str, apart: bool) -> None:
    rows, mean = [c["rows"] for c in chosen], np.array([c[key]["mean"] for c in chosen])
    spread = np.array([c[key]["sd"] for c in chosen])
    label = f"{NAMES[name]}, {'different' if apart else 'same'} source"
    style, colour = "-" if apart else "--", COLOURS[name]
    axes.plot(rows, mean, style, color=colour, marker="o", markersize=3, label=label)
    axes.fill_between(rows, mean - spread, mean + spread, color=colour, alpha=0.15)


def plot_coverage(axes: Any, cases: list[dict[str, Any]]) -> None:
    markers = {8: "o", 64: "s", 128: "^"}
    for dim, apart in product(markers, (True, False)):
        chosen = [c for c in cases if c["dim"] == dim and c["apart"] == apart]
        shift = {8: 0.94, 64: 1.0, 128: 1.06}[dim]
        axes.scatter(
            [c["files"] * shift for c in chosen], [c["covered_95"] for c in chosen],
            marker=markers[dim], facecolor="#0072b2" if apart else "none", edgecolor="#0072b2",
            s=28, label=f"{dim} dimensions, {'different' if apart else 'same'} source",
        )  # fmt: skip
    axes.axhline(0.95, color="black", linewidth=0.8, linestyle=":")
    axes.set(xscale="log", xlabel="clips per dataset", ylabel="share of intervals that hold E[FAD]")
    axes.set_ylim(0.8, 1.01)
    axes.set_xticks([30, 60, 100, 300], ["30", "60", "100", "300"])
    axes.minorticks_off()
    axes.set_title("95 % interval, 1 and 5 embeddings per clip")
    axes.legend(fontsize=8, loc="lower right")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repeats", type=int, default=200)
    parser.add_argument("--plot", metavar="PNG", help="draw the JSON on stdin")
    arguments = parser.parse_args()
    if arguments.plot:
        plot(json.load(sys.stdin), arguments.plot)
    else:
        print(by_lines(simulate(arguments.repeats)))


if __name__ == "__main__":
    main()
