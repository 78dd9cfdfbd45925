"""Official checkpoints become models that ONNX Runtime opens."""
