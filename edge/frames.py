"""The typed values that travel through the pipeline, one per arrow."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Frame:
    """One picture of one source.

    Attributes:
        index: 0 for the first frame since the source was opened, then +1 for each frame, also for
            frames that could not be read (they are missing, their number is not reused).
        time_s: Presentation time in seconds since the source's first frame; never falls.
        bgr: Picture, uint8, height x width x 3, blue-green-red; grey sources have equal channels.
        captured_at: Wall clock at capture, UTC; None for recordings.
    """

    index: int
    time_s: float
    bgr: NDArray[np.uint8]
    captured_at: datetime.datetime | None = None


@dataclass(frozen=True)
class CellBatch:
    """Cells to be encoded, and where: float32 N x channels x side x side in [0, 1], or N x D.

    `rows` and `columns` (int64, N) are positions on the stream's grid of `shape` cells.
    """

    data: NDArray[np.float32]
    rows: NDArray[np.int64]
    columns: NDArray[np.int64]
    shape: tuple[int, int]


@dataclass(frozen=True)
class EnergyMap:
    """Energies of one stream and one frame.

    Attributes:
        energy: float64, rows x columns; valid where `active`.
        active: bool, rows x columns: cells that were scored; the others have no value.
        warm_up: The stream's time window was not full yet.
        fresh: False if the stream did not look at this frame, so that nothing is known of it.
    """

    energy: NDArray[np.float64]
    active: NDArray[np.bool_]
    warm_up: bool = False
    fresh: bool = True


@dataclass(frozen=True)
class StreamScore:
    """One stream's part of a score: float64 rows x columns each, 0 where not `active`.

    `z` is in robust standard deviations of the cell, `surprise` is -log10 of the tail probability
    among normal cells (3 = one in a thousand); after a carry it has the cells of the fused map.
    `known` is False while the stream has not looked at any frame since the start or a cut.
    """

    energy: EnergyMap
    z: NDArray[np.float64]
    surprise: NDArray[np.float64]
    known: bool = True

    @property
    def peak(self) -> float:
        """Largest surprise over the cells."""
        return float(self.surprise.max(initial=0.0))


@dataclass(frozen=True)
class ScoreMap:
    """The result for one frame.

    Attributes:
        frame_index: Index of the newest frame that it depends on; nothing newer was used.
        time_s: Presentation time of that frame in seconds.
        map: float32, rows x columns: fused and pooled, high is anomalous.
        score: The frame score after causal smoothing, same unit as `map`.
        raw_score: The frame score before smoothing.
        streams: Each stream's part, by name.
        warm_up: True while any stream's time window is not full.
    """

    frame_index: int
    time_s: float
    map: NDArray[np.float32]
    score: float
    raw_score: float
    streams: dict[str, StreamScore] = field(default_factory=dict)
    warm_up: bool = False


Phase = Literal["start", "update", "end"]
