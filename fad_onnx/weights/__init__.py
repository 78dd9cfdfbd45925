"""Turn official checkpoints into models that ONNX Runtime opens."""
