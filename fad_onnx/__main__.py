"""`python -m fad_onnx`, the same as the `fad-onnx` command."""

from .cli import entry

entry()
