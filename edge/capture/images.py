"""Pictures in a folder: which files count, in which order, and how one becomes a BGR array.

The same rules serve frame folders, ground-truth masks and data sets. A file that cannot be decoded
whole is reported as None: a half-decoded JPEG would look like an anomaly, so it counts as
unreadable.
"""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.capture.opencv import silent_opencv
from engines.errors import DataError, InputMissingError

IMAGE_SUFFIXES = frozenset(
    {".bmp", ".jpeg", ".jpg", ".jp2", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp"}
)

_DIGITS = re.compile(r"(\d+)")


def natural_key(name: str) -> tuple[tuple[str | int, ...], str]:
    """Sort key that puts `frame_2` before `frame_10`; equal numbers fall back to the plain name."""
    parts: list[str | int] = list(_DIGITS.split(name.casefold()))
    parts[1::2] = [int(part) for part in parts[1::2]]
    return tuple(parts), name


def is_hidden(path: Path) -> bool:
    """Whether the name starts with a dot: hidden files, and the `._x` that macOS archives carry."""
    return path.name.startswith(".")


def is_image(path: Path) -> bool:
    """Whether `path` is a visible file with the suffix of a picture."""
    return path.suffix.lower() in IMAGE_SUFFIXES and not is_hidden(path) and path.is_file()


def visible_entries(folder: Path) -> list[Path]:
    """Files and folders directly in `folder`, without hidden ones, in natural order.

    Raises:
        InputMissingError: `folder` is not there, is not a folder, or may not be read.
    """
    if not folder.exists():
        raise InputMissingError("The folder does not exist", where=str(folder))
    if not folder.is_dir():
        raise InputMissingError("This is a file; a folder is expected", where=str(folder))
    try:
        entries = [path for path in folder.iterdir() if not is_hidden(path)]
    except OSError as error:
        raise InputMissingError(
            f"The folder cannot be read: {error.strerror}", where=str(folder)
        ) from error
    return sorted(entries, key=lambda path: natural_key(path.name))


def list_images(folder: Path) -> list[Path]:
    """The pictures directly in `folder`, in natural order; other files are ignored.

    Raises:
        InputMissingError: The folder is not there or holds no picture.
        DataError: Two pictures share a stem (`001.jpg` and `001.png`), so the order is unclear.
    """
    images = [path for path in visible_entries(folder) if is_image(path)]
    if not images:
        raise InputMissingError(
            "The folder holds no pictures",
            where=str(folder),
            mend=f"put frames there; known types are {' '.join(sorted(IMAGE_SUFFIXES))}",
        )
    by_stem: dict[str, Path] = {}
    for path in images:
        other = by_stem.setdefault(path.stem, path)
        if other is not path:
            raise DataError(
                f"Two pictures have the same number: {other.name} and {path.name}",
                where=str(folder),
                mend="keep one file type in a frame folder",
            )
    return images


def read_image(path: Path) -> NDArray[np.uint8] | None:
    """Decode one picture to uint8, height x width x 3, blue-green-red; None if it is unreadable.

    Grey pictures get three equal channels; 16-bit values are scaled by 255/65535; an alpha channel
    is dropped.

    Raises:
        DataError: The picture is whole but its pixel type is neither 8 nor 16 bit.
    """
    try:
        data = path.read_bytes()
    except OSError:
        return None
    return decode_image(data, where=str(path))


def decode_image(data: bytes, *, where: str) -> NDArray[np.uint8] | None:
    """Decode a picture in memory, as `read_image` does.

    Raises:
        DataError: The picture is whole but its pixel type is neither 8 nor 16 bit.
    """
    if _is_cut_short(data):
        return None
    try:
        with silent_opencv():
            image = cv2.imdecode(
                np.frombuffer(data, np.uint8), cv2.IMREAD_ANYCOLOR | cv2.IMREAD_ANYDEPTH
            )
    except cv2.error:  # an empty buffer, or a header with impossible sizes
        return None
    if image is None or image.size == 0:
        return None
    return bgr8_from_array(image, where=where)


def bgr8_from_array(image: NDArray[np.generic], *, where: str) -> NDArray[np.uint8]:
    """Bring a decoded picture (h x w, or h x w x 1, 3 or 4; 8 or 16 bit) to uint8 h x w x 3 BGR.

    Raises:
        DataError: Another pixel type or number of channels.
    """
    if image.dtype == np.uint16:
        # 65535 = 255 * 257: division by 257 maps the full range onto the full range.
        image = np.rint(image / np.float32(257.0)).astype(np.uint8)
    if image.dtype != np.uint8:
        raise DataError(
            f"Pixels of type {image.dtype} are not supported; 8 or 16 bits are", where=where
        )
    channels = 1 if image.ndim == 2 else image.shape[2]
    if channels == 1:
        # Thirty times as fast as np.repeat.
        grey = image.astype(np.uint8, copy=False)
        return np.asarray(cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), dtype=np.uint8)
    if channels in (3, 4):
        return np.ascontiguousarray(image[:, :, :3], dtype=np.uint8)
    raise DataError(f"A picture with {channels} channels; 1, 3 or 4 are supported", where=where)


def _is_cut_short(data: bytes) -> bool:
    """Whether a JPEG or PNG lacks its end: decoders fill the missing part with grey in silence.

    In a JPEG no end marker (FFD9) can occur inside a scan, where FF is always followed by 00, so a
    whole file has one after its last start-of-scan marker (FFDA).
    """
    if data.startswith(b"\xff\xd8"):
        return data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda") or b"\xff\xda" not in data
    if data.startswith(b"\x89PNG"):
        return b"IEND" not in data
    return False
