"""A stream of directions: footage is walked once, and a table is all that is learned."""

from __future__ import annotations

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
)
from trainer.normal_clip import NormalClip
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset
from trainer.progress import SilentTraining, TrainingProgress
from trainer.stream_parts import HeadParts, Samples, StreamParts

_NONE = np.zeros((0, 3), np.float32)


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
        Head: the table of all clips but the threshold's; `unseen`: without the held-out clips;
        `samples`: energies of every clip under a table without its fold.

    Raises:
        DataError: Nothing travels in the footage.
    """
    progress = progress or SilentTraining()
    clips = [*split.fit, *split.held_out]
    by_clip = collect_directions(
        clips,
        spec,
        frame=preset.frame,
        gate=preset.gate,
        folds=preset.features.folds,
        frames=preset.features.frames,
        progress=progress,
    )
    stretches = [one for found in by_clip for one in found]
    known = [one for found in by_clip[: len(split.fit)] for one in found]
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
            unseen=head_arrays([one.counts for one in known]),
            samples=_samples(stretches),
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
) -> list[list[Directions]]:
    """Walk clips and count; the stretches of each clip, in order of time.

    Clips are dealt to folds round robin. Of fewer clips than folds each is cut in as many
    stretches of equal length, one for each fold: a fold that held nearly all footage would leave
    next to nothing to judge it by.

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
    cut = len(clips) < folds
    progress.begin("directions", total=len(clips))
    result = []
    for number, (clip, length) in enumerate(zip(clips, lengths, strict=True)):
        own = range(folds) if cut else [number % folds]
        result.append(_walk(clip, spec, frame, gate, own, -(-length // len(own)), every))
        progress.advance()
    progress.end()
    if not any(one.counts.any() for found in result for one in found):
        raise DataError(
            f"nothing travels: no cell had a direction in {len(clips)} clip(s)",
            mend="give footage with movement, or lower the input's option floor",
        )
    return result


def _walk(
    clip: NormalClip,
    spec: InputSpec,
    frame: FrameSpec,
    gate: GateSpec,
    folds: Sequence[int],
    stretch: int,
    every: int,
) -> list[Directions]:
    """The clip cut in stretches of so many frames, one for each of `folds`."""
    shape = open_input(spec, frame=frame, gate=gate).shape
    counts = [np.zeros((*shape, BINS)) for _ in folds]
    kept: list[list[NDArray[np.float32]]] = [[_NONE] for _ in folds]
    for observation, cells, _ in observe_clip(clip, {"": spec}, frame=frame, gate=gate):
        part = min(observation.index // stretch, len(folds) - 1)
        features = cells[""].gather()
        add_directions(counts[part], features, observation.dt_s)
        if observation.index % every == 0:
            kept[part].append(features)
    return [
        Directions(fold, count, np.concatenate(features))
        for fold, count, features in zip(folds, counts, kept, strict=True)
    ]


def _samples(stretches: Sequence[Directions]) -> Samples:
    features = np.concatenate([one.features for one in stretches])
    rows, columns = features[:, :2].astype(np.int64).T
    return np.concatenate(cross_energies(stretches)), rows, columns
