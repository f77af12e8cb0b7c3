"""One camera's frames for the daemon's loop: at most one new frame when asked, never a wait.

A recording gives every frame, in order. A live source is read by a thread of its own into a slot of
one frame: the newest wins, older ones are overwritten and counted. No queue of frames exists.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Protocol

from edge.capture.source import Source
from edge.clock import Clock
from edge.frames import Frame
from engines.errors import VigilError


class Feed(Protocol):
    """Frames of one camera."""

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

    def take(self) -> Frame | None:
        """The next frame, or None if there is none now."""

    def due_s(self) -> float | None:
        """Seconds until `take` is worth asking; None: an announcement will come."""

    def close(self) -> None:
        """Let go of the source."""


class FailedFeed:
    """A source that could not be opened."""

    finished = True
    skipped = dropped = 0

    def __init__(self, failure: VigilError) -> None:
        self.failure: VigilError | None = failure

    def take(self) -> Frame | None:
        """Nothing."""
        return None

    def due_s(self) -> float | None:
        """Never."""
        return None

    def close(self) -> None:
        """Nothing to let go of."""


class RecordingFeed:
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
        self.dropped = 0

    @property
    def skipped(self) -> int:
        """Frames that could not be read."""
        return self._source.skipped

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


class LiveFeed:
    """The newest frame of a camera.

    Args:
        source: Entered already; read in a thread of this feed.
        announce: Set whenever there is something new.
    """

    def __init__(self, source: Source, *, announce: threading.Event) -> None:
        self._source = source
        self._announce = announce
        self._lock = threading.Lock()
        self._slot: Frame | None = None
        self._ended = False
        self._closing = False
        self.failure: VigilError | None = None
        self.dropped = 0
        # Reads cannot be trusted to return, so the process does not wait for this thread.
        self._thread = threading.Thread(
            target=self._read, name=f"capture {source.name}", daemon=True
        )
        self._thread.start()

    @property
    def finished(self) -> bool:
        """The source has ended and its last frame was taken."""
        with self._lock:
            return self._ended and self._slot is None

    @property
    def skipped(self) -> int:
        """Frames that could not be read."""
        return self._source.skipped

    def take(self) -> Frame | None:
        """The newest frame, once."""
        with self._lock:
            frame, self._slot = self._slot, None
        return frame

    def due_s(self) -> float | None:
        """A new frame is announced."""
        return None

    def close(self) -> None:
        """Stop reading; waits a moment for a read under way."""
        self._closing = True
        self._thread.join(timeout=2.0)

    def _read(self) -> None:
        try:
            for frame in self._source:
                if self._closing:
                    return
                with self._lock:
                    self.dropped += self._slot is not None
                    self._slot = frame
                self._announce.set()
        except VigilError as error:
            self.failure = error
        finally:
            with self._lock:
                self._ended = True
            self._announce.set()
