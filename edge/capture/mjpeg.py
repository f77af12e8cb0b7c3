"""A camera that serves motion JPEG over HTTP, read by us and not by FFmpeg.

That tells a refused login from a dead camera, skips a broken picture instead of ending the stream,
bounds what a hostile server can make us hold, and follows no redirect to another host.
"""

from __future__ import annotations

import datetime
import http.client
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from types import TracebackType
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

from edge.capture.images import decode_image
from edge.capture.multipart import MultipartReader, boundary_of
from edge.capture.redact import redact_address
from edge.capture.timing import DEFAULT_FPS, checked_fps
from edge.frames import Frame
from engines.errors import RefusedError, TemporaryError, UnavailableError

SILENCE_S = 30.0  # a supervisor loses patience long before
_CHUNK = 64 * 2**10
_REFUSED = (401, 403)


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        return None


class _OneTryDigest(urllib.request.HTTPDigestAuthHandler):
    """Offers the password once: the library's six tries lock camera accounts."""

    retried: int

    def __init__(self, passwords: urllib.request.HTTPPasswordMgr) -> None:
        super().__init__(passwords)
        self.reset_retry_count()

    def reset_retry_count(self) -> None:
        self.retried = 5  # the library gives up above 5


class MjpegSource:
    """Frames of a motion JPEG stream. Open it with `with`.

    `time_s` is monotonic time since the first frame. A part that is no whole picture counts in
    `skipped`. The size of the picture may change.

    Args:
        address: `http://[user:password@]host/...` or `https://`.
        fps: Nominal frames per second; 25 if not given, as such streams carry no rate.
    """

    live = True

    def __init__(self, address: str, *, fps: float | None = None) -> None:
        self.name = redact_address(address)
        self.fps = checked_fps(fps) or DEFAULT_FPS
        self.frame_count: int | None = None
        self.skipped = 0
        self._address = address
        self._answer: http.client.HTTPResponse | None = None
        self._reader: MultipartReader | None = None

    def __enter__(self) -> MjpegSource:
        """Connect.

        Raises:
            RefusedError: The login is wrong or missing.
            UnavailableError: No answer, another answer than a stream, a redirect.
        """
        answer = self._ask()
        kind = answer.headers.get("Content-Type", "")
        boundary = boundary_of(kind)
        if boundary is None:
            answer.close()
            raise NotMultipartError(
                f"The camera answers with {kind[:80]!r}, not with a motion JPEG stream",
                where=self.name,
                mend="try the address in a browser",
            )
        self._answer, self._reader = answer, MultipartReader(boundary)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._answer is not None:
            self._answer.close()
            self._answer = None

    def __iter__(self) -> Iterator[Frame]:
        """Deliver frames as they come.

        Raises:
            TemporaryError: The stream ended or broke.
        """
        started = 0.0
        for index, part in enumerate(self._parts()):
            picture = decode_image(part, where=self.name)
            if picture is None:
                self.skipped += 1
            else:
                now = time.monotonic()
                started = started or now
                utc = datetime.datetime.now(datetime.timezone.utc)
                yield Frame(index=index, time_s=now - started, bgr=picture, captured_at=utc)

    def _parts(self) -> Iterator[bytes]:
        answer, reader = self._answer, self._reader
        if answer is None or reader is None:
            raise RuntimeError("a source is iterated inside its `with` block")
        why = "the camera ended the stream"
        try:
            while data := answer.read1(_CHUNK):
                dropped = reader.dropped
                yield from reader.feed(data)
                self.skipped += reader.dropped - dropped
        except (OSError, http.client.HTTPException) as error:
            why = f"the stream broke: {error or type(error).__name__}"
        raise TemporaryError(why, where=self.name, mend="check camera and network")

    def _ask(self) -> http.client.HTTPResponse:
        url, user, password = _login_of(self._address)
        passwords = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        if user is not None:
            passwords.add_password(None, url, user, password or "")
        opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}),
            _NoRedirect(),
            urllib.request.HTTPBasicAuthHandler(passwords),
            _OneTryDigest(passwords),
        )
        mend = "check address, login and network; try the address in a browser"
        try:
            answer: http.client.HTTPResponse = opener.open(url, timeout=SILENCE_S)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code in _REFUSED:
                raise RefusedError(
                    f"The camera refuses the login ({error.code})", where=self.name, mend=mend
                ) from None
            raise UnavailableError(
                f"The camera answers {error.code}", where=self.name, mend=mend
            ) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise UnavailableError(
                f"The camera cannot be reached: {reason}", where=self.name, mend=mend
            ) from None
        return answer


class NotMultipartError(UnavailableError):
    """The address answers, with something else than motion JPEG."""


def _login_of(address: str) -> tuple[str, str | None, str | None]:
    """The address without its login; user and password, decoded."""
    parts = urlsplit(address)
    login, separator, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    bare = urlunsplit((parts.scheme, host, parts.path, parts.query, ""))
    return bare, unquote(user) if separator else None, unquote(password) if separator else None
