"""Eigen's cosine in float32, from which TensorFlow computes its windows.

The windows of tf.signal are rounded at every step. This rounding lets a loud sound leak into empty
bands, above the floor of a network whose range is 80 dB of magnitude.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float32]
# libeigen, Eigen/src/Core/arch/Default/GenericPacketMathFunctions.h, psincos_float, as it is
# compiled without fused multiply-add: -pi / 2 in four parts, and two polynomials, highest first.
_QUARTER = (-1.5703125, -0.000483989715576171875, 1.62865035235881805419921875e-07,
            5.5644315544167710640977020375430583953857421875e-11)  # fmt: skip
_COS = (2.4372266125283204019069671630859375e-05, -0.00138865201734006404876708984375,
        0.041666619479656219482421875, -0.5, 1.0)  # fmt: skip
_SIN = (-0.0001959234114083702898469196984621021329076029360294342041015625,
        0.00833268736556158516, -0.16666662039829802985, 0.0)  # fmt: skip


def cosine(angles: Values) -> Values:
    """The cosine of angles from 0 to some thousands, in radians."""
    turned = np.rint(angles * np.float32(0.636619746685028076171875))
    rest = angles
    for part in _QUARTER:
        rest = turned * np.float32(part) + rest
    square = rest * rest
    quarter = turned.astype(np.int64) % 4
    found = np.where(
        quarter % 2, _polynomial(_SIN, square) * rest + rest, _polynomial(_COS, square)
    )
    return np.where((quarter == 1) | (quarter == 2), -found, found)


def _polynomial(factors: Sequence[float], values: Values) -> Values:
    found = np.full_like(values, factors[0])
    for factor in factors[1:]:
        found = found * values + np.float32(factor)
    return found
