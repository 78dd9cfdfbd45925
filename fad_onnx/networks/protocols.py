"""A protocol: how a published harness differs from our own preparations and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

OUTPUT = "output"


@dataclass(frozen=True)
class Definition:
    """How a harness computes one metric.

    Attributes
    ----------
    models : tuple of str
        The models with which it computes the metric, in the order of its own report; empty for a
        harness that computes it with any of its models.
    options : mapping
        Options of the metric by keyword, as in `fad_onnx.metrics.registry.Option`, where they
        differ from our defaults: ``{"kl_direction": "evaluation", "kl_epsilon": 1e-6}``. An option
        that the user gives overrides them.
    """

    models: tuple[str, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Protocol:
    """How a published harness differs from our own preparations and metrics.

    Attributes
    ----------
    name, summary : str
        Its name, and a one-line description.
    models : mapping of str to mapping
        For each model that the harness has: dotted fields and what it makes of them. The key
        "output" names the output that it takes where the user names none.
    changes : mapping
        The same for all its models.
    metrics : mapping of str to Definition
        The metrics that the harness computes from audio and captions, by our names, with its own
        definitions. A metric that is missing here is one that the harness does not have.
    note : str or None
        What the protocol cannot reproduce; shown with every score.
    """

    name: str
    summary: str
    models: Mapping[str, Mapping[str, Any]]
    changes: Mapping[str, Any] = field(default_factory=dict)
    metrics: Mapping[str, Definition] = field(default_factory=dict)
    note: str | None = None

    def changes_of(self, model: str) -> dict[str, Any]:
        """Dotted fields and their values for one model."""
        both = {**self.changes, **self.models[model]}
        return {path: value for path, value in both.items() if path != OUTPUT}

    def output_of(self, model: str) -> str | None:
        """The output that the harness takes of one model, if it is not the model's first."""
        return self.models[model].get(OUTPUT)

    def options_of(self, metric: str) -> Mapping[str, Any]:
        """Options of a metric by keyword that differ from our defaults."""
        found = self.metrics.get(metric)
        return found.options if found else {}
