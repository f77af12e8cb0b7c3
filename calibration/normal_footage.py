"""Scores of normal footage and how many alarm events a threshold would have given in it.

`count` gives the number that running `calibration.alarm_rule.AlarmMachine` over every clip would
give (a test holds the two together), but walks over runs of frames above the threshold instead of
over frames, since a calibration asks for hundreds of thresholds.

An event can open at a frame only if the lowest of the last `open_frames` scores is above the
threshold. That number, the frame's opening level, is what the thresholds are made from.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.alarm_rule import TIME_TOLERANCE_S
from engines.errors import DataError

Series = tuple[NDArray[np.float64], NDArray[np.float64]]
SECONDS_PER_HOUR = 3600.0


@dataclass(frozen=True)
class NormalFootage:
    """All clips of normal footage, one after the other.

    Attributes:
        times: float64, N, seconds within each clip.
        scores: float64, N.
        clip: int64, N, number of the clip.
        levels: float64, N, opening level of each frame; -inf for a clip's first frames.
        hours: Length of the footage.
        open_frames: Of the alarm rule, likewise the next two.
        close_s: Seconds below that end an event.
        merge_s: Seconds in which a new opening continues it.
    """

    times: NDArray[np.float64]
    scores: NDArray[np.float64]
    clip: NDArray[np.int64]
    levels: NDArray[np.float64]
    hours: float
    open_frames: int
    close_s: float
    merge_s: float

    @classmethod
    def of(
        cls, series: Sequence[Series], *, open_frames: int, close_s: float, merge_s: float
    ) -> NormalFootage:
        """Join the clips; each is (times, scores).

        Raises:
            DataError: Unequal lengths, values that are not finite, falling times, or no clip long
                enough for an alarm to open and to have a duration.
        """
        clips = [_checked(number, *clip) for number, clip in enumerate(series)]
        clips = [clip for clip in clips if clip[0].size]
        longest = max((times.size for times, _ in clips), default=0)
        hours = _duration_s(clips) / SECONDS_PER_HOUR
        if longest < open_frames or hours <= 0.0:
            raise DataError(
                f"the normal footage has {len(clips)} clips of at most {longest} frames; an alarm "
                f"needs {open_frames} frames in a row",
                mend="use more normal footage",
            )
        return cls(
            times=np.concatenate([times for times, _ in clips]),
            scores=np.concatenate([scores for _, scores in clips]),
            clip=np.repeat(np.arange(len(clips)), [times.size for times, _ in clips]),
            levels=np.concatenate([_opening_levels(scores, open_frames) for _, scores in clips]),
            hours=hours,
            open_frames=open_frames,
            close_s=close_s,
            merge_s=merge_s,
        )

    def count_above(self, threshold: float) -> int:
        """Alarm events at a threshold (scores strictly above it)."""
        return len(self._openings(np.flatnonzero(self.scores > threshold)))

    def count_just_below(self, level: float) -> int:
        """Alarm events at the highest thresholds below `level`: scores equal to it count."""
        return len(self._openings(np.flatnonzero(self.scores >= level)))

    def cluster_peaks(self, threshold: float) -> NDArray[np.float64]:
        """Highest opening level in each alarm event at `threshold`; all are above it."""
        openings = self._openings(np.flatnonzero(self.scores > threshold))
        if not openings:
            return np.empty(0)
        # Levels between two events are below the threshold, so each may be counted to the former.
        return np.asarray(np.maximum.reduceat(self.levels, openings))

    def block_maxima(self, block_s: float) -> NDArray[np.float64]:
        """Highest opening level in each block of `block_s` seconds, blocks without one left out."""
        block = np.floor((self.times + TIME_TOLERANCE_S) / block_s)
        new = np.flatnonzero((np.diff(block) != 0) | (np.diff(self.clip) != 0)) + 1
        maxima = np.maximum.reduceat(self.levels, np.concatenate([[0], new]))
        return np.asarray(maxima[np.isfinite(maxima)])

    def _openings(self, above: NDArray[np.int64]) -> list[int]:
        """Indices of the first frame of the run that opens each event, given the frames above."""
        if not above.size:
            return []
        split = (np.diff(above) > 1) | (np.diff(self.clip[above]) != 0)
        breaks = np.flatnonzero(split)
        starts = above[np.concatenate([[0], breaks + 1])]
        ends = above[np.concatenate([breaks, [above.size - 1]])]
        walk = _Walk(self.times, self.close_s - TIME_TOLERANCE_S, self.merge_s - TIME_TOLERANCE_S)
        clips = self.clip[starts]
        openings = []
        previous = -1
        for start, end, clip in zip(starts.tolist(), ends.tolist(), clips.tolist(), strict=True):
            if clip != previous:
                walk.event_end = None
                previous = clip
            if walk.opens(start, end, long=end - start + 1 >= self.open_frames):
                openings.append(start)
        return openings


class _Walk:
    """The alarm machine, fed with maximal runs of frames above instead of with frames."""

    def __init__(self, times: NDArray[np.float64], close_s: float, merge_s: float) -> None:
        self._times = times
        self._close_s = close_s
        self._merge_s = merge_s
        self._quiet_s: float | None = None
        self.event_end: int | None = None  # its last frame above

    def opens(self, start: int, end: int, *, long: bool) -> bool:
        """Take the run start .. end (inclusive); True if it opens a new event."""
        if self.event_end is not None and self._settle(start):
            if self._quiet_s is None or long:
                self._quiet_s, self.event_end = None, end
            return False
        if long:
            self._quiet_s, self.event_end = None, end
        else:
            self.event_end = None
        return long

    def _settle(self, start: int) -> bool:
        """Pass the frames below before `start`; True if the event can still be continued."""
        assert self.event_end is not None
        newest_s = float(self._times[start - 1])
        last_s = float(self._times[self.event_end])
        if self._quiet_s is None:
            if newest_s - last_s < self._close_s:
                return True
            waiting = self._times[self.event_end + 1 : start] - last_s
            self._quiet_s = last_s + float(waiting[np.argmax(waiting >= self._close_s)])
        return newest_s - self._quiet_s < self._merge_s


def _checked(
    number: int, times: NDArray[np.float64], scores: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    times = np.asarray(times, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    if times.ndim != 1 or times.shape != scores.shape:
        raise DataError(
            f"a clip needs as many times as scores, found {times.shape} and {scores.shape}",
            where=f"clip {number} of the normal footage",
        )
    if not np.isfinite(times).all() or not np.isfinite(scores).all() or (np.diff(times) < 0).any():
        raise DataError(
            "times and scores must be finite and times must not fall",
            where=f"clip {number} of the normal footage",
        )
    return times, scores


def _duration_s(clips: Sequence[Series]) -> float:
    """Frames times frame period; a clip of one frame borrows the period of the others."""
    periods = [float(np.median(np.diff(times))) for times, _ in clips if times.size > 1]
    common = float(np.median(periods)) if periods else 0.0
    total = 0.0
    for times, _ in clips:
        period = float(np.median(np.diff(times))) if times.size > 1 else common
        total += float(times[-1] - times[0]) + period
    return total


def _opening_levels(scores: NDArray[np.float64], open_frames: int) -> NDArray[np.float64]:
    levels = np.full(scores.shape, -np.inf)
    if scores.size >= open_frames:
        windows = np.lib.stride_tricks.sliding_window_view(scores, open_frames)
        levels[open_frames - 1 :] = windows.min(axis=1)
    return levels
