"""What an input has to know of a scene before it can be opened, measured on normal footage."""

from __future__ import annotations

from collections.abc import Sequence

from trainer.collect import measure_scale
from trainer.normal_clip import NormalClip
from trainer.preset import Preset
from trainer.preset_sections import StreamPreset
from trainer.progress import TrainingProgress
from trainer.window_size import measure_window_size

Measured = dict[str, dict[str, float]]
"""Options by stream name that were measured on the footage."""


def measure_options(
    stream: StreamPreset,
    clips: Sequence[NormalClip],
    *,
    preset: Preset,
    progress: TrainingProgress,
) -> dict[str, float]:
    """Values of the options that the preset leaves out; none for most kinds.

    Raises:
        DataError: Nothing moves in the clips.
    """
    wanted = stream.unmeasured
    if not wanted:
        return {}
    if stream.kind == "motion":
        scale = measure_scale(
            clips,
            stream.test_input(),
            frame=preset.frame,
            gate=preset.gate,
            seed=preset.seed,
            progress=progress,
        )
        found = {"scale": scale}
    else:
        found = measure_window_size(clips, frame=preset.frame, gate=preset.gate, progress=progress)
    return {name: found[name] for name in sorted(wanted)}
