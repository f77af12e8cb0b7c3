"""Ground-truth masks in the forms that data sets use, as one bool array for each frame.

Non-zero means anomalous in all of them. A mask that cannot be read is an error, never a guess.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edge.capture.images import list_images, read_image
from engines.errors import DataError


class MaskSource(Protocol):
    """Masks of one clip, bool h x w each; iterable again and again."""

    @property
    def where(self) -> str:
        """File or folder, for messages."""

    def count(self) -> int:
        """Number of masks."""

    def __iter__(self) -> Iterator[NDArray[np.bool_]]: ...


class ImageMasks:
    """A folder with one picture for each frame, in natural order."""

    def __init__(self, folder: Path) -> None:
        self.where = str(folder)
        self._folder = folder

    def count(self) -> int:
        """Number of pictures.

        Raises:
            InputMissingError: The folder is not there or holds none.
        """
        return len(list_images(self._folder))

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        for path in list_images(self._folder):
            picture = read_image(path)
            if picture is None:
                raise DataError("The mask cannot be read", where=str(path))
            yield picture[:, :, 0] | picture[:, :, 1] | picture[:, :, 2] != 0


class MatMasks:
    """CUHK Avenue: MATLAB file, variable `volLabel`, 1 x frames cells of binary masks."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def count(self) -> int:
        """Number of cells (reads the file).

        Raises:
            DataError: The file is not such a file.
        """
        return self._cells().size

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        for index, cell in enumerate(self._cells()):
            mask = np.asarray(cell)
            if mask.ndim != 2:
                raise DataError(f"Cell {index} of volLabel is no h x w mask", where=self.where)
            yield mask != 0

    def _cells(self) -> NDArray[Any]:
        from scipy.io import loadmat, matlab  # noqa: PLC0415 (half a second, for this layout alone)

        # What loadmat raises on files cut at each possible length, and on MATLAB 7.3 (HDF5), which
        # the official archive does not use (NotImplementedError).
        unreadable = (
            EOFError, IndexError, NotImplementedError, OSError, TypeError, ValueError,
            matlab.MatReadError, zlib.error,
        )  # fmt: skip
        try:
            variables = loadmat(self._path, variable_names=["volLabel"])
        except unreadable as error:
            raise DataError(
                f"The file cannot be read as MATLAB 4 to 7.2: {error}", where=self.where
            ) from error
        if "volLabel" not in variables:
            raise DataError("The file holds no variable volLabel", where=self.where)
        return np.ravel(variables["volLabel"])


class ArrayMasks:
    """ShanghaiTech: one .npy file, frames x h x w; read from disk frame by frame."""

    def __init__(self, path: Path) -> None:
        self.where = str(path)
        self._path = path

    def count(self) -> int:
        """Number of masks.

        Raises:
            DataError: The file is not such a file.
        """
        return len(self._array())

    def __iter__(self) -> Iterator[NDArray[np.bool_]]:
        for mask in self._array():
            yield np.asarray(mask) != 0

    def _array(self) -> NDArray[Any]:
        array = load_array(self._path)
        if array.ndim != 3:
            raise DataError(
                f"The array has shape {array.shape}; frames x height x width is expected",
                where=self.where,
            )
        return array


def load_array(path: Path) -> NDArray[Any]:
    """Open a .npy file without copying it to memory.

    Raises:
        DataError: It is not there or holds no plain array.
    """
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"The file holds no plain array: {error}", where=str(path)) from error
    return array
