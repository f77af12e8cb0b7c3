"""Frames with their heat maps, as JPEG data addresses for a page that asks for nothing outside."""

from __future__ import annotations

import base64

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.errors import InternalError
from trainer.evaluation.gallery import Moment

JPEG_QUALITY = 82
# Strongest cover of the picture by the heat map: the scene must stay recognisable.
MAX_COVER = 0.72
TRUTH_BGR = (255, 255, 0)
# The peak's cell: yellow on black, to be seen on anything. Cells are small: the outline stands
# this many pixels off.
PEAK_BGR, PEAK_HALO_BGR = (40, 220, 255), (0, 0, 0)
PEAK_GAP = 4


def frame_picture(moment: Moment) -> str:
    """The frame as a JPEG data address; ground truth bordered in cyan, the peak in yellow."""
    picture = moment.picture.copy()
    if moment.mask is not None:
        height, width = picture.shape[:2]
        mask = cv2.resize(
            moment.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        borders, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, borders, -1, TRUTH_BGR, 1, cv2.LINE_AA)
    _outline_peak(picture, moment)
    return _data_address(picture)


def heat_picture(moment: Moment, *, top: float) -> str:
    """The frame in grey under its heat map, the peak's cell outlined, as a JPEG data address.

    Args:
        moment: Frame and map; a pixel takes the cell that it falls into, as in the pixel metric.
        top: Map value of full colour; the same for all pictures, so that they can be compared.
    """
    height, width = moment.picture.shape[:2]
    share = np.clip(moment.map / max(top, 1e-9), 0.0, 1.0).astype(np.float32)
    share = cv2.resize(share, (width, height), interpolation=cv2.INTER_NEAREST)
    colour = cv2.applyColorMap((255 * share).astype(np.uint8), cv2.COLORMAP_INFERNO)
    grey = cv2.cvtColor(cv2.cvtColor(moment.picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    # Square root: weak cells stay visible beside a strong one.
    cover = (MAX_COVER * np.sqrt(share))[..., None]
    mixed = (1.0 - cover) * grey.astype(np.float32) + cover * colour.astype(np.float32)
    picture = mixed.astype(np.uint8)
    _outline_peak(picture, moment)
    return _data_address(picture)


def _outline_peak(picture: NDArray[np.uint8], moment: Moment) -> None:
    """Draw a box around the cell that caused the peak, if something stands out."""
    if moment.explanation is None or moment.explanation.stream is None:
        return
    height, width = picture.shape[:2]
    cell = moment.explanation.peak
    left, top = round(cell.x * width) - PEAK_GAP, round(cell.y * height) - PEAK_GAP
    right = round((cell.x + cell.w) * width) + PEAK_GAP
    bottom = round((cell.y + cell.h) * height) + PEAK_GAP
    # At the border of the picture the box must stay in sight.
    first = max(left, 1), max(top, 1)
    last = min(right, width - 2), min(bottom, height - 2)
    cv2.rectangle(picture, first, last, PEAK_HALO_BGR, 4)
    cv2.rectangle(picture, first, last, PEAK_BGR, 2)


def _data_address(picture: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise InternalError(f"a picture of {picture.shape} could not be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
