"""How badly something is rebuilt, as a logarithm that half precision can hold."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

# Squares of differences around 0.01 would lose their last digits in half precision; of 16 times
# that they do not, and the largest (32 squared) is far from overflow.
_SCALE = 16.0
# A difference of one 8-bit level in [-1, 1], squared and scaled: less than that is no error.
_SMALLEST = (_SCALE * 2.0 / 255.0) ** 2


def log_error(error: Tensor, pool: Callable[[Tensor], Tensor]) -> Tensor:
    """N x C x H x W differences -> N x 1 x h x w: ln of the mean square, in units of 1/16 squared.

    Args:
        error: Differences of values in [-1, 1] or [0, 1].
        pool: Means over the cells, N x 1 x H x W -> N x 1 x h x w.
    """
    scaled = error * _SCALE
    return torch.log(pool((scaled * scaled).mean(1, keepdim=True)) + _SMALLEST)
