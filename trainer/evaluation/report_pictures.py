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


def frame_picture(moment: Moment) -> str:
    """The frame as a JPEG data address; the border of its ground-truth pixels in cyan."""
    picture = moment.picture.copy()
    if moment.mask is not None:
        height, width = picture.shape[:2]
        mask = cv2.resize(
            moment.mask.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST
        )
        borders, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(picture, borders, -1, TRUTH_BGR, 1, cv2.LINE_AA)
    return _data_address(picture)


def heat_picture(moment: Moment, *, top: float) -> str:
    """The frame in grey under its heat map, as a JPEG data address.

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
    return _data_address(mixed.astype(np.uint8))


def _data_address(picture: NDArray[np.uint8]) -> str:
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not done:
        raise InternalError(f"a picture of {picture.shape} could not be encoded as JPEG")
    return "data:image/jpeg;base64," + base64.b64encode(data.tobytes()).decode("ascii")
