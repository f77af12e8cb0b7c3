"""The dense speed baseline: what a detector must beat to be worth its network.

Motion-compensated, exponentially smoothed flow magnitude, standardised by the mean and deviation of
normal moving cells around each place, with a spatial maximum. No network; causal. It is a bundle
like any other, so it runs through the same pipeline.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from calibration.stream_statistics import StreamStatistics
from edge.commissioning.samples import EnergySamples
from edge.pipeline import StreamPipeline
from engines.bundle import Bundle, write_bundle
from engines.errors import DataError
from engines.model_spec import (
    FrameSpec,
    FusionSpec,
    GateSpec,
    InputSpec,
    MapSpec,
    ModelSpec,
    TrainingRecord,
)
from trainer.assemble import versions
from trainer.energies import collect_energies
from trainer.normal_clip import NormalClip
from trainer.stream_parts import StreamParts, open_runner, stream_files, stream_spec

SPATIAL_MAX_CELLS: Final = 3
_STREAM: Final = StreamParts(
    name="speed",
    input=InputSpec(kind="speed"),
    weight=1.0,
    learned=None,
    pooling="neighbourhood",
)


def build_speed_bundle(clips: Sequence[NormalClip], *, frame: FrameSpec, root: Path) -> Bundle:
    """Fit the baseline on normal clips and write it as a bundle into `root`.

    Raises:
        DataError: Nothing moves in the clips.
    """
    gate = GateSpec()
    pipeline = StreamPipeline(frame=frame, gate=gate, runners=[open_runner(_STREAM, threads=1)])
    samples = EnergySamples()
    frames, seconds = 0, 0.0
    for clip in clips:
        seen = collect_energies(pipeline, [clip], {_STREAM.name: samples})
        frames += seen
        seconds += seen / clip.fps
    shape = pipeline.grid_shape(_STREAM.name)
    pipeline.close()
    energies, rows, columns = samples.arrays()
    if not len(energies):
        raise DataError(
            "nothing moves in the normal clips, so there is no normal speed",
            mend="record footage in which normal things happen",
        )
    statistics = StreamStatistics.fit(energies, rows, columns, shape, pooling=_STREAM.pooling)
    model = ModelSpec(
        name="speed-baseline",
        frame=frame,
        gate=gate,
        streams=(stream_spec(_STREAM),),
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
    return write_bundle(root, model=model, alarm=None, files=stream_files(_STREAM, statistics))
