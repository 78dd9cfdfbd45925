"""Known-answer tests, benchmarks, cache maintenance, and the demo."""
