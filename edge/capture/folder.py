"""A folder of pictures as a source: one file is one frame, in natural order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np
import structlog
from numpy.typing import NDArray

from edge.capture.images import list_images, read_image
from edge.capture.timing import checked_fps
from edge.frames import Frame
from engines.errors import DataError

DEFAULT_FOLDER_FPS = 10.0  # pictures carry no rate; UCSD and many others are 10 frames per second


class FolderSource:
    """Frames from the pictures in one folder. Open it with `with`; one pass for each entry.

    Rules:
        * Natural order (`2.jpg` before `10.jpg`); hidden files and files of other types ignored.
        * `time_s` is index / fps.
        * An unreadable picture keeps its index and is counted in `skipped`. It is left out, or with
          `repeat_unreadable` replaced by the readable picture before it (at the start of the clip
          by the first readable one), so that frames and labels of a data set keep their counts.
        * All pictures have the size of the first readable one.

    Args:
        folder: The folder.
        fps: Frames per second; 10 if not given.
        repeat_unreadable: Replace unreadable pictures instead of leaving them out.
    """

    live = False

    def __init__(
        self, folder: Path, *, fps: float | None = None, repeat_unreadable: bool = False
    ) -> None:
        self.name = str(folder)
        self.fps = checked_fps(fps) or DEFAULT_FOLDER_FPS
        self.frame_count: int | None = None
        self.skipped = 0
        self._folder = folder
        self._repeat = repeat_unreadable
        self._paths: list[Path] = []
        self._first = 0
        self._log = structlog.get_logger().bind(source=self.name)

    def __enter__(self) -> FolderSource:
        """List the folder.

        Raises:
            InputMissingError: The folder is not there or holds no picture.
            DataError: Two pictures have the same number.
        """
        self._paths = list_images(self._folder)
        self.frame_count = len(self._paths)
        self.skipped = 0
        self._first = 0
        return self

    def skip_to(self, index: int) -> None:
        """Let the iteration start with picture `index`, without decoding those before it."""
        self._first = index

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._paths = []

    def __iter__(self) -> Iterator[Frame]:
        """Decode the pictures in order.

        Raises:
            DataError: A picture differs in size from the first, or none can be read.
        """
        first: tuple[Path, tuple[int, ...]] | None = None
        previous: NDArray[np.uint8] | None = None
        leading: list[int] = []  # unreadable pictures before the first readable one
        for index, path in enumerate(self._paths[self._first :], start=self._first):
            picture = read_image(path)
            if picture is None:
                self._count_unreadable(index, path)
                if previous is None:
                    leading.append(index)
                elif self._repeat:
                    yield self._frame(index, previous)
                continue
            first = first or (path, picture.shape)
            _require_same_size(first, path, picture)
            if previous is None and self._repeat:
                yield from (self._frame(early, picture) for early in leading)
            previous = picture
            yield self._frame(index, picture)
        if previous is None:
            raise DataError(f"None of the {len(self._paths)} pictures can be read", where=self.name)

    def _frame(self, index: int, picture: NDArray[np.uint8]) -> Frame:
        return Frame(index=index, time_s=index / self.fps, bgr=picture)

    def _count_unreadable(self, index: int, path: Path) -> None:
        self.skipped += 1
        self._log.warning("frame_unreadable", file=path.name, index=index, skipped=self.skipped)


def _require_same_size(
    first: tuple[Path, tuple[int, ...]], path: Path, picture: NDArray[np.uint8]
) -> None:
    """Refuse a folder that mixes sizes: cell statistics are spatial, resizing would hide it."""
    first_path, (height, width, *_) = first
    if picture.shape[:2] != (height, width):
        raise DataError(
            f"Pictures of different sizes: {first_path.name} is {width}x{height}, "
            f"{path.name} is {picture.shape[1]}x{picture.shape[0]}",
            where=str(path.parent),
            mend="put each camera's frames into a folder of its own",
        )
