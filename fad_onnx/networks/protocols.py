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
        For each model that the harness has, the fields that it changes, as dotted paths, and their
        values. The key "output" names the output that is used if the user names none.
    changes : mapping
        The changes that are the same for all models.
    metrics : mapping of str to Definition
        The metrics that the harness computes from audio and captions, by our names, with its own
        definitions. The harness does not have the metrics that are missing here.
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
        """The fields that change for one model, as dotted paths, and their values."""
        both = {**self.changes, **self.models[model]}
        return {path: value for path, value in both.items() if path != OUTPUT}

    def output_of(self, model: str) -> str | None:
        """The output of a model that the harness uses, if it is not the model's first."""
        return self.models[model].get(OUTPUT)

    def options_of(self, metric: str) -> Mapping[str, Any]:
        """Options of a metric by keyword that differ from our defaults."""
        found = self.metrics.get(metric)
        return found.options if found else {}
