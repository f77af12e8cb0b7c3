"""Dense optical flow of two frames by dense inverse search (Kroeger et al., ECCV 2016)."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

FlowImage = NDArray[np.float32]
GreyImage = NDArray[np.uint8]


class DenseFlow:
    """DIS flow with OpenCV's "fast" preset; one instance per camera, its buffers are reused.

    The preset is part of the method: a bundle is trained and run with the same one.
    """

    def __init__(self) -> None:
        self._dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)

    def calc(self, previous: GreyImage, current: GreyImage) -> FlowImage:
        """Flow from `previous` to `current`.

        Args:
            previous: uint8, height x width.
            current: uint8, same size.

        Returns:
            float32, height x width x 2: (u right, v down) in pixels per frame; a new array.
        """
        return np.asarray(self._dis.calc(previous, current, None), dtype=np.float32)
