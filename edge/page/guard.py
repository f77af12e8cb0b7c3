"""What every request passes before anything else sees it, and what every answer carries.

In this order: known host, known method, small body, same origin for what changes something, and a
session or token for all but the login page. Nothing of a request is logged except its address.
"""

from __future__ import annotations

import http.cookies
import time
from collections.abc import Callable

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from edge.page.access import Access, Attempts
from edge.page.hosts import KnownHosts

MAX_BODY_BYTES = 4096
PUBLIC = frozenset(
    {"/login", "/healthz", "/readyz", "/static/page.css", "/static/login.js", "/static/icon.svg"}
)
HEADERS = {
    "content-security-policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; script-src 'self'; "
        "style-src 'self'; connect-src 'self'; form-action 'self'; base-uri 'none'; "
        "frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}

_METHODS = frozenset({"GET", "HEAD", "POST"})
_log = structlog.get_logger()


class Guard:
    """ASGI middleware.

    Args:
        app: What is behind it.
        access: Tokens and sessions.
        attempts: Wrong tokens so far.
        hosts: Names of this page.
        cookie: Name of the session's cookie.
        wall_s: Seconds since the epoch.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        access: Access,
        attempts: Attempts,
        hosts: KnownHosts,
        cookie: str,
        wall_s: Callable[[], float] = time.time,
    ) -> None:
        self._app = app
        self._access = access
        self._attempts = attempts
        self._hosts = hosts
        self._cookie = cookie
        self._wall_s = wall_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request or pass it on."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        await (self._app if refusal is None else refusal)(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = Headers(scope=scope)
        if not self._hosts.knows(headers.get("host", "")):
            return PlainTextResponse(
                "This page is not known under that name. If it should be, add the name to "
                "page.hosts in the configuration.\n",
                421,
            )
        if scope["method"] not in _METHODS:
            return PlainTextResponse("method not allowed\n", 405, {"allow": "GET, HEAD, POST"})
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 9 or int(length) > MAX_BODY_BYTES:
            return PlainTextResponse("too large\n", 413, {"connection": "close"})
        if scope["method"] == "POST" and not _same_origin(headers):
            return PlainTextResponse("this request comes from another site\n", 403)
        return self._stranger(scope, headers)

    def _stranger(self, scope: Scope, headers: Headers) -> Response | None:
        path = scope["path"]
        if self._access.open or path in PUBLIC or self._has_session(headers):
            return None
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and token:
            return self.try_token(scope, token)
        if path == "/":
            return RedirectResponse("/login", 303)
        return PlainTextResponse("a token is needed\n", 401, {"www-authenticate": "Bearer"})

    def try_token(self, scope: Scope, token: str) -> Response | None:
        """None for the right token, else the answer to a wrong one, or to one too many."""
        address = client_address(scope)
        wait_s = self._attempts.wait_s(address, time.monotonic())
        if wait_s > 0.0:
            return PlainTextResponse(
                f"Too many wrong tokens; wait {wait_s:.0f} seconds.\n",
                429,
                {"retry-after": f"{wait_s:.0f}"},
            )
        if self._access.knows(token):
            return None
        self._attempts.note(address, time.monotonic())
        _log.warning("page_token_refused", address=address)
        return PlainTextResponse("wrong token\n", 401, {"www-authenticate": "Bearer"})

    def _has_session(self, headers: Headers) -> bool:
        try:
            jar: http.cookies.SimpleCookie = http.cookies.SimpleCookie(headers.get("cookie", ""))
        except http.cookies.CookieError:
            return False
        cookie = jar.get(self._cookie)
        return cookie is not None and self._access.valid(cookie.value, self._wall_s())


def client_address(scope: Scope) -> str:
    """Where a request comes from; forwarded addresses are not believed, anybody can write them."""
    client = scope.get("client")
    return client[0] if client else "?"


def _same_origin(headers: Headers) -> bool:
    # Browsers tell it by themselves; where they do not, the origin has to be ours. Ours is sent as
    # "null" by those that obey no-referrer in forms too, and they all tell.
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    return origin is None or origin.partition("://")[2] == headers.get("host")
