"""One camera's frames for the daemon's loop: at most one new frame when asked, never a wait.

A recording gives every frame, in order. A live camera (`edge.capture.supervisor`) gives its newest
frame: older ones are overwritten and counted. No queue of frames exists.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from edge.capture.camera_state import Change
from edge.capture.source import Source
from edge.clock import Clock
from edge.frames import Frame
from engines.errors import VigilError


class Feed(Protocol):
    """Frames of one camera."""

    busy: bool
    """An event is open; set by the daemon."""

    @property
    def live(self) -> bool:
        """A camera, which goes on for ever, and not a recording."""

    @property
    def finished(self) -> bool:
        """No frame will come any more."""

    @property
    def failure(self) -> VigilError | None:
        """Why it ended, if it did not simply end."""

    @property
    def skipped(self) -> int:
        """Frames that could not be read."""

    @property
    def dropped(self) -> int:
        """Frames that a newer one has overwritten."""

    @property
    def epoch(self) -> int:
        """Rises with a frame that does not continue the one before."""

    @property
    def fps(self) -> float | None:
        """Frames per second, as observed or as the recording says; None: not known yet."""

    @property
    def flags(self) -> list[str]:
        """What else is known of the picture."""

    def take(self) -> Frame | None:
        """The next frame, or None if there is none now."""

    def drain(self) -> list[Change]:
        """Changes of the camera's state since the last call, oldest first."""

    def due_s(self) -> float | None:
        """Seconds until `take` is worth asking; None: an announcement will come."""

    def end(self) -> None:
        """Begin to let go of the source; does not wait."""

    @property
    def ended(self) -> bool:
        """After `end`: nothing holds the source any more."""

    def close(self) -> None:
        """Let go of the source; waits for it."""


class _Recording:
    """What all recordings have in common."""

    live = False
    busy = False
    epoch = 0
    dropped = 0

    @property
    def flags(self) -> list[str]:
        """Nothing is told of recordings."""
        return []

    def drain(self) -> list[Change]:
        """A recording has no states of its own."""
        return []

    def end(self) -> None:
        """Nothing runs."""

    @property
    def ended(self) -> bool:
        """Nothing runs."""
        return True


class NoFeed(_Recording):
    """A recording that could not be opened, or a camera that is switched off (no failure)."""

    finished = True
    skipped = 0
    fps: float | None = None

    def __init__(self, failure: VigilError | None = None) -> None:
        self.failure = failure

    def take(self) -> Frame | None:
        """Nothing."""
        return None

    def due_s(self) -> float | None:
        """Never."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


class RecordingFeed(_Recording):
    """Every frame of a recording.

    Args:
        source: Entered already.
        clock: For `realtime`.
        realtime: Give each frame at its own time, not earlier.
    """

    def __init__(self, source: Source, *, clock: Clock, realtime: bool) -> None:
        self._source = source
        self._frames: Iterator[Frame] = iter(source)
        self._clock = clock
        self._realtime = realtime
        self._start_s: float | None = None
        self._ahead: Frame | None = None
        self.finished = False
        self.failure: VigilError | None = None

    @property
    def skipped(self) -> int:
        """Frames that could not be read."""
        return self._source.skipped

    @property
    def fps(self) -> float | None:
        """As the recording says."""
        return self._source.fps

    def take(self) -> Frame | None:
        """The next frame, if it is due."""
        frame = self._peek()
        if frame is None or (self.due_s() or 0.0) > 0.0:
            return None
        self._ahead = None
        return frame

    def due_s(self) -> float | None:
        """Seconds until the next frame is due."""
        frame = self._peek()
        if frame is None or not self._realtime:
            return 0.0
        now = self._clock.monotonic()
        if self._start_s is None:
            self._start_s = now - frame.time_s
        return max(0.0, self._start_s + frame.time_s - now)

    def close(self) -> None:
        """Nothing to stop; the source is closed by its `with`."""
        self.finished = True

    def _peek(self) -> Frame | None:
        if self._ahead is None and not self.finished:
            try:
                self._ahead = next(self._frames, None)
            except VigilError as error:
                self.failure = error
            self.finished = self._ahead is None
        return self._ahead
