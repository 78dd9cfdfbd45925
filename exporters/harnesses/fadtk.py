"""fadtk 1.1.0, kadtk 1.1.0, and the fork of fadtk for DCASE 2024 task 7 (commit 9c989db).

The first two run their own code: reading and conversion to 16-bit files, windows, float16
embeddings, statistics, square roots and kernels. Only their networks are given these tensors in
place of a download, and torchaudio and hypy_utils are stand-ins. The fork is not on the package
index; its code is fadtk's except for the models (model_loader.py, lines 89 to 175, PANNsModel), so
fadtk runs with such a model. CDPAM is left out: fadtk's code for it needs a NumPy below 1.24; its
published scores are in tests/parity/test_cdpam.py.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import torch

from .. import encodec, laion, msclap, openl3, panns, passt, wav2vec2, wavegram, whisper
from ..mocks import stand_ins
from ..parity import Embed, Tensors
from . import Harness, Numbers, torchaudio_parts
from .gudgud96 import Vggish

Load = Callable[[Any, Tensors], Any]  # a harness' loader class, and the tensors for its network


def _map(function: Callable[[Any], Any], items: Any, **_: Any) -> list[Any]:
    return list(map(function, items))


# What fadtk and kadtk take from hypy_utils: progress bars and parallel maps. kadtk imports a name
# from turtle, which needs a display, and does not use it.
OTHERS = {
    "hypy_utils": {"write": MagicMock()},
    "hypy_utils.tqdm_utils": {"tq": lambda items, *_: items, "tmap": _map, "pmap": _map},
    "hypy_utils.logging_utils": {"setup_logger": MagicMock()},
    "hypy_utils.nlp_utils": {"substr_between": MagicMock()},
    "hypy_utils.downloader": {"download_file": MagicMock()},
    "turtle": {"st": None},
}


@contextlib.contextmanager
def _environment() -> Iterator[None]:
    """A context in which the harness' own code can be imported and run, without its prints."""
    with (
        stand_ins(),
        torchaudio_parts.installed(OTHERS),
        contextlib.redirect_stdout(io.StringIO()),
        torch.inference_mode(),
    ):
        import encodec.utils
        import torchaudio

        encodec.utils.torchaudio = torchaudio  # which may have been imported with a mock
        yield


@contextlib.contextmanager
def _copies(*folders: Path) -> Iterator[list[Path]]:
    """Copies of the folders: the harness writes its caches next to the clips."""
    with tempfile.TemporaryDirectory() as place:
        made = [Path(place) / str(i) for i in range(len(folders))]
        for source, target in zip(folders, made, strict=True):
            shutil.copytree(source, target)
        yield made


def _fadtk(load: Load, tensors: Tensors, *folders: Path) -> Numbers:
    with _environment(), _copies(*folders) as (reference, evaluation):
        from fadtk import fad, model_loader, utils

        _pin_numpy(utils)
        metric = fad.FrechetAudioDistance(load(model_loader, tensors), load_model=False)
        for folder in (reference, evaluation):
            for file in sorted(folder.glob("*.*")):
                metric.cache_embedding_file(file)
        return {"fad": float(metric.score(reference, evaluation))}


def _pin_numpy(utils: Any) -> None:
    """Imitate NumPy below 2, which fadtk requires, for a clip with one embedding.

    It takes the covariance as a number, so the clip's scatter is 0; newer releases give NaN.
    """
    own = getattr(utils._process_file, "own", utils._process_file)

    def process(file: Path) -> tuple[Any, Any, int]:
        embeddings = np.load(file)
        return own(file) if len(embeddings) > 1 else (embeddings[0], 0.0, 1)

    process.own = own  # type: ignore[attr-defined]
    utils._process_file = process


def _kadtk(load: Load, tensors: Tensors, *folders: Path) -> Numbers:
    with _environment(), _copies(*folders) as (reference, evaluation):
        from kadtk import emb_loader, fad, kad, model_loader

        model = load(model_loader, tensors)
        loader = emb_loader.EmbeddingLoader(model, load_model=False)
        for folder in (reference, evaluation):
            for file in sorted(folder.glob("*.*")):
                loader.cache_embedding_file(file)
        quiet = {"logger": MagicMock(), "audio_load_worker": 1}
        frechet = fad.FrechetAudioDistance(model, "cpu", force_stats_calc=True, **quiet)
        kernel = kad.KernelAudioDistance(model, "cpu", **quiet)
        return {
            "fad": float(frechet.score(reference, evaluation)),
            "kad": float(kernel.score(reference, evaluation)),
        }


def _loader(name: str, network: Callable[[Tensors], Any], **arguments: Any) -> Load:
    """A class of the harness' model_loader around this network."""

    def load(model_loader: Any, tensors: Tensors) -> Any:
        made = getattr(model_loader, name)(**arguments)
        made.model = network(tensors)
        return made

    return load


def _clap(kind: str, architecture: str) -> Load:
    """CLAPLaionModel; its constructor would download."""

    def load(model_loader: Any, tensors: Tensors) -> Any:
        made = model_loader.CLAPLaionModel.__new__(model_loader.CLAPLaionModel)
        model_loader.ModelLoader.__init__(made, f"clap-laion-{kind}", 512, 48000)
        made.model = laion.module(architecture, tensors)
        return made

    return load


def _pann(model: str, model_loader: Any, tensors: Tensors) -> Any:
    """PANNsModel of kadtk and of the fork: the vector of 2048 numbers of the whole clip."""
    network = panns.embed(panns.original_network(*panns.SETTINGS[model], tensors))

    class PannsModel(model_loader.ModelLoader):  # type: ignore[misc, name-defined]
        def load_model(self) -> None: ...

        def _get_embedding(self, audio: Any) -> torch.Tensor:
            return torch.from_numpy(network(torch.from_numpy(audio).float()[None].numpy()))

    return PannsModel(model, 2048, panns.SETTINGS[model][1][0])


def _embedding(model: str, width: int, rate: int, embed: Callable[[Tensors], Embed]) -> Load:
    """A loader around a function of the samples that the harness reads."""

    def load(model_loader: Any, tensors: Tensors) -> Any:
        network = embed(tensors)

        class Model(model_loader.ModelLoader):  # type: ignore[misc, name-defined]
            def load_model(self) -> None: ...

            def _get_embedding(self, audio: Any) -> torch.Tensor:
                return torch.from_numpy(network(np.asarray(audio, np.float32)[None]))

        return Model(model, width, rate)

    return load


def _msclap(model_loader: Any, tensors: Tensors) -> Any:
    """CLAPModel; its constructor would download."""
    made = model_loader.CLAPModel.__new__(model_loader.CLAPModel)
    model_loader.ModelLoader.__init__(made, "clap-2023", 1024, msclap.RATE_HZ)
    clap = SimpleNamespace(audio_encoder=msclap.original_encoder(tensors))
    made.model = SimpleNamespace(clap=clap, default_collate=lambda chunks: None)
    return made


def passt_loader(variant: str, columns: int, model_loader: Any, tensors: Tensors) -> Any:
    """PaSSTModel of kadtk, whose models of 20 and 30 s use the windows of the model of 10 s."""
    whole = passt.original_model(columns, tensors)
    made = model_loader.PaSSTModel(variant)
    made.model = passt.original_wrapper(whole.mel, whole.net, 10_000, 2_500)
    return made


def _hidden_states(name: str, kind: str, model_loader: Any, tensors: Tensors) -> Any:
    """MERTModel, W2V2Model or HuBERTModel, with the settings of the published preprocessor."""
    from transformers import Wav2Vec2FeatureExtractor

    one = wav2vec2.PUBLISHED[name]
    arguments = {} if kind == "MERT" else {"size": "base", "layer": 12}
    made = getattr(model_loader, f"{kind}Model")(**arguments)
    made.model = wav2vec2.network(one.form, one.family, tensors)
    made.processor = Wav2Vec2FeatureExtractor(sampling_rate=one.rate_hz, do_normalize=one.normalise)
    return made


def _whisper(size: str, model_loader: Any, tensors: Tensors) -> Any:
    """WhisperModel, whose two vectors are the decoder's."""
    from transformers import WhisperFeatureExtractor

    made = model_loader.WhisperModel(size)
    made.model = whisper.original_network(whisper.SIZES[size], tensors)
    made.feature_extractor = WhisperFeatureExtractor()
    made.decoder_input_ids = torch.tensor([[1, 1]]) * made.model.config.decoder_start_token_id
    return made


BOTH: Mapping[str, Load] = {
    "vggish": _loader("VGGishModel", Vggish),
    "encodec-24k": _loader(
        "EncodecEmbModel", partial(encodec.original_network, "24khz"), variant="24k"
    ),
    "clap": _clap("audio", "HTSAT-tiny"),
    "clap-music-audioset": _clap("music", "HTSAT-base"),
    "msclap-2023": _msclap,
}
ENCODEC_48K: Mapping[str, Load] = {
    "encodec-48k": _loader(
        "EncodecEmbModel", partial(encodec.original_network, "48khz"), variant="48k"
    )
}
PANNS: Mapping[str, Load] = {
    **{name: partial(_pann, name) for name in ("pann-16k", "pann-32k")},
    "pann-wavegram": _embedding("wavegram-logmel", 2048, 32_000, wavegram.original),
}
KADTK: Mapping[str, Load] = {
    "openl3-music": _embedding("openl3-mel256-music", 512, 48_000, openl3.original),
    "passt": partial(passt_loader, "base-10s", 99),
}


# These need transformers, which an environment with laion_clap must not have.
TRANSFORMERS: Mapping[str, Load] = {
    "mert-95m": partial(_hidden_states, "mert-95m", "MERT"),
    "wav2vec2-base-960h": partial(_hidden_states, "wav2vec2-base-960h", "W2V2"),
    "hubert-base": partial(_hidden_states, "hubert-base", "HuBERT"),
    "whisper-tiny": partial(_whisper, "tiny"),
}


def _each(harness: Callable[..., Numbers], *loads: Mapping[str, Load]) -> dict[str, Harness]:
    return {name: partial(harness, load) for one in loads for name, load in one.items()}


CASES = (
    {"fadtk": _each(_fadtk, TRANSFORMERS), "kadtk": _each(_kadtk, TRANSFORMERS)}
    if importlib.util.find_spec("transformers")
    else {
        "fadtk": _each(_fadtk, BOTH, ENCODEC_48K),
        "kadtk": _each(_kadtk, BOTH, PANNS, KADTK),
        "dcase2024": _each(_fadtk, BOTH, ENCODEC_48K, PANNS),
    }
)
