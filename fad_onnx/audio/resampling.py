"""From the channels and the sample rate of a file to those of a model."""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray


class Resampler:
    """Mixes the channels of a clip and resamples it, block by block.

    Channels are mixed before resampling, as frechet_audio_distance/utils.py does. A clip that
    arrives in blocks gives the same bits as the whole clip in one call.

    Parameters
    ----------
    source_hz, target_hz
        Sample rates of the file and of the model.
    source_channels
        Channels of the file.
    channel_rule
        "mean": one channel, the mean of all. "stereo": two channels stay as they are, one is
        duplicated, three or more are averaged and the mean is duplicated.

    Attributes
    ----------
    peak
        The largest magnitude so far, after mixing and before resampling.
    """

    def __init__(
        self, source_hz: int, target_hz: int, source_channels: int, channel_rule: str
    ) -> None:
        self._source_hz, self._target_hz = source_hz, target_hz
        self._as_is = channel_rule == "stereo" and source_channels == 2
        self._duplicate = channel_rule == "stereo" and not self._as_is
        self._taken = self._given = 0
        self.peak = 0.0
        self._stream = None
        if source_hz != target_hz:
            width = 2 if self._as_is else 1
            self._stream = soxr.ResampleStream(source_hz, target_hz, width, "float32", "HQ")

    def push(self, block: NDArray[np.float32], last: bool = False) -> NDArray[np.float32]:
        """Add a block (frames, channels); return the samples (channels, frames) now complete."""
        self._taken += len(block)
        if not self._as_is:
            block = block.mean(axis=1, keepdims=True) if block.shape[1] != 1 else block
        self.peak = max(self.peak, float(np.abs(block).max(initial=0.0)))
        if self._stream is not None:
            block = self._stream.resample_chunk(np.ascontiguousarray(block), last=last)
            block = block.reshape(-1, 2 if self._as_is else 1)
        if last:
            wanted = self._taken * self._target_hz // self._source_hz
            block = block[: max(0, wanted - self._given)]
        self._given += len(block)
        samples = np.ascontiguousarray(block.T)
        return np.repeat(samples, 2, axis=0) if self._duplicate else samples
