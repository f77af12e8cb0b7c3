"""Synthetic clips of all kinds from a scene's normal footage."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from engines.errors import UsageError
from trainer.clip_split import ClipSection, count_frames
from trainer.normal_clip import NormalClip
from trainer.synthetic.background import median_background, moving_mask
from trainer.synthetic.clip import SyntheticClip
from trainer.synthetic.cutouts import Harvest, harvest
from trainer.synthetic.kinds import KINDS, Kind
from trainer.synthetic.stage import Stage, edge_sigma

SHORTEST_S = 2.0
_NORMAL_SHARE = 1.0 / 3.0  # of each clip, at its beginning
_GOLDEN = 0.6180339887  # steps of the starts, which so are spread evenly however many there are
_BACKGROUNDS = 32  # kept at a time: hundreds of clips would fill the memory
_LOOKS = 12  # frames in which noise and any motion are looked for


@dataclass(frozen=True)
class SyntheticSet:
    """What could be made.

    Attributes:
        clips: In the order of the kinds.
        left_out: Why there is no clip of a kind, by kind.
        notes: What is weak in the others, in words.
    """

    clips: tuple[SyntheticClip, ...]
    left_out: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def make_synthetic_clips(
    clips: Sequence[NormalClip],
    *,
    per_kind: int,
    seconds: float = 6.0,
    seed: int,
    kinds: Sequence[str] = tuple(KINDS),
    cutouts_from: Sequence[NormalClip] | None = None,
) -> SyntheticSet:
    """Put anomalies into sections of normal footage of one camera.

    The first third of a clip is normal (not of "reversed" and "hurry", which are anomalous
    throughout). Sections are spread evenly over the clips; one that is too short gives a shorter
    clip, below SHORTEST_S none.

    Args:
        clips: Normal footage to put anomalies into.
        per_kind: Clips of each kind.
        seconds: Length of each.
        seed: Same seed, same pixels; a kind's clips do not depend on which others are made.
        kinds: Names from KINDS.
        cutouts_from: Footage of the same camera to take movers and statistics from; `clips`
            if not given.

    Raises:
        UsageError: A kind is not known, or `per_kind` or `seconds` is no useful number.
        DataError: A clip has no frame, or clips differ in size.
    """
    _check(kinds, per_kind, seconds)
    base = [(clip, count_frames(clip)) for clip in clips]
    base = [(clip, length) for clip, length in base if length >= SHORTEST_S * clip.fps]
    if not base:
        reason = f"no normal clip is {SHORTEST_S:g} s long"
        return SyntheticSet((), dict.fromkeys(kinds, reason))
    scenes = _Scenes()
    crop = harvest(cutouts_from or [clip for clip, _ in base], scenes.background)
    made: list[SyntheticClip] = []
    left_out: dict[str, str] = {}
    for name in kinds:
        kind = KINDS[name]
        able, reason = _able(kind, crop, base, scenes)
        if not able:
            left_out[name] = reason
            continue
        rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
        order, first = rng.permutation(len(able)), float(rng.random())
        for number in range(per_kind):
            clip, length = able[order[number % len(able)]]
            share = (first + number * _GOLDEN) % 1.0
            place = _Section(clip, length, seconds, share)
            made.append(_make(name, number, place, crop, scenes, seed))
    notes: tuple[str, ...] = ()
    if not crop.statistics.observed:
        notes = ("no isolated mover was found: sizes, speeds and places are assumed",)
    return SyntheticSet(tuple(made), left_out, notes)


@dataclass(frozen=True)
class _Section:
    clip: NormalClip
    length: int
    seconds: float
    share: float  # of what is left of the clip, before it

    def cut(self, pace: float) -> ClipSection:
        """So many seconds of the result, at `pace` frames of footage for each frame of it."""
        wanted = min(self.length, ceil(self.seconds * self.clip.fps * pace))
        start = round(self.share * (self.length - wanted))
        return ClipSection(self.clip, start, start + wanted)


class _Scenes:
    """Backgrounds and noise of clips, measured once; of many clips the newest backgrounds stay."""

    def __init__(self) -> None:
        self._backgrounds: dict[int, NDArray[np.uint8]] = {}
        self._noises: dict[int, float] = {}
        self._moves: dict[int, bool] = {}

    def background(self, clip: NormalClip) -> NDArray[np.uint8]:
        """See `median_background`."""
        background = self._backgrounds.pop(id(clip), None)
        if background is None:
            background = median_background(clip)
            while len(self._backgrounds) >= _BACKGROUNDS:
                del self._backgrounds[next(iter(self._backgrounds))]
        self._backgrounds[id(clip)] = background
        return background

    def noise(self, clip: NormalClip) -> float:
        """Standard deviation of a pixel from frame to frame at the clip's start, grey levels."""
        if id(clip) not in self._noises:
            steps: list[float] = []
            previous: NDArray[np.float32] | None = None
            with clip.open() as source:
                for frame in itertools.islice(source, _LOOKS):
                    levels = frame.bgr[::2, ::2, 1].astype(np.float32)
                    if previous is not None:
                        steps.append(float(np.median(np.abs(levels - previous))))
                    previous = levels
            # Of a difference of two frames, from the median of its size to one frame's deviation.
            self._noises[id(clip)] = 1.4826 * float(np.median(steps or [0.0])) / sqrt(2.0)
        return self._noises[id(clip)]

    def moves(self, clip: NormalClip) -> bool:
        """Whether anything at all moves in it."""
        if id(clip) not in self._moves:
            background = self.background(clip)
            step = max(1, count_frames(clip) // _LOOKS)
            with clip.open() as source:
                self._moves[id(clip)] = any(
                    bool(moving_mask(frame.bgr, background).any())
                    for frame in source
                    if frame.index % step == 0
                )
        return self._moves[id(clip)]


def _make(
    name: str, number: int, place: _Section, crop: Harvest, scenes: _Scenes, seed: int
) -> SyntheticClip:
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
    kind = KINDS[name]
    section = place.cut(kind.pace)
    background = scenes.background(place.clip)
    seconds = (section.stop - section.start) / section.fps
    stage = Stage(
        background, crop.cutouts, crop.statistics, edge_sigma(background),
        scenes.noise(place.clip), seconds, _NORMAL_SHARE * seconds,
    )  # fmt: skip
    act = kind.make(stage, rng)
    title = f"{name}-{number + 1:02d} {section.name}"
    return SyntheticClip(
        title, name, section.fps, section, act, background, int(rng.integers(2**32))
    )


def _able(
    kind: Kind, crop: Harvest, base: Sequence[tuple[NormalClip, int]], scenes: _Scenes
) -> tuple[list[tuple[NormalClip, int]], str]:
    """Base clips that can carry a kind, and why there is none."""
    if kind.needs == "cutouts" and not crop.cutouts:
        return [], "no isolated mover was found in the normal footage"
    able = [(c, n) for c, n in base if n >= SHORTEST_S * c.fps * kind.pace]
    if not able:
        return [], f"no normal clip is {SHORTEST_S * kind.pace:g} s long"
    if kind.needs == "motion":
        able = [(c, n) for c, n in able if scenes.moves(c)]
    return able, "nothing moves in the normal footage"


def _check(kinds: Sequence[str], per_kind: int, seconds: float) -> None:
    unknown = [name for name in kinds if name not in KINDS]
    if unknown:
        raise UsageError(
            f"Kinds of synthetic anomalies that are not known: {', '.join(unknown)}",
            mend=f"use some of {', '.join(KINDS)}",
        )
    if per_kind < 1 or seconds < SHORTEST_S:
        raise UsageError(
            f"{per_kind} synthetic clips of {seconds:g} s were asked for",
            mend=f"use 1 clip or more, {SHORTEST_S:g} s or more",
        )
