"""One module for each metric, with its `METRIC`; see fad_onnx.metrics.registry."""
