"""KL and inception score against the formulas of the harnesses, in torch, on the same logits.

The formulas stand in av-benchmark 050a5cd (av_bench/metrics/kl.py:22-39, isc.py:18-35),
audioldm_eval 8dc07ee (audioldm_eval/metrics/kl.py:95-104, isc.py:15-32), AudioCraft 3971c5a
(audiocraft/metrics/kld.py, kl_divergence) and stable-audio-metrics fd55536
(src/passt_kld.py:197): the first three have the reference first, the last one the evaluation.
"""

import numpy as np
import pytest

torch = pytest.importorskip("torch")
from torch.nn import functional

from fad_onnx.metrics import registry
from fad_onnx.metrics.definitions.isc import inception_score
from fad_onnx.metrics.registry import Arrays

pytestmark = pytest.mark.parity
CLASSES = 527
EPSILON = 1e-6


def logits(seed, clips, scale):
    random = np.random.RandomState(seed)
    found = scale * random.standard_normal((clips, CLASSES)).astype(np.float32)
    found[np.arange(clips), random.randint(CLASSES, size=clips)] += 8.0
    return found


def ours(evaluation, reference, **options):
    """By the metric itself, from clips in another order."""
    names = [f"{i:03}.wav" for i in range(len(evaluation))]
    order = np.random.RandomState(1).permutation(len(names))
    made = Arrays("evaluation", None, list(evaluation[:, None]), names)
    real = Arrays("reference", None, [reference[i][None] for i in order],
                  [names[i] for i in order])  # fmt: skip
    metric = registry.metric("kl")
    return metric.against(real, metric.chosen(options))(made, lambda *_: None).value


def av_benchmark(made, real):
    return functional.kl_div(
        functional.log_softmax(made, dim=1), functional.log_softmax(real, dim=1),
        reduction="sum", log_target=True,
    ) / len(made)  # fmt: skip


def av_benchmark_sigmoid(made, real):
    return functional.kl_div(
        functional.logsigmoid(made), functional.logsigmoid(real), reduction="sum", log_target=True
    ) / len(made)


def audioldm_eval(made, real):
    return functional.kl_div(
        (made.softmax(dim=1) + EPSILON).log(), real.softmax(dim=1), reduction="sum"
    ) / len(made)


def audioldm_eval_sigmoid(made, real):
    return functional.kl_div(
        (made.sigmoid() + EPSILON).log(), real.sigmoid(), reduction="sum"
    ) / len(made)


def audiocraft(made, real):
    each = functional.kl_div(
        (made.softmax(dim=-1) + EPSILON).log(), real.softmax(dim=-1), reduction="none"
    )
    return each.sum(-1).mean()


def stable_audio_metrics(made, real):
    pairs = zip(made.softmax(dim=1), real.softmax(dim=1), strict=True)
    each = [
        functional.kl_div((theirs + EPSILON).log(), own, reduction="sum") for own, theirs in pairs
    ]
    return torch.stack(each).mean()


HARNESSES = [
    (av_benchmark, {}),
    (av_benchmark_sigmoid, {"kl_form": "sigmoid"}),
    (audioldm_eval, {"kl_epsilon": EPSILON}),
    (audioldm_eval_sigmoid, {"kl_epsilon": EPSILON, "kl_form": "sigmoid"}),
    (audiocraft, {"kl_epsilon": EPSILON}),
    (stable_audio_metrics, {"kl_epsilon": EPSILON, "kl_direction": "evaluation"}),
]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("scale", [0.5, 3.0])
@pytest.mark.parametrize(
    ("theirs", "options"), HARNESSES, ids=lambda one: getattr(one, "__name__", "")
)
def test_kl_is_that_of_the_harness(theirs, options, scale, seed):
    made, real = logits(seed, 40, scale), logits(100 + seed, 40, scale)
    expected = float(theirs(*(torch.from_numpy(one).double() for one in (made, real))))
    assert ours(made, real, **options) == pytest.approx(expected, rel=1e-9)
    # In float32, in which the harnesses compute, the same within what float32 can tell.
    single = float(theirs(torch.from_numpy(made), torch.from_numpy(real)))
    assert ours(made, real, **options) == pytest.approx(single, rel=2e-5)


def test_the_other_direction_and_form_are_told_apart():
    made, real = logits(0, 40, 2.0), logits(1, 40, 1.0)
    found = [ours(made, real, **options) for _, options in HARNESSES]
    close = [(i, j) for i in range(6) for j in range(i)
             if found[i] == pytest.approx(found[j], rel=1e-9)]  # fmt: skip
    assert close == [(4, 2)]  # AudioCraft's is audioldm_eval's


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(("clips", "splits"), [(100, 10), (97, 10), (12, 5), (40, 1)])
def test_the_inception_score_is_that_of_the_harnesses(clips, splits, seed):
    """Both harnesses have the same lines."""
    own = logits(seed, clips, 2.0)
    features = torch.from_numpy(own)
    features = features[np.random.RandomState(2020).permutation(clips), :].double()
    p, log_p = features.softmax(dim=1), features.log_softmax(dim=1)
    scores = []
    for i in range(splits):
        chunk = slice(i * clips // splits, (i + 1) * clips // splits)
        mean = p[chunk].mean(dim=0, keepdim=True)
        divergence = p[chunk] * (log_p[chunk] - mean.log())
        scores.append(divergence.sum(dim=1).mean().exp().item())
    found = inception_score(own, splits, 2020)
    assert found == pytest.approx((np.mean(scores), np.std(scores)), rel=1e-9)
