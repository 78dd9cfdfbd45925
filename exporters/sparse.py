"""A constant matrix that is mostly zeros, stored as its other numbers and their positions. The
session builds the matrix when it is opened, so the graph of a filterbank takes a tenth of the space
in the package.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Sparse(nn.Module):
    """A module that returns the matrix, bit for bit, at any call.

    Parameters
    ----------
    matrix
        Float32, of any shape.
    """

    places: Tensor
    values: Tensor

    def __init__(self, matrix: NDArray[np.float32]) -> None:
        super().__init__()
        flat = torch.from_numpy(np.ascontiguousarray(matrix)).flatten()
        self.shape = matrix.shape
        self.register_buffer("places", flat.nonzero(), persistent=False)
        self.register_buffer("values", flat[flat != 0], persistent=False)

    def forward(self) -> Tensor:
        flat = torch.zeros(int(np.prod(self.shape))).index_put((self.places[:, 0],), self.values)
        return flat.reshape(self.shape)
