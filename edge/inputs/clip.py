"""The last pictures as a whole: what networks that predict or rebuild frames look at.

How a stream of kind ``clip`` is declared and scored (`model.json`, and `trainer.stream_parts` for
writing it):

- **input**: kind ``clip``, `patch` = side of the network's square picture, `stride` = side in
  working pixels of a cell of the stream's grid, options of `ClipInput`. An item of a batch is
  float32, (frames * colours) x patch x patch in [0, 1]: oldest picture first, each RGB or grey.
- **network**: one file; input ``N x frames * colours x patch x patch``, output
  ``N x J x rows x columns``, with `NetworkSpec.map` = (rows, columns). Everything that turns
  pictures into J numbers a place stands inside the graph: error against the newest picture, mean
  over blocks, distance to a memory. Cell (0, 0) is the upper left corner; the map covers the whole
  picture. The parity file holds such items and the maps that belong to them.
- **gate**: the cells of the stream's grid in which the newest picture moved, as for kind
  ``appearance``. With no such cell the network does not run. With the gate off, all cells count.
- **scoring**: the map is read at the cells of the grid (mean over a cell where the map is finer,
  else linear), so each active cell has J features; the head makes one energy of them: ``identity``
  for J = 1, ``map`` for a weighted sum of standardised parts, ``mixture``, ``log-density``.
  Statistics, surprise, fusion, events: as for every stream.
"""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.inputs.cells import Cells, only_options, whole
from edge.inputs.due import Due
from edge.vision.gate import CellGate
from edge.vision.observe import Observed, resize
from edge.vision.patches import Grid
from engines.model_spec import FrameSpec, GateSpec, InputSpec


class ClipInput:
    """Kind ``clip``: the newest `frames` pictures, scaled to patch x patch, oldest first.

    Options: ``frames``: pictures in a clip, the newest among them; ``grey``: one channel a picture
    instead of three (RGB); ``every_s``: the network looks this often, 0 means at each frame. While
    there are fewer pictures than `frames`, the oldest one stands in for those before it, and the
    score is flagged as warm-up. Nothing newer than the newest picture is waited for.
    """

    def __init__(self, spec: InputSpec, frame: FrameSpec, gate: GateSpec) -> None:
        options = only_options(spec, {"frames": 5, "grey": False, "every_s": 0.0})
        self._frames = whole(options, "frames")
        self._grey = bool(options["grey"])
        self._side = spec.patch
        self._due = Due(options["every_s"])
        grid = Grid(frame.height, frame.width, spec.stride, spec.stride)
        self._grid = grid
        self._gate = CellGate(grid, min_pixels=gate.min_pixels, memory=1, enabled=gate.enabled)
        self._pictures: deque[NDArray[np.uint8]] = deque(maxlen=self._frames)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, columns) of the grid."""
        return self._grid.shape

    def reset(self) -> None:
        """Forget the past."""
        self._gate.reset()
        self._due.reset()
        self._pictures.clear()

    def observe(self, observation: Observed) -> Cells:
        """Cells that moved in the newest picture; none while a look is not due."""
        self._pictures.append(self._planes(observation))
        active = self._gate.update_counts(lambda: self._grid.count(observation.moved))
        due = self._due.take(observation)
        rows, columns = np.nonzero(active & due)
        # The ring goes on while this frame's cells may still be waiting for their network.
        pictures = tuple(self._pictures)

        def cut(r: NDArray[np.int64], c: NDArray[np.int64]) -> NDArray[np.float32]:
            del r, c  # the network looks at the whole picture
            return self._stack(pictures)

        return Cells(
            rows,
            columns,
            self.shape,
            warm_up=len(pictures) < self._frames,
            cut=cut,
            fresh=due,
            whole=True,
        )

    def _planes(self, observation: Observed) -> NDArray[np.uint8]:
        """uint8, colours x side x side."""
        if self._grey:
            return resize(observation.gray, self._side, self._side)[None]
        small = resize(observation.bgr, self._side, self._side)
        rgb = cv2.cvtColor(small, cv2.COLOR_BGR2RGB)
        return np.ascontiguousarray(np.moveaxis(rgb, -1, 0), dtype=np.uint8)

    def _stack(self, pictures: tuple[NDArray[np.uint8], ...]) -> NDArray[np.float32]:
        """float32, 1 x frames * colours x side x side."""
        missing = self._frames - len(pictures)
        planes = np.concatenate([pictures[0]] * missing + list(pictures))
        result = np.empty((1, *planes.shape), np.float32)
        np.multiply(planes[None], np.float32(1.0 / 255.0), out=result)
        return result
