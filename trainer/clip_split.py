"""Which normal footage trains, which calibrates: whole clips, or parts in time of very few clips.

Rules:
- weights see `fit` only; sigma_x^2, the choice of the mixture, early stopping and the statistics
  of the cells see `held_out`; the threshold sees `threshold`, and nothing else does;
- four clips or more: clips are whole, drawn at random by the seed;
- fewer: every clip is cut into three runs of frames, in that order of time, and the first of them
  into three sections, so that each can be judged by what was learned from the others. Neighbouring
  runs share a scene and a moment, so they prove less; `ClipSplit.kind` says which rule was used.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Literal

import numpy as np

from edge.capture.source import Searchable, Source
from edge.frames import Frame
from engines.errors import DataError
from trainer.normal_clip import NormalClip

FEWEST_WHOLE_CLIPS = 4
# A run of fewer frames holds no full motion window and no alarm event.
FEWEST_FRAMES = 20
# Of the run that trains.
MOST_SECTIONS = 3


@dataclass(frozen=True)
class ClipSection:
    """Frames [start, stop) of a clip, as a clip of normal footage of its own."""

    clip: NormalClip
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Name of the clip with the frames in brackets."""
        return f"{self.clip.name}[{self.start}:{self.stop}]"

    @property
    def fps(self) -> float:
        """Frames per second of the clip."""
        return self.clip.fps

    def open(self) -> Source:
        """The section's frames; index and time start at 0."""
        return _SectionSource(self)


class _SectionSource:
    """Searches for the section where the source can, else drops the frames before it."""

    def __init__(self, section: ClipSection) -> None:
        self._section = section
        self._source = section.clip.open()

    @property
    def name(self) -> str:
        return self._section.name

    @property
    def fps(self) -> float:
        return self._source.fps

    @property
    def frame_count(self) -> int | None:
        return self._section.stop - self._section.start

    @property
    def skipped(self) -> int:
        return self._source.skipped

    @property
    def live(self) -> bool:
        return False

    def __enter__(self) -> Source:
        self._source.__enter__()
        if isinstance(self._source, Searchable):
            self._source.skip_to(self._section.start)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def __iter__(self) -> Iterator[Frame]:
        start, stop = self._section.start, self._section.stop
        for frame in self._source:
            if frame.index >= stop:
                return
            if frame.index >= start:
                time_s = frame.time_s - start / self._source.fps
                yield replace(frame, index=frame.index - start, time_s=max(0.0, time_s))


@dataclass(frozen=True)
class ClipSplit:
    """The three parts, each in the order of the footage; no frame is in two of them."""

    fit: tuple[NormalClip, ...]
    held_out: tuple[NormalClip, ...]
    threshold: tuple[NormalClip, ...]
    kind: Literal["clips", "sections"]

    def names(self) -> dict[str, list[str]]:
        """Clip names of each part, for the record of a run."""
        parts = {"fit": self.fit, "held_out": self.held_out, "threshold": self.threshold}
        return {part: [clip.name for clip in clips] for part, clips in parts.items()}


def split_clips(
    clips: Sequence[NormalClip], *, held_out: float, threshold: float, seed: int
) -> ClipSplit:
    """Divide normal footage by the rules of this module.

    Args:
        clips: Normal clips.
        held_out: Share of `held_out`.
        threshold: Share of `threshold`.
        seed: Decides which clips are drawn.

    Raises:
        DataError: There is too little footage for three parts.
    """
    if len(clips) < FEWEST_WHOLE_CLIPS:
        return _split_in_time(clips, held_out=held_out, threshold=threshold)
    order = np.random.default_rng([seed, 0x5711]).permutation(len(clips))
    # Two large shares of few clips, both rounded up, would leave none to train on.
    second = min(max(1, round(held_out * len(clips))), len(clips) - 2)
    third = min(max(1, round(threshold * len(clips))), len(clips) - second - 1)
    groups = np.split(order, [second, second + third])
    parts = [tuple(clips[i] for i in sorted(group.tolist())) for group in groups]
    return ClipSplit(held_out=parts[0], threshold=parts[1], fit=parts[2], kind="clips")


def count_frames(clip: NormalClip) -> int:
    """Frames of a clip: what its source knows, else by reading it once."""
    with clip.open() as source:
        known = source.frame_count
        return known if known is not None else sum(1 for _ in source)


def _split_in_time(clips: Sequence[NormalClip], *, held_out: float, threshold: float) -> ClipSplit:
    parts: tuple[list[NormalClip], list[NormalClip], list[NormalClip]] = ([], [], [])
    frames = 0
    for clip in clips:
        length = count_frames(clip)
        frames += length
        ends = [
            0,
            round(length * (1.0 - held_out - threshold)),
            round(length * (1.0 - threshold)),
            length,
        ]
        runs = list(itertools.pairwise(ends))
        if min(stop - start for start, stop in runs) < FEWEST_FRAMES:
            parts[0].append(clip)
            continue
        sections = min(MOST_SECTIONS, ends[1] // FEWEST_FRAMES)
        cuts = [round(ends[1] * n / sections) for n in range(sections + 1)]
        parts[0].extend(ClipSection(clip, at, to) for at, to in itertools.pairwise(cuts))
        for part, (start, stop) in zip(parts[1:], runs[1:], strict=True):
            part.append(ClipSection(clip, start, stop))
    if not all(parts):
        wanted = round(FEWEST_FRAMES / min(held_out, threshold))
        raise DataError(
            f"{len(clips)} normal clip(s) with {frames} frames are too little to train, "
            f"to hold out and to set a threshold: a clip must have {wanted} frames or more, "
            f"or there must be {FEWEST_WHOLE_CLIPS} clips",
            mend="give more normal footage",
        )
    return ClipSplit(
        fit=tuple(parts[0]),
        held_out=tuple(parts[1]),
        threshold=tuple(parts[2]),
        kind="sections",
    )
