"""The last T flows and their Gram matrix on a GPU: twin of `edge.vision.flow_window`.

A step of 1/16 px is one byte here. The dot products are sums of whole numbers, so the Gram matrix
is the CPU's bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edge.vision.cuda.device import THREADS, Buffer, Device, blocks
from edge.vision.flow import FlowImage
from edge.vision.flow_window import STEPS_PER_PIXEL

# Of motion.cu: words of four steps that one block multiplies, and its threads.
GRAM_WORDS = 16384
GRAM_THREADS = 256
WORD = 4


class FlowWindow:
    """Ring buffer of the last `length` flows of one camera.

    Args:
        device: The GPU.
        length: T, flows in a full window.
        height: Rows of a flow.
        width: Columns of a flow.
    """

    def __init__(self, device: Device, *, length: int, height: int, width: int) -> None:
        self._device = device
        self._length = length
        self._values = height * width * 2
        self._words = -(-self._values // WORD)
        self._chunks = -(-self._words // GRAM_WORDS)
        # Zeros, because the Gram row multiplies slots that no flow was written to yet.
        self._ring = device.upload(np.zeros((length, self._words * WORD), np.int8))
        self._partial = device.empty((length, self._chunks), np.int32)
        self._field = device.empty((height, width, 3), np.float32)
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
        self.push_on_device(self._device.upload(flow))

    def push_on_device(self, flow: Buffer) -> None:
        """The same for a flow that is on the device already."""
        slot, padded = self._next, self._words * WORD
        self._device.launch(
            "flow_steps", blocks(padded), THREADS,
            flow, self._ring.part(slot), self._values, padded,
        )  # fmt: skip
        self._device.launch(
            "gram_row", self._length * self._chunks, GRAM_THREADS,
            self._ring, self._partial, self._words, self._chunks, slot,
        )  # fmt: skip
        self._next = (slot + 1) % self._length
        self._count = min(self._count + 1, self._length)
        products = self._device.download(self._partial).sum(axis=1, dtype=np.float64)
        self._gram[:-1, :-1] = self._gram[1:, 1:]
        row = products[self._order()]
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
        field = self._device.download(self.motion_field(weights, weights))
        return np.ascontiguousarray(field[..., :2])

    def motion_field(
        self, weights: NDArray[np.float64], magnitude_weights: NDArray[np.float64]
    ) -> Buffer:
        """Motion image of the held flows, oldest first.

        Args:
            weights: Of u and v; float64, one per held flow.
            magnitude_weights: Of the vector whose length is the third channel.

        Returns:
            float32, height x width x 3: u, v, magnitude; overwritten by the next call.
        """
        pixels = self._values // 2
        self._device.launch(
            "motion_field", blocks(pixels), THREADS,
            self._ring, self._by_slot(weights), self._by_slot(magnitude_weights), self._field,
            pixels, self._words * WORD, self._length,
        )  # fmt: skip
        return self._field

    def _by_slot(self, weights: NDArray[np.float64]) -> Buffer:
        slots = np.zeros(self._length, np.float32)
        slots[self._order()] = weights / STEPS_PER_PIXEL
        return self._device.upload(slots)

    def _order(self) -> NDArray[np.int64]:
        """Slots of the held flows, oldest first."""
        return (np.arange(self._count) + self._next - self._count) % self._length
