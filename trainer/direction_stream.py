"""A stream of directions: footage is walked once, and a table is all that is learned."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edge.inputs import open_input
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec
from trainer.clip_split import ClipSplit, count_frames
from trainer.collect import observe_clip
from trainer.direction_table import (
    BINS,
    Directions,
    add_directions,
    cross_energies,
    head_arrays,
    heads_without,
)
from trainer.normal_clip import NormalClip
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.stream_parts import HeadParts, Samples, StreamParts, Unseen


def build_direction_stream(
    stream: StreamPreset,
    spec: InputSpec,
    *,
    preset: Preset,
    split: ClipSplit,
    progress: TrainingProgress | None = None,
) -> StreamParts:
    """Count the directions of normal footage.

    Args:
        stream: The stream.
        spec: Its input, of a kind with features (row, column, angle in turns).
        preset: The recipe; `features.folds` and `features.frames` are used.
        split: Footage; the threshold's part is not touched.
        progress: Told about the steps.

    Returns:
        Head: the table of all clips but the threshold's; `unseen`: tables without the fold of each
        clip, and `samples`: energies of every clip under them.

    Raises:
        DataError: Nothing travels in the footage.
    """
    progress = progress or SilentTraining()
    clips = [*split.fit, *split.held_out]
    stretches = collect_directions(
        clips,
        spec,
        frame=preset.frame,
        gate=preset.gate,
        folds=preset.features.folds,
        frames=preset.features.frames,
        progress=progress,
    )
    without = heads_without(stretches)
    progress.say(
        f"{stream.name}: {sum(float(one.counts.sum()) for one in stretches):.0f} cell seconds of "
        f"directions in {len(clips)} clips"
    )
    return StreamParts(
        name=stream.name,
        input=spec,
        weight=stream.weight,
        learned=HeadParts(
            kind="place",
            arrays=head_arrays([one.counts for one in stretches]),
            unseen={
                clip.name: Unseen(without[one.fold])
                for clip, one in zip(clips, stretches, strict=True)
            },
            samples=_samples(stretches, cross_energies(stretches, without)),
        ),
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )


def build_random_stream(
    stream: StreamPreset, spec: InputSpec, *, preset: Preset, split: ClipSplit
) -> StreamParts:
    """A stream that knows nothing: what it says depends on place and direction by lot alone.

    Args:
        stream: The stream.
        spec: Its input, of a kind with features (row, column, angle in turns).
        preset: The recipe; its seed decides the lot.
        split: Footage, which it does not look at.

    Returns:
        Head: energies between -1 and 1 nat, one of them drawn for each cell and direction.
    """
    shape = open_input(spec, frame=preset.frame, gate=preset.gate).shape
    rng = np.random.default_rng([preset.seed, zlib.crc32(stream.name.encode())])
    table = rng.uniform(-1.0, 1.0, (*shape, BINS)).astype(np.float16)
    arrays = {"log_density": table}
    clips = [*split.fit, *split.held_out]
    return StreamParts(
        name=stream.name,
        input=spec,
        weight=stream.weight,
        learned=HeadParts(
            kind="place",
            arrays=arrays,
            unseen=dict.fromkeys((clip.name for clip in clips), Unseen(arrays)),
        ),
        pooling=stream.statistics,
        blur_cells=stream.blur_cells,
        carry_s=stream.carry_s,
    )


def collect_directions(
    clips: Sequence[NormalClip],
    spec: InputSpec,
    *,
    frame: FrameSpec,
    gate: GateSpec,
    folds: int,
    frames: int,
    progress: TrainingProgress,
) -> list[Directions]:
    """Walk clips and count; one stretch a clip, dealt to folds round robin.

    Args:
        clips: Normal clips.
        spec: The input.
        frame: Working size.
        gate: For the input.
        folds: At least 2.
        frames: All frames are counted; features are kept of so many at most, evenly spread.
        progress: Told about each clip.

    Raises:
        DataError: Nothing travels in any clip.
    """
    lengths = [count_frames(clip) for clip in clips]
    every = max(1, -(-sum(lengths) // frames))
    progress.begin("directions", total=len(clips))
    result = []
    for number, clip in enumerate(clips):
        result.append(_walk(clip, spec, frame, gate, number % folds, every))
        progress.advance()
    progress.end()
    if not any(one.counts.any() for one in result):
        raise DataError(
            f"nothing travels: no cell had a direction in {len(clips)} clip(s)",
            mend="give footage with movement, or lower the input's option floor",
        )
    return result


def _walk(
    clip: NormalClip, spec: InputSpec, frame: FrameSpec, gate: GateSpec, fold: int, every: int
) -> Directions:
    counts = np.zeros((*open_input(spec, frame=frame, gate=gate).shape, BINS))
    kept = [np.zeros((0, 3), np.float32)]
    for observation, cells, _ in observe_clip(clip, {"": spec}, frame=frame, gate=gate):
        features = cells[""].gather()
        add_directions(counts, features, observation.dt_s)
        if observation.index % every == 0:
            kept.append(features)
    return Directions(fold, counts, np.concatenate(kept))


def _samples(stretches: Sequence[Directions], energies: Sequence[NDArray[np.float64]]) -> Samples:
    features = np.concatenate([one.features for one in stretches])
    rows, columns = features[:, :2].astype(np.int64).T
    return np.concatenate(energies), rows, columns
