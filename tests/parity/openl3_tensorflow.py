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
CASES = ((0, 1, 0.5), (0, 24_001, 0.5), (0, 48_001, 0.5), (1, 24_001, 0.1))
LEAVES = ("gamma", "beta", "moving_mean", "moving_variance", "kernel", "bias")


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
    for index, (seed, samples, hop) in enumerate(CASES):
        clip = synthetic.clip(index, samples)[0]
        found, _ = openl3.get_audio_embedding(
            clip, 48_000, model=models[seed], hop_size=hop, verbose=False
        )
        answers[str(index)] = found.astype(np.float32)
    np.savez_compressed(ANSWERS, **answers)


if __name__ == "__main__":
    main()
