"""How large things are in a scene, learned from its motion: the size of the windows.

Under a fixed camera over a ground plane the height of a person is a straight line in the picture's
vertical axis. Connected regions of steady motion are measured, the median height of each band of
the picture is taken, and a line is fitted through the bands, each weighted by what it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from edge.vision.observe import COARSE_PX
from edge.vision.steady_flow import SteadyFlow
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec
from trainer.clip_split import count_frames
from trainer.collect import observe_clip
from trainer.normal_clip import NormalClip
from trainer.progress import SilentTraining, TrainingProgress

FLOOR_PX_S = 5.0
TIME_CONSTANT_S = 0.28
SMALLEST_PX = 16.0
LARGEST_SHARE = 0.75  # of the picture's height
_FRAMES = 1500  # looked at, over all clips
_SMALLEST_CELLS = 4  # a region of fewer coarse cells is a flicker
_BANDS = 10
_FEWEST_IN_BAND = 20

Regions = NDArray[np.float64]


def measure_window_size(
    clips: Sequence[NormalClip],
    *,
    frame: FrameSpec,
    gate: GateSpec,
    progress: TrainingProgress | None = None,
) -> dict[str, float]:
    """Options ``top`` and ``bottom`` of input kind ``window``.

    One run of frames from the middle of each clip is looked at.

    Returns:
        Height in working pixels of what moves, centred on the upper and on the lower edge.

    Raises:
        DataError: Nothing moves.
    """
    progress = progress or SilentTraining()
    progress.begin("size of what moves", total=len(clips))
    whole: list[tuple[float, float]] = []
    cut_off: list[tuple[float, float]] = []
    wanted = max(20, _FRAMES // len(clips))
    for clip in clips:
        begin = max(0, (count_frames(clip) - wanted) // 2)
        flow = SteadyFlow(height=frame.height, width=frame.width, time_constant_s=TIME_CONSTANT_S)
        section = (begin, begin + wanted)
        for observation, _, _ in observe_clip(clip, {}, frame=frame, gate=gate, section=section):
            if observation.coarse_flow is not None and observation.dt_s > 0.0:
                flow.update(observation.coarse_flow, observation.dt_s)
                for region, is_whole in _regions(flow.speed):
                    (whole if is_whole else cut_off).append(region)
        progress.advance()
    progress.end()
    # What the picture's edge cuts off seems smaller; it counts where there is nothing else.
    found = whole or cut_off
    if not found:
        raise DataError(
            f"nothing travels at {FLOOR_PX_S:g} px per second or more in {len(clips)} clip(s), "
            "so the size of what moves is not known",
            mend="give footage with movement, or state the window's options top and bottom",
        )
    return size_line(np.array(found), height=frame.height)


def size_line(regions: Regions, *, height: int) -> dict[str, float]:
    """The line through the bands' medians.

    Args:
        regions: float64, N x 2, N >= 1: vertical centre and height in pixels.
        height: Of the picture, pixels.

    Returns:
        ``top`` and ``bottom``, kept between 16 px and three quarters of the picture's height.
    """
    centre, size = regions.T
    band = np.clip((centre * _BANDS / height).astype(np.int64), 0, _BANDS - 1)
    middles, medians, counts = [], [], []
    for number in range(_BANDS):
        inside = band == number
        if inside.sum() >= _FEWEST_IN_BAND:
            middles.append(float(np.median(centre[inside])))
            medians.append(float(np.median(size[inside])))
            counts.append(float(inside.sum()))
    if len(middles) < 2:
        top = bottom = float(np.median(size))
    else:
        # polyfit squares the weights: each region counts once.
        slope, start = np.polyfit(middles, medians, 1, w=np.sqrt(counts))
        top, bottom = float(start), float(start + slope * height)
    limits = SMALLEST_PX, LARGEST_SHARE * height
    return {
        "top": round(float(np.clip(top, *limits)), 1),
        "bottom": round(float(np.clip(bottom, *limits)), 1),
    }


def _regions(speed: NDArray[np.float32]) -> Iterator[tuple[tuple[float, float], bool]]:
    """(vertical centre, height) in pixels of each moving region, and whether it is seen whole."""
    rows, columns = speed.shape
    moving = (speed > FLOOR_PX_S).astype(np.uint8)
    count, _, boxes, _ = cv2.connectedComponentsWithStats(moving)
    for left, top, width, height, area in boxes[1:count].tolist():
        cut_off = left == 0 or top == 0 or left + width == columns or top + height == rows
        if area >= _SMALLEST_CELLS:
            yield ((top + height / 2) * COARSE_PX, height * COARSE_PX), not cut_off
