"""Writes openl3_tensorflow.npz: what openl3 0.4.2 itself answers, in TensorFlow.

openl3 needs TensorFlow and Keras 2, which the environment of the parity tier does not have, so its
answers to synthetic weights and clips are kept. In an environment of its own:

    pip install tensorflow-cpu==2.21.0 tf-keras==2.21.0 librosa resampy scikit-learn . onnxruntime
    pip install --no-deps kapre==0.4.1
    git clone https://github.com/marl/openl3 && git -C openl3 checkout b0bf9b6
    PYTHONPATH=.:openl3 python -m tests.parity.openl3_tensorflow

The same bytes again are not promised: TensorFlow's depend on the processor.
"""

import os
from pathlib import Path

import numpy as np

from fad_onnx.networks import synthetic
from fad_onnx.networks.selection import select
from fad_onnx.weights.binding import external, graph_file

ANSWERS = Path(__file__).with_name("openl3_tensorflow.npz")
# Seed of the weights, samples, seconds between windows.
CASES = ((0, 1, 0.5), (0, 24_001, 0.5), (0, 48_001, 0.5), (1, 24_001, 0.1), (1, 24_001, 0.1))
LEAVES = ("gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias")


def clip(index):
    """Samples (1, n). The last clip is a tone: in most bands it has what rounding leaves alone."""
    samples = CASES[index][1]
    if index < len(CASES) - 1:
        return synthetic.clip(index, samples)
    tone = np.sin(2 * np.pi * 1000 / 48_000 * np.arange(samples)) / 2
    return tone[None].astype(np.float32)


def tensors(seed):
    return synthetic.tensors(external(graph_file(select("openl3-music"))), seed)


def place(name):
    layer, _, leaf = name.partition(".")
    return int(layer), LEAVES.index(leaf)


def model(seed):
    """openl3's network, from the front end to 512 numbers, with weights of a seed."""
    from openl3 import models
    from tensorflow.keras import Model
    from tensorflow.keras.layers import Flatten, MaxPooling2D

    made = models._construct_mel256_audio_network()
    given = tensors(seed)
    made.set_weights([given[name] for name in sorted(given, key=place)])
    # As in load_audio_embedding_model_from_path.
    pooled = MaxPooling2D(pool_size=models.AUDIO_POOLING_SIZES["mel256"][512], padding="same")(
        made.output
    )
    whole = Model(inputs=made.input, outputs=Flatten()(pooled))
    whole.frontend = "kapre"
    return whole


def main():
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    import openl3

    models = {seed: model(seed) for seed in {case[0] for case in CASES}}
    answers = {}
    for index, (seed, _samples, hop) in enumerate(CASES):
        found, _ = openl3.get_audio_embedding(
            clip(index)[0], 48_000, model=models[seed], hop_size=hop, verbose=False
        )
        answers[str(index)] = found.astype(np.float32)
    np.savez_compressed(ANSWERS, **answers)


if __name__ == "__main__":
    main()
