"""The pause before the next attempt to connect."""

from __future__ import annotations

import secrets

_random = secrets.SystemRandom()


class Pause:
    """Seconds before the next try, with jitter: a site's devices must not return all at once."""

    def __init__(self, longest_s: float) -> None:
        self._longest_s = longest_s
        self.seconds = 0.0

    def reset(self) -> None:
        """It worked: the next pause is a first one again, at random within five seconds."""
        self.seconds = 0.0

    def grow(self) -> None:
        """It failed (again)."""
        low = 0.0 if self.seconds == 0.0 else 1.0
        self.seconds = min(self._longest_s, _random.uniform(low, max(5.0, 3.0 * self.seconds)))

    def at_least(self, seconds: float) -> None:
        """A longer pause."""
        self.seconds = max(self.seconds, seconds)

    def none(self) -> None:
        """Try again at once."""
        self.seconds = 0.0
