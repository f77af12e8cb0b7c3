"""When a stream that does not look at every frame looks again."""

from __future__ import annotations

from edge.vision.observe import Observed
from engines.errors import DataError
from engines.model_spec import Option

# A frame may come this much early and still count as due: clocks of cameras jitter.
_EARLY = 0.25


class Due:
    """Says of each frame whether a look is due; remembers when the last one was.

    Args:
        every_s: Seconds between looks; 0: every frame.

    Raises:
        DataError: Not a number of 0 or more.
    """

    def __init__(self, every_s: Option) -> None:
        if isinstance(every_s, (bool, str)) or every_s < 0:
            raise DataError(f"input option every_s must be 0 or more, it is {every_s!r}")
        self._every_s = float(every_s)
        self._looked_s: float | None = None

    def reset(self) -> None:
        """Forget the past: the next frame is due."""
        self._looked_s = None

    def take(self, observation: Observed) -> bool:
        """Whether this frame is looked at."""
        if self._looked_s is not None and self._every_s > 0.0:
            waited = observation.time_s - self._looked_s
            if waited < self._every_s - _EARLY * observation.dt_s:
                return False
        self._looked_s = observation.time_s
        return True
