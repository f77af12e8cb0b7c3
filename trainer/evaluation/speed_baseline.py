"""The dense speed baseline: what a detector must beat to be worth its network.

Motion-compensated, exponentially smoothed flow magnitude, standardised by the mean and deviation of
normal moving cells around each place, with a spatial maximum. No network; causal. It is a bundle
like any other, so it runs through the same pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.cell_statistics import CellStatistics
from calibration.stream_statistics import StreamStatistics
from calibration.tail import TailModel
from edge.inputs import open_input
from edge.vision.observe import Observer
from engines.bundle import Bundle, BundleFile, encode_arrays, write_bundle
from engines.errors import DataError
from engines.model_spec import (
    FrameSpec,
    FusionSpec,
    GateSpec,
    HeadSpec,
    InputSpec,
    MapSpec,
    ModelSpec,
    StreamSpec,
    TrainingRecord,
)
from trainer.assemble import versions
from trainer.normal_clip import NormalClip

NEIGHBOUR_SIGMA_CELLS = 4.0
# Weight, in moving cells, of the statistics over the whole picture where little was seen.
PRIOR_CELLS = 20.0
SPATIAL_MAX_CELLS = 3
FILE = "statistics/speed.npz"

Samples = tuple[NDArray[np.float64], NDArray[np.int64], NDArray[np.int64]]


def build_speed_bundle(clips: Sequence[NormalClip], *, frame: FrameSpec, root: Path) -> Bundle:
    """Fit the baseline on normal clips and write it as a bundle into `root`.

    Raises:
        DataError: Nothing moves in the clips.
    """
    gate = GateSpec()
    spec = InputSpec(kind="speed")
    shape = open_input(spec, frame=frame, gate=gate).shape
    frames, seconds, samples = _collect(clips, spec, frame, gate)
    statistics = _fit(samples, shape)
    model = ModelSpec(
        name="speed-baseline",
        frame=frame,
        gate=gate,
        streams=(
            StreamSpec(
                name="speed",
                input=spec,
                head=HeadSpec(kind="identity"),
                statistics=FILE,
                weight=1.0,
            ),
        ),
        map=MapSpec(rows=shape[0], columns=shape[1]),
        fusion=FusionSpec(spatial_max=SPATIAL_MAX_CELLS),
        training=TrainingRecord(
            dataset="normal clips",
            preset="speed-baseline",
            seed=0,
            command="vigil evaluate",
            versions=versions(),
            clips=len(clips),
            frames=frames,
            seconds=seconds,
        ),
    )
    file = BundleFile(FILE, "statistics", encode_arrays(statistics.to_arrays()))
    return write_bundle(root, model=model, alarm=None, files=[file])


def _collect(
    clips: Sequence[NormalClip], spec: InputSpec, frame: FrameSpec, gate: GateSpec
) -> tuple[int, float, Samples]:
    """Frames, seconds, and speed with position of every moving cell of every frame."""
    parts: list[Samples] = []
    frames, seconds = 0, 0.0
    for clip in clips:
        observer = Observer(frame, gate)
        stream = open_input(spec, frame=frame, gate=gate)
        with clip.open() as source:
            for picture in source:
                cells = stream.observe(observer.observe(picture))
                parts.append((cells.gather()[:, 0].astype(np.float64), cells.rows, cells.columns))
                frames += 1
                seconds += 1.0 / clip.fps
    if not any(len(part[0]) for part in parts):
        raise DataError(
            "nothing moves in the normal clips, so there is no normal speed",
            mend="record footage in which normal things happen",
        )
    speeds, rows, columns = (np.concatenate(column) for column in zip(*parts, strict=True))
    return frames, seconds, (speeds, rows, columns)


def _fit(samples: Samples, shape: tuple[int, int]) -> StreamStatistics:
    """Mean and deviation around each cell, shrunk to those of the whole picture, and the tail."""
    speeds, rows, columns = samples
    mean_all, square_all = float(speeds.mean()), float((speeds**2).mean())
    count = np.zeros(shape)
    total, square = np.zeros(shape), np.zeros(shape)
    np.add.at(count, (rows, columns), 1.0)
    np.add.at(total, (rows, columns), speeds)
    np.add.at(square, (rows, columns), speeds**2)
    near = _blur(count) + PRIOR_CELLS
    mean = (_blur(total) + PRIOR_CELLS * mean_all) / near
    variance = (_blur(square) + PRIOR_CELLS * square_all) / near - mean**2
    floor = 1e-3 * (square_all - mean_all**2) + 1e-12
    deviation = np.sqrt(np.maximum(variance, floor))
    cells = CellStatistics(
        median=mean,
        scale=deviation,
        count=count.astype(np.int64),
        global_median=mean_all,
        global_scale=float(np.sqrt(max(square_all - mean_all**2, floor))),
    )
    z = (speeds - mean[rows, columns]) / deviation[rows, columns]
    return StreamStatistics(cells=cells, tail=TailModel.fit(z), smallest_energy=float(speeds.min()))


def _blur(image: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(
        cv2.GaussianBlur(image, (0, 0), NEIGHBOUR_SIGMA_CELLS, borderType=cv2.BORDER_CONSTANT),
        dtype=np.float64,
    )
