"""Pictures for the retained snapshot topic: an event's JPEG, made smaller where it is too large."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

MAX_BYTES = 200 * 1024
_WIDTH = 640
_QUALITIES = (80, 60, 40)


def small_jpeg(path: Path) -> bytes | None:
    """The picture in at most `MAX_BYTES`; None: it cannot be read, or not made so small."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    if len(data) <= MAX_BYTES:
        return data
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if picture is None:
        return None
    height, width = picture.shape[:2]
    if width > _WIDTH:
        size = (_WIDTH, max(1, height * _WIDTH // width))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    for quality in _QUALITIES:
        done, smaller = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done and smaller.size <= MAX_BYTES:
            return smaller.tobytes()
    return None
