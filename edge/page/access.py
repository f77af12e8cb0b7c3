"""Who may look: tokens compared in constant time, sessions that survive a restart, few guesses.

A session is a cookie that holds the time of its end and a keyed hash of it; the key is the token.
So nothing has to be stored, a restart of the daemon throws nobody out, and another token ends all
sessions. The token itself is never sent to the browser, and stands in no address and no log.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict, deque

SESSION_S = 30 * 24 * 3600
TRIES = 5
TRIES_SPAN_S = 60.0

_PURPOSE = b"vigil page session v1:"
_ADDRESSES = 1024
_LONGEST_COOKIE = 128


class Access:
    """Checks tokens and sessions.

    Args:
        token: What a viewer has to know; None: everybody may look.
    """

    def __init__(self, token: str | None) -> None:
        self._key = None if token is None else hashlib.sha256(token.encode()).digest()

    @property
    def open(self) -> bool:
        """Whether everybody may look."""
        return self._key is None

    def knows(self, token: str) -> bool:
        """Whether this is the token; takes as long for a wrong one."""
        if self._key is None:
            return True
        # Of equal length, whatever was given.
        given = hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
        return hmac.compare_digest(given, self._key)

    def session(self, now_s: float) -> str:
        """A new session's cookie; `now_s` in seconds since the epoch."""
        assert self._key is not None
        end = str(int(now_s) + SESSION_S)
        return f"{end}.{self._seal(self._key, end)}"

    def valid(self, cookie: str, now_s: float) -> bool:
        """Whether a cookie is of a session that has not ended."""
        if self._key is None:
            return True
        end, dot, seal = cookie.partition(".")
        plain = cookie.isascii() and end.isdecimal() and len(cookie) <= _LONGEST_COOKIE
        if not plain or not dot or not hmac.compare_digest(seal, self._seal(self._key, end)):
            return False
        # A device whose clock has jumped back must not throw its viewers out: only the end counts.
        return now_s < int(end)

    @staticmethod
    def _seal(key: bytes, end: str) -> str:
        return hmac.new(key, _PURPOSE + end.encode(), hashlib.sha256).hexdigest()


class Attempts:
    """Wrong tokens by address; `TRIES` in `TRIES_SPAN_S`, then nothing more is tried."""

    def __init__(self) -> None:
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str, now_s: float) -> float:
        """How long this address has to wait before the next try; 0: not at all."""
        failed = self._failed.get(address)
        if failed is None or len(failed) < TRIES:
            return 0.0
        return max(0.0, failed[0] + TRIES_SPAN_S - now_s)

    def note(self, address: str, now_s: float) -> None:
        """A try has failed; `now_s` is monotonic."""
        self._failed.setdefault(address, deque(maxlen=TRIES)).append(now_s)
        self._failed.move_to_end(address)
        while len(self._failed) > _ADDRESSES:
            self._failed.popitem(last=False)
