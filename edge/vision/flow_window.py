"""The last T flows and their Gram matrix, kept exactly.

Flows are stored as whole steps of 1/16 px, clipped to [-8, 8) px: the scaling a = 16 of the paper
(Section IV-C; its offset b = 128 has no effect on Eq. (4)). Whole steps make every dot product a
sum of integers, so the Gram matrix is exact: entries never drift, and every implementation agrees
bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.flow import FlowImage

STEPS_PER_PIXEL = 16
STEP_MIN, STEP_MAX = -128, 127
# 1024 products of two steps stay within 2**24, where float32 still counts whole numbers exactly.
CHUNK = 1024


def to_steps(flow: FlowImage) -> NDArray[np.float32]:
    """Flow in whole steps of 1/16 px, clipped to [-128, 127]; float32 of the same shape."""
    steps: NDArray[np.float32] = np.rint(flow * np.float32(STEPS_PER_PIXEL))
    return np.clip(steps, STEP_MIN, STEP_MAX, out=steps)


class FlowWindow:
    """Ring buffer of the last `length` flows of one camera.

    One new flow costs one Gram row (length dot products), a combination costs one weighted sum:
    nothing else depends on the size of the picture.

    Args:
        length: T, flows in a full window.
        height: Rows of a flow.
        width: Columns of a flow.
    """

    def __init__(self, *, length: int, height: int, width: int) -> None:
        self._length = length
        self._shape = (height, width, 2)
        self._values = height * width * 2
        self._chunks = -(-self._values // CHUNK)
        self._ring = np.zeros((length, self._chunks * CHUNK), np.float32)
        self._gram = np.zeros((length, length), np.float64)
        self._count = 0
        self._next = 0

    def __len__(self) -> int:
        """Flows held now, at most `length`."""
        return self._count

    @property
    def full(self) -> bool:
        """True once `length` flows are held."""
        return self._count == self._length

    @property
    def gram(self) -> NDArray[np.float64]:
        """G_st = v_s . v_t in squared steps, oldest first; float64, n x n for n held flows."""
        n = self._count
        return np.array(self._gram[self._length - n :, self._length - n :], np.float64)

    def reset(self) -> None:
        """Forget all flows (cut, reconnect, new clip)."""
        self._count = 0
        self._next = 0
        self._gram[:] = 0.0

    def push(self, flow: FlowImage) -> None:
        """Add the newest flow (float32, height x width x 2, px); the oldest leaves when full."""
        slot = self._next
        self._ring[slot, : self._values] = to_steps(flow).ravel()
        self._next = (slot + 1) % self._length
        self._count = min(self._count + 1, self._length)
        # Newest is the last row and column; everything moves up by one, nothing is recomputed.
        self._gram[:-1, :-1] = self._gram[1:, 1:]
        row = self._dot_products(slot)[self._order()]
        first = self._length - self._count
        self._gram[-1, first:] = row
        self._gram[first:, -1] = row

    def weighted_sum(self, weights: NDArray[np.float64]) -> FlowImage:
        """Sum of weights_s v_s over the held flows, oldest first.

        Args:
            weights: float64, one per held flow.

        Returns:
            float32, height x width x 2, in pixels per frame times the weights' unit.
        """
        slots = np.zeros(self._length, np.float32)
        slots[self._order()] = weights / STEPS_PER_PIXEL
        return (slots @ self._ring)[: self._values].reshape(self._shape)

    def _order(self) -> NDArray[np.int64]:
        """Slots of the held flows, oldest first."""
        return (np.arange(self._count) + self._next - self._count) % self._length

    def _dot_products(self, slot: int) -> NDArray[np.float64]:
        """Dot product of one slot with every slot, float64 and exact."""
        chunks = self._ring.reshape(self._length, self._chunks, CHUNK)
        partial = np.matmul(chunks.transpose(1, 0, 2), chunks[slot][:, :, None])[:, :, 0]
        products: NDArray[np.float64] = partial.sum(axis=0, dtype=np.float64)
        return products
