"""Pictures of an event: the clean frame as JPEG, the score map as an 8-bit grey PNG.

They are two files so that a viewer can blend them, or not. Grey level 127.5 is the threshold.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.events.event import StoredPicture
from engines.atomic import write_bytes
from engines.errors import DataError

JPEG_QUALITY = 90


def write_snapshot(folder: Path, stem: str, bgr: NDArray[np.uint8]) -> StoredPicture:
    """Write ``<stem>.jpg``, durably.

    Args:
        folder: Where to.
        stem: Name without its ending.
        bgr: uint8, height x width x 3.

    Raises:
        CannotCreateError: The folder cannot be written.
        DataError: The picture cannot be encoded.
    """
    data = _encode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return _store(folder, f"{stem}.jpg", data, {})


def write_heatmap(
    folder: Path,
    stem: str,
    score_map: NDArray[np.float32],
    *,
    threshold: float,
    size: tuple[int, int],
) -> StoredPicture:
    """Write ``<stem>.png``: the map at the picture's size, one flat block per cell, durably.

    Args:
        folder: Where to.
        stem: Name without its ending.
        score_map: float32, rows x columns.
        threshold: The score half way between black and white.
        size: (height, width) of the picture in pixels.

    Raises:
        CannotCreateError: The folder cannot be written.
        DataError: The picture cannot be encoded.
    """
    grey, low, high = grey_of(score_map, threshold)
    rows, columns = grey.shape
    # The same rule as for masks: pixel (r, c) of h x w takes cell (floor(R r / h), floor(C c / w)).
    row_of = np.arange(size[0]) * rows // size[0]
    column_of = np.arange(size[1]) * columns // size[1]
    data = _encode(".png", grey[np.ix_(row_of, column_of)], [])
    return _store(
        folder, f"{stem}.png", data, {"score_at_0": round(low, 4), "score_at_255": round(high, 4)}
    )


def grey_of(
    score_map: NDArray[np.float32], threshold: float
) -> tuple[NDArray[np.uint8], float, float]:
    """A score map in grey levels: uint8, rows x columns, and the scores of levels 0 and 255.

    Args:
        score_map: float32, rows x columns.
        threshold: The score half way between them.
    """
    span = max(abs(threshold), 1.0)
    low, high = threshold - span, threshold + span
    grey = np.clip((score_map - low) / (high - low) * 255.0, 0.0, 255.0).astype(np.uint8)
    return grey, low, high


def _encode(ending: str, picture: NDArray[np.uint8], options: list[int]) -> bytes:
    done, data = cv2.imencode(ending, picture, options)
    if not done:
        raise DataError(f"a picture of shape {picture.shape} cannot be encoded as {ending}")
    return data.tobytes()


def _store(folder: Path, name: str, data: bytes, details: dict[str, float]) -> StoredPicture:
    write_bytes(folder / name, data)
    return StoredPicture(
        name=name, sha256=hashlib.sha256(data).hexdigest(), size=len(data), details=details
    )
