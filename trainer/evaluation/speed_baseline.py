"""The dense speed baseline: what a detector must beat to be worth its network.

Motion-compensated, exponentially smoothed flow magnitude, standardised by the mean and deviation of
normal moving cells around each place, with a spatial maximum. No network; causal. It is a bundle
like any other, so it runs through the same pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from calibration.stream_statistics import StreamStatistics
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
    statistics = StreamStatistics.fit(*samples, shape, pooling="neighbourhood")
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
