"""In which thread frames are observed: several at once, or ahead of scoring, or neither.

On the CPU pictures and flows of different cameras have nothing to do with each other, and those of
a recording's next frames do not wait for scores. A GPU is another matter: its context belongs to
one thread and its buffers to the newest frame, so there only decoding runs ahead.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager

from edge.frames import Frame
from edge.read_ahead import read_ahead
from edge.view import View
from edge.vision.observe import Observed

MOST_FLOWS = 4
"""At the same time: more threads than a small device's cores only wait."""

Timing = Callable[[], AbstractContextManager[None]]


class Observing:
    """Observes frames for their views; the order within a view is that of the frames.

    Args:
        alone: Observe in the caller's thread only.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._threads: ThreadPoolExecutor | None = None

    def together(self, work: Sequence[tuple[View, Frame]]) -> None:
        """One new frame of each of some different views; each view then holds its observation."""
        if self._alone or len(work) < 2:
            observations = [_observation(one) for one in work]
        else:
            if self._threads is None:
                most = min(os.cpu_count() or 1, MOST_FLOWS)
                self._threads = ThreadPoolExecutor(most, thread_name_prefix="flow")
            observations = list(self._threads.map(_observation, work))
        for (view, _), observation in zip(work, observations, strict=True):
            view.observation = observation

    def ahead(self, view: View, frames: Iterable[Frame], timing: Timing) -> Iterator[Frame]:
        """The frames of a recording, each given back when the view holds its observation.

        Args:
            view: Its observer is touched by another thread until the iteration ends, if at all.
            frames: Read by another thread.
            timing: Entered around each observation, in the thread that makes it.
        """
        if self._alone:
            for frame in read_ahead(frames):
                with timing():
                    view.observation = view.observer.observe(frame)
                yield frame
            return

        def observed() -> Iterator[tuple[Frame, Observed]]:
            for frame in frames:
                with timing():
                    observation = view.observer.observe(frame)
                yield frame, observation

        for frame, view.observation in read_ahead(observed()):
            yield frame

    def close(self) -> None:
        """End the threads; calling it twice is harmless."""
        if self._threads is not None:
            self._threads.shutdown()
            self._threads = None


def _observation(work: tuple[View, Frame]) -> Observed:
    view, frame = work
    return view.observer.observe(frame)
