"""The metrics that `evaluate` computes, each with its model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ..errors import OptionError
from ..metrics import registry
from ..metrics.registry import Metric
from ..networks import table
from ..networks.selection import select, text_tower
from ..networks.spec import ModelSpec
from ..pipeline.metadata import Metadata
from .harness import metrics_of


@dataclass(frozen=True)
class Asked:
    """A metric and the model that it is computed with; None if the user named none."""

    metric: Metric
    spec: ModelSpec | None  # with the output that the metric needs
    implied: bool = False  # whether the metric, not the user, names the output

    @classmethod
    def parse(cls, text: str) -> Asked:
        """Read ``METRIC`` or ``METRIC:MODEL``.

        Raises
        ------
        OptionError
            For a metric that does not exist, or a model without the output that the metric
            needs; the message lists what can be used.
        """
        if not isinstance(text, str):
            raise OptionError("metrics", f"{text!r} is not a text such as 'fad:vggish'")
        name, colon, model = text.partition(":")
        metric = registry.metric(name)
        return cls.of(metric, ModelSpec.parse(model)) if colon else cls(metric, None)

    @classmethod
    def of(cls, metric: Metric, spec: ModelSpec) -> Asked:
        """The metric with a model, whose output it may imply; OptionError as `parse`."""
        found = _with_output(metric, spec)
        return cls(metric, found, found != spec)

    @property
    def plain(self) -> bool:
        """Whether any model will do."""
        needs = self.metric.needs
        return needs.output == registry.EMBEDDING and not needs.captions


def _with_output(metric: Metric, spec: ModelSpec) -> ModelSpec:
    output = metric.needs.output
    if metric.needs.captions and text_tower(select(spec).model) is None:
        known = [one.name for one in table.models().values() if one.network.text]
        raise OptionError(
            "metric", f"{metric.name} needs a text tower, which {spec} does not have; models that"
            f" do: {', '.join(known)}",
        )  # fmt: skip
    if output == registry.EMBEDDING or spec.output == output:
        return spec
    known = [one.name for one in table.models().values() if output in one.network.outputs]
    if spec.output is not None or table.model(spec.name).name not in known:
        raise OptionError(
            "metric", f"{metric.name} needs {output}, which {spec} does not give; models that do:"
            f" {', '.join(known) or 'none of this release'}",
        )  # fmt: skip
    return replace(spec, output=output)


def asked_for(
    metrics: str | Sequence[str] | None, protocol: str | None, captions: bool = False
) -> list[Asked]:
    """The named metrics; by default FAD, or those of the protocol, some of which need
    captions.
    """
    if metrics is None:
        metrics = metrics_of(protocol, captions) if protocol else [registry.FIRST]
    return [Asked.parse(text) for text in ([metrics] if isinstance(metrics, str) else metrics)]


def named(asked: Sequence[Asked], files: Sequence[Metadata] = ()) -> list[Asked]:
    """Name the model of every metric: that of the files, or the default model.

    If no metric needs a certain output or names a model, none is named: then it is the run that
    takes the model of the files. Of several files, one with the output that the metric needs
    decides. Raises OptionError as `Asked.parse`.
    """
    if all(one.spec is None and one.plain for one in asked):
        return list(asked)
    made = [one for one in files if one.model]
    return [one if one.spec else Asked.of(one.metric, _spec_of(one.metric, made)) for one in asked]


def _spec_of(metric: Metric, made: Sequence[Metadata]) -> ModelSpec:
    """The model of the files, without the output if the metric implies it."""
    if not made:
        return ModelSpec(table.model().name)
    output = metric.needs.output
    alike = [one for one in made if (one.output or registry.EMBEDDING) == output]
    said = (alike or made)[0]
    spec = ModelSpec.parse(said.label) if said.label else ModelSpec(said.model or "", said.options)
    return replace(spec, output=None) if spec.output == output else spec


def options_of(asked: Iterable[Asked], given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options of metrics that the user gives, each of which one of these metrics has."""
    known = registry.options(registry.metrics().values())
    for keyword in given.keys() - known.keys():
        raise OptionError(keyword, f"is not an option of a metric; these are: {', '.join(known)}")
    registry.check_effect(given, [one.metric for one in asked], lambda one: f"metrics={one.name}")
    return given
