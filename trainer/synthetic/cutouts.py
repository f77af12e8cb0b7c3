"""Moving things taken out of normal footage, with soft masks and over time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from math import hypot

import numpy as np
from numpy.typing import NDArray

from edge.frames import Frame
from engines.errors import DataError
from trainer.normal_clip import NormalClip
from trainer.synthetic.background import median_background
from trainer.synthetic.movers import MoverStatistics, Track, mover_statistics
from trainer.synthetic.sights import Sight, find_movers

FOLLOW_S = 1.5  # longest cutout: more than one gait cycle
_SHORTEST_S = 0.5
# At most this much of a clip is searched, in bursts spread over it.
_SEARCH_S, _BURST_S = 120.0, 6.0
_MOST_CLIPS = 24
_MOST_CUTOUTS = 12  # of one clip
# A component is the same thing in the next frame if its area changed by no more than this factor
# and its middle by no more than this share of its height.
_SAME_AREA, _SAME_PLACE = 1.5, 0.5
# Share of its height that a mover must have gone; less is somebody who stands and sways.
_LEAST_WAY = 0.2
# Merged people and bags differ from what is typical by more than these factors.
_TYPICAL_HEIGHT, _TYPICAL_ASPECT = 1.35, 1.4


@dataclass(frozen=True)
class Cutout:
    """One moving thing over some frames.

    Attributes:
        frames: uint8, h x w x 3 each; sizes differ from frame to frame.
        alphas: float32, h x w each, in [0, 1]: how much of a pixel belongs to the thing.
        anchors: x, y in each crop, px: below the middle of the thing, where it touches the ground.
        feet: x, y of the same points in the picture, px.
        fps: Frames per second.
        velocity: Mean x, y in px per second.
        height: Median height of the thing, px.
    """

    frames: tuple[NDArray[np.uint8], ...]
    alphas: tuple[NDArray[np.float32], ...]
    anchors: tuple[tuple[float, float], ...]
    feet: tuple[tuple[float, float], ...]
    fps: float
    velocity: tuple[float, float]
    height: float

    @property
    def speed(self) -> float:
        """Px per second."""
        return hypot(*self.velocity)


@dataclass(frozen=True)
class Harvest:
    """What normal footage gives to paste.

    Attributes:
        cutouts: Isolated movers of typical size.
        statistics: Of all movers that could be followed.
        shape: Height and width of the pictures, px.
    """

    cutouts: tuple[Cutout, ...]
    statistics: MoverStatistics
    shape: tuple[int, int]


def harvest(
    clips: Sequence[NormalClip],
    background_of: Callable[[NormalClip], NDArray[np.uint8]] = median_background,
) -> Harvest:
    """Find and follow the isolated movers of clips of one camera.

    Args:
        clips: One or more; of many, some are searched, spread evenly.
        background_of: Gives a clip's empty scene, uint8, h x w x 3.

    Raises:
        DataError: There is no clip, a clip has no frame, or sizes differ.
    """
    if not clips:
        raise DataError("There is no clip to take movers from")
    chosen = np.linspace(0, len(clips) - 1, min(len(clips), _MOST_CLIPS)).round().astype(int)
    shape: tuple[int, int] | None = None
    found: list[tuple[Cutout, Track]] = []
    tracks: list[Track] = []
    for clip in (clips[i] for i in chosen.tolist()):
        background = background_of(clip)
        size = background.shape[0], background.shape[1]
        shape = shape or size
        if size != shape:
            raise DataError(
                f"Clips of different sizes: {shape[1]}x{shape[0]} and {size[1]}x{size[0]}",
                where=clip.name,
                mend="give clips of one camera",
            )
        pairs = list(follow_movers(clip, background))
        tracks.extend(track for _, track in pairs)
        pairs.sort(key=lambda pair: -len(pair[0].frames))
        found.extend(pairs[: 2 * _MOST_CUTOUTS])
    assert shape is not None
    statistics = mover_statistics(tracks, shape)
    cutouts = [cutout for cutout, track in found if _is_typical(track, statistics)]
    return Harvest(tuple(cutouts), statistics, shape)


def follow_movers(
    clip: NormalClip, background: NDArray[np.uint8]
) -> Iterator[tuple[Cutout, Track]]:
    """Isolated movers of a clip, each for up to FOLLOW_S seconds.

    Args:
        clip: Normal footage.
        background: uint8, h x w x 3, of the same clip.
    """
    active: list[_Follower] = []
    previous = -1
    for frame in _bursts(clip):
        if frame.index != previous + 1:
            yield from _finished(active, clip.fps)
            active = []
        previous = frame.index
        sights = find_movers(frame.bgr, background)
        going: list[_Follower] = []
        for follower in active:
            sight = follower.next_of(sights)
            if sight is None or follower.seconds(clip.fps) >= FOLLOW_S:
                yield from _finished([follower], clip.fps)
            else:
                sights.remove(sight)
                follower.sights.append(sight)
                going.append(follower)
        active = going + [_Follower([sight]) for sight in sights]
    yield from _finished(active, clip.fps)


@dataclass
class _Follower:
    sights: list[Sight] = field(default_factory=list)

    def seconds(self, fps: float) -> float:
        return len(self.sights) / fps

    def next_of(self, sights: Sequence[Sight]) -> Sight | None:
        """The sight that continues this one."""
        last = self.sights[-1]
        before = self.sights[-2] if len(self.sights) > 1 else last
        expected = tuple(2 * a - b for a, b in zip(last.middle, before.middle, strict=True))
        near = [
            (hypot(sight.middle[0] - expected[0], sight.middle[1] - expected[1]), i)
            for i, sight in enumerate(sights)
            if 1 / _SAME_AREA <= sight.area / last.area <= _SAME_AREA
        ]
        distance, index = min(near, default=(np.inf, -1))
        return sights[index] if distance <= _SAME_PLACE * last.box[3] else None


def _finished(followers: Sequence[_Follower], fps: float) -> Iterator[tuple[Cutout, Track]]:
    """Those of the followers that went far enough for long enough."""
    for follower in followers:
        sights = follower.sights
        if len(sights) < max(3, _SHORTEST_S * fps):
            continue
        seconds = np.arange(len(sights)) / fps
        middles = np.array([sight.middle for sight in sights])
        # The middle, not the foot: feet rise and fall with the gait.
        vx, vy = (float(np.polyfit(seconds, middles[:, axis], 1)[0]) for axis in (0, 1))
        height = float(np.median([sight.box[3] for sight in sights]))
        if hypot(vx, vy) * seconds[-1] < _LEAST_WAY * height:
            continue
        feet = tuple(sight.foot for sight in sights)
        cutout = Cutout(
            tuple(sight.crop for sight in sights),
            tuple(sight.alpha for sight in sights),
            tuple(sight.anchor for sight in sights),
            feet, fps, (vx, vy), height,
        )  # fmt: skip
        aspect = float(np.median([sight.box[2] / sight.box[3] for sight in sights]))
        yield cutout, Track(feet[len(feet) // 2], (vx, vy), height, aspect)


def _is_typical(track: Track, statistics: MoverStatistics) -> bool:
    tall = track.height / statistics.height.at(track.foot[1])
    wide = track.aspect / statistics.aspect
    return (
        1 / _TYPICAL_HEIGHT <= tall <= _TYPICAL_HEIGHT
        and 1 / _TYPICAL_ASPECT <= wide <= _TYPICAL_ASPECT
    )


def _bursts(clip: NormalClip) -> Iterator[Frame]:
    """All frames of a short clip; of a long one, runs of frames spread over it."""
    with clip.open() as source:
        total, fps = source.frame_count, clip.fps
        length = round(_BURST_S * fps)
        bursts = max(1, round(_SEARCH_S / _BURST_S))
        period = length if total is None else max(length, -(-total // bursts))
        for frame in source:
            if frame.index % period < length:
                yield frame
