"""Energies of normal cells as the runtime computes them: what a stream's statistics are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edge.commissioning.samples import EnergySamples
from edge.pipeline import StreamPipeline
from trainer.normal_clip import NormalClip


def collect_energies(
    pipeline: StreamPipeline,
    clips: Sequence[NormalClip],
    into: Mapping[str, EnergySamples],
    progress: Callable[[str], None] = lambda _: None,
) -> int:
    """Walk clips once and keep the energies of all active cells, within a bound of memory.

    Args:
        pipeline: The streams.
        clips: Normal footage; each clip gets a new view.
        into: By stream name; takes the energies of every frame in order of time.
        progress: Told the name of each clip.

    Returns:
        Frames seen.

    Raises:
        DataError: A clip cannot be read.
    """
    frames = 0
    for clip in clips:
        progress(f"statistics: {clip.name}")
        view = pipeline.new_view()
        with clip.open() as source:
            for frame in source:
                frames += 1
                for name, energy in pipeline.energies([(view, frame)])[0].items():
                    into[name].add(energy)
    return frames
