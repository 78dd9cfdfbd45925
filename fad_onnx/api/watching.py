"""Several metrics of clips in memory, such as within a training loop."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from ..errors import IncompatibleStatisticsError, OptionError
from ..networks.spec import ModelSpec
from ..networks.text import TextEmbedder
from ..pipeline import datasets
from ..pipeline.clip_windows import SamplesClip
from ..pipeline.datasets import Dataset
from ..pipeline.executors import chunks, cut
from ..pipeline.options import PathLike, RunOptions
from ..pipeline.run import Run
from ..weights.prepare import Progress as FetchProgress
from ..weights.prepare import load_text
from . import inputs
from .added import Added, Side
from .asked import asked_for, named, options_of
from .evaluated import Evaluation
from .gathering import Gathered, references
from .inputs import Source
from .text import CaptionedClips, Captions

Clips = ArrayLike | Sequence[ArrayLike]


class StreamingEvaluation:
    """Several metrics under several models, of clips in memory.

    A clip runs through each network once, whatever the number of metrics; its embeddings are kept.
    A copy shares the loaded models; a pickle loads them again when they are first needed.

    Parameters
    ----------
    metrics : str or sequence of str, optional
        ``METRIC`` or ``METRIC:MODEL``, as in `evaluate`.
    reference : dataset, optional
        As in `evaluate`; it is embedded when it is first needed, and kept. Or add its clips with
        ``update(..., real=True)``.
    metric_options : mapping, optional
        Options of metrics by keyword: ``{"prdc_k": 3, "ci": 0.9}``.
    protocol, weights, ..., download_progress
        See `fad_onnx.pipeline.options.RunOptions`.

    Raises
    ------
    OptionError
        For a metric or an option that does not exist.
    UnknownModelError
        For a model that does not exist.

    Examples
    --------
    >>> import numpy as np
    >>> from fad_onnx import StreamingEvaluation
    >>> metrics = StreamingEvaluation(["fad:logmel", "kad:logmel"], provider="cpu")
    >>> noise = np.random.RandomState(0).uniform(-1, 1, (8, 32000))
    >>> metrics.update(list(noise), 16000, real=True)
    >>> metrics.update(list(0.5 * noise), 16000)
    >>> list(metrics.compute())
    ['fad:logmel', 'kad:logmel']
    """

    def __init__(
        self,
        metrics: str | Sequence[str] | None = None,
        reference: Source | None = None,
        *,
        metric_options: Mapping[str, Any] | None = None,
        protocol: str | None = None,
        weights: PathLike | Mapping[str, PathLike] | None = None,
        folders: Sequence[PathLike] = (),
        provider: str = "auto",
        threads: int = 1,
        device: int = 0,
        memory_limit_mb: int | None = None,
        workers: int | None = None,
        short: str = "error",
        cache: bool = False,
        cache_dir: PathLike | None = None,
        offline: bool = False,
        download_progress: FetchProgress | None = None,
    ) -> None:
        self._run = RunOptions.of(locals())
        self._given = reference
        files = [one.metadata for one in self._fixed]
        self._asked = named(asked_for(metrics, protocol, captions=True), files)
        self._options = options_of(self._asked, metric_options or {})
        self._specs = list(dict.fromkeys(one.spec for one in self._asked))
        self._added = Added()
        self._fingerprints: list[str] | None = None  # in a copy, those of the original
        self._towers: dict[ModelSpec | None, TextEmbedder] = {}

    @cached_property
    def _runner(self) -> Run:
        specs = [spec for spec in self._specs if spec is not None]
        run = Run(specs or None, self._run, keep_embeddings=True)
        for dataset in self._fixed:
            run.assume(dataset)
        found = [one.fingerprint for one in run.embedders]
        if self._fingerprints not in (None, found):
            names = ", ".join(one.name for one in run.embedders)
            raise IncompatibleStatisticsError(
                f"{names} of this process", "that of the copied metrics",
                "weights or version differ",
            )  # fmt: skip
        return run

    def __getstate__(self) -> dict[str, Any]:
        known = self._known or self._fingerprints
        travels = replace(self._run, executor=None, progress=None, download_progress=None)
        state = {**self.__dict__, "_fingerprints": known, "_run": travels, "_towers": {}}
        made = ("_runner", "_reference", "_fixed")
        return {key: value for key, value in state.items() if key not in made}

    def __copy__(self) -> Self:
        return self.__deepcopy__({})

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Models and a given reference are shared; the added clips are not.
        copied = type(self).__new__(type(self))
        copied.__dict__.update(self.__dict__, _added=self._added.copy())
        return copied

    @property
    def _known(self) -> list[str] | None:
        """The fingerprints of the models, if they are loaded."""
        made = self.__dict__.get("_runner")
        return None if made is None else [one.fingerprint for one in made.embedders]

    @cached_property
    def _fixed(self) -> list[Dataset]:
        """The reference that was given, if it is made already."""
        if self._given is None:
            return []
        found = inputs.of_models(self._given, None)
        return found or list(filter(None, [inputs.made(self._given, "reference", None)]))

    @cached_property
    def _reference(self) -> list[Dataset | None] | None:
        """The reference that was given, for each model."""
        if self._given is None:
            return None
        if self._fixed:
            return references(self._asked, self._runner, self._fixed)
        return [*self._runner.sides([inputs.paths_of(self._given)])[0]]

    def update(
        self,
        samples: Clips,
        sample_rate: int,
        captions: str | Sequence[str] | None = None,
        *,
        names: Sequence[str] | None = None,
        real: bool = False,
    ) -> None:
        """Add one clip, or a list of clips.

        Parameters
        ----------
        samples : array (frames,) or (frames, channels), or a list of these
            Float in [-1, 1], int16 or int32; anything with `__array__`.
        sample_rate : int
            In Hz.
        captions : str or sequence of str, optional
            One for each clip, if a metric needs captions.
        names : sequence of str, optional
            One for each clip. Clips with the same name on both sides form a pair. By default, the
            first evaluation clip forms a pair with the first reference clip, and so on.
        real : bool
            Whether the clips belong to the reference, or to the evaluation.

        Raises
        ------
        OptionError
            If there is not one name or caption for each clip, or a name is taken.
        AudioError, TooShortError, TooLongError
            If a clip cannot be used; then none of them is added.
        """
        if real and self._given is not None:
            raise OptionError("real", "the reference is given already")
        if real and captions is not None:
            raise OptionError("captions", "belong to clips of the evaluation")
        clips, side = _clips(samples), self._added.sides[real]
        called = side.named(_each(names, clips, "names"), len(clips))
        said = _each(captions, called, "captions")
        named = [
            SamplesClip(name, name, samples=clip, sample_rate=sample_rate)
            for name, clip in zip(called, clips, strict=True)
        ]
        runner = self._runner
        found = list(chunks(runner.job, runner.embedders, cut(named)))
        side.add(found, called, numbered=names is None)
        self._added.captions |= dict(zip(called, said or (), strict=bool(said)))

    def evaluation(self) -> Evaluation:
        """The metrics of all clips so far.

        Returns
        -------
        Evaluation
            As `evaluate` returns it.

        Raises
        ------
        NoAudioError
            If there is no clip of the evaluation, or of a reference that a metric needs.
        OptionError
            If a metric needs captions, and none were given.
        UnpairedError, UncaptionedError
            If a metric needs pairs or captions, and some clips have none.
        """
        reference: list[Dataset | None] | None = None
        if any(one.metric.needs.reference for one in self._asked):
            reference = self._reference or [*self._dataset(real=True)]
        evaluations = [self._dataset(real=False)]
        found = Gathered(self._asked, self._run, evaluations, reference, self._texts())
        return Evaluation(found.every(self._options, per_file=False))

    def compute(self) -> dict[str, float | None]:
        """The metrics of all clips so far, by name, for a logger.

        Returns
        -------
        dict of str to float or None
            ``{"fad:vggish": 1.2}``.

        Raises
        ------
        FadError
            As `evaluation` does.
        """
        return self.evaluation().to_dict()

    def reset(self, *, real: bool | None = None) -> None:
        """Remove the clips that were added.

        Parameters
        ----------
        real : bool, optional
            Reset only this side, so that the reference can be kept from epoch to epoch.
        """
        for side in (True, False) if real is None else (real,):
            self._added.sides[side] = Side()
            if not side:
                self._added.captions = {}

    def state(self) -> dict[str, Any]:
        """The clips so far, to send to another process; see `merge_state`.

        Returns
        -------
        dict
            The `clips` of both sides, with the `models` and `fingerprints` of their embeddings. It
            can be pickled.
        """
        embedders = self._runner.embedders
        return {
            "models": [one.label for one in embedders],
            "fingerprints": [one.fingerprint for one in embedders],
            "clips": self._added.copy(),
        }

    def merge_state(self, others: Iterable[StreamingEvaluation | Mapping[str, Any]]) -> Self:
        """Add the clips of other evaluations with the same models.

        Their clips follow the clips of this one, in the order of `others`. Clips without names are
        renumbered, so that pairs stay pairs. The result has the same bits as if all clips had been
        added here in this order.

        Parameters
        ----------
        others : iterable of StreamingEvaluation or mapping
            Evaluations, or what their `state` returned.

        Returns
        -------
        StreamingEvaluation
            This one.

        Raises
        ------
        IncompatibleStatisticsError
            If one of them has other models.
        OptionError
            If a name occurs twice, or if one has reference clips although this one was given a
            reference. After an error, nothing is added.
        """
        merged = self._added.copy()
        for one in others:
            state = one.state() if isinstance(one, StreamingEvaluation) else one
            merged.join(self._checked(state))
        self._added = merged
        return self

    def _checked(self, state: Mapping[str, Any]) -> Added:
        """The clips of a state, if they can be added."""
        embedders, added = self._runner.embedders, state["clips"]
        if state["fingerprints"] != [one.fingerprint for one in embedders]:
            ours = ", ".join(one.label for one in embedders)
            theirs = ", ".join(state["models"])
            raise IncompatibleStatisticsError(ours, theirs, "made by other models or weights")
        if self._given is not None and added.sides[True].names:
            raise OptionError("real", "the reference is given already")
        found: Added = added
        return found

    def _dataset(self, *, real: bool) -> list[Dataset]:
        """One side, for each model."""
        name = "reference" if real else "evaluation"
        return datasets.gather(
            name, self._added.sides[real].chunks, self._runner.job, self._runner.embedders
        )

    def _texts(self) -> dict[ModelSpec | None, CaptionedClips]:
        needing = {one.spec: one.metric for one in self._asked if one.metric.needs.captions}
        if needing and not self._added.captions:
            name = next(iter(needing.values())).name
            raise OptionError("captions", f"{name} needs captions; give them to update")
        captions = Captions("captions", self._added.captions)
        return {
            spec: CaptionedClips(captions, self._tower(spec), self._run.worker_count)
            for spec in needing
        }

    def _tower(self, spec: ModelSpec | None) -> TextEmbedder:
        """The text tower of a model, loaded when it is first needed."""
        if spec not in self._towers:
            request = self._runner.requests[self._specs.index(spec)]
            self._towers[spec] = load_text(request, self._run.download_progress)
        return self._towers[spec]


def _clips(samples: Any) -> list[ArrayLike]:
    """The clips of a list; copies, because the caller may reuse its buffers."""
    several = isinstance(samples, list | tuple)
    single = not several or (len(samples) > 0 and np.ndim(samples[0]) == 0)
    return [np.array(one) for one in ([samples] if single else samples)]


def _each(given: str | Sequence[str] | None, clips: Sequence[Any], what: str) -> list[str] | None:
    """The texts, checked to be one for each clip."""
    if given is None:
        return None
    found = [given] if isinstance(given, str) else list(given)
    if len(found) != len(clips):
        raise OptionError(what, f"{len(found)} for {len(clips)} clips; give one for each")
    for one in found:
        if not isinstance(one, str):
            raise OptionError(what, f"needs texts, found {one!r} ({type(one).__name__})")
    return found
