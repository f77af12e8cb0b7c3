"""The page's addresses.

- `/`: the page; `/login` where a token is needed
- `/api/v1/state`: all of it, JSON
- `/api/v1/stream`: the same, then what is new: server-sent events
- `/api/v1/cameras/NAME/picture.jpg`: newest picture (`?n=NUMBER`: that one, while it is kept)
- `/api/v1/cameras/NAME/heat.png`: its score map, one pixel a cell, grey 127.5 = threshold
- `/media/ID.jpg`, `.png`, `.webm`: pictures and clips of events
- `/healthz`, `/readyz`: the page runs; the daemon scores
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route
from starlette.types import ASGIApp

from edge.page.access import SESSION_S, Access, Attempts
from edge.page.assets import Asset, load_assets
from edge.page.desk import Desk
from edge.page.guard import MAX_BODY_BYTES, Guard
from edge.page.hosts import KnownHosts
from edge.page.media import open_media, wanted_range
from edge.page.settings import PageSettings
from edge.page.stream import EventStream

BODY_S = 10.0

_NUMBER = re.compile(r"[0-9]{1,15}")


class Page:
    """The handlers.

    Args:
        settings: Who may look, and where the pictures are.
        desk: What there is to see.
        closing: Whether the process is about to end.
    """

    def __init__(self, settings: PageSettings, desk: Desk, *, closing: Callable[[], bool]) -> None:
        self._settings = settings
        self._desk = desk
        self._assets = load_assets()
        self._access = Access(settings.token)
        self._cookie = f"vigil_page_{settings.port}"
        routes = [
            Route("/", self._index),
            Route("/login", self._login_page, methods=["GET"]),
            Route("/login", self._login, methods=["POST"]),
            Route("/static/{name}", self._asset),
            Route("/api/v1/state", self._state),
            Route("/api/v1/stream", EventStream(desk, closing=closing)),
            Route("/api/v1/cameras/{name}/{file}", self._picture),
            Route("/media/{name}", self._media),
            Route("/healthz", self._health),
            Route("/readyz", self._ready),
        ]
        self._guard = Guard(
            Starlette(routes=routes),
            access=self._access,
            attempts=Attempts(),
            hosts=KnownHosts(settings.hosts),
            cookie=self._cookie,
        )

    @property
    def app(self) -> ASGIApp:
        """All of it, behind the guard."""
        return self._guard

    async def _index(self, request: Request) -> Response:
        return self._give(self._assets["index.html"], request)

    async def _asset(self, request: Request) -> Response:
        asset = self._assets.get(request.path_params["name"])
        return _missing() if asset is None else self._give(asset, request)

    async def _login_page(self, request: Request) -> Response:
        return self._give(self._assets["login.html"], request)

    async def _login(self, request: Request) -> Response:
        try:
            body = await asyncio.wait_for(_body(request), BODY_S)
        except (ValueError, ClientDisconnect, TimeoutError, asyncio.TimeoutError):
            return PlainTextResponse("too large or too slow\n", 413, {"connection": "close"})
        token = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        if self._access.open:
            return RedirectResponse("/", 303)
        refusal = self._guard.try_token(request.scope, token)
        if refusal is not None:
            why = "wait" if refusal.status_code == 429 else "wrong"
            return RedirectResponse(f"/login?{why}", 303)
        response = RedirectResponse("/", 303)
        response.set_cookie(
            self._cookie,
            self._access.session(time.time()),
            max_age=SESSION_S,
            secure=self._settings.tls,
            httponly=True,
            samesite="strict",
        )
        return response

    async def _state(self, _request: Request) -> Response:
        return JSONResponse(self._desk.board.snapshot())

    async def _picture(self, request: Request) -> Response:
        number = _NUMBER.fullmatch(request.query_params.get("n", ""))
        wanted = None if number is None else int(number[0])
        picture = self._desk.picture(request.path_params["name"], wanted)
        kinds = {"picture.jpg": "image/jpeg", "heat.png": "image/png"}
        kind = kinds.get(request.path_params["file"])
        if picture is None or kind is None:
            return _missing()
        tag = f'"{picture.number}"'
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers={"etag": tag})
        data = picture.jpeg if kind == "image/jpeg" else picture.heat
        return Response(data, media_type=kind, headers={"etag": tag})

    async def _media(self, request: Request) -> Response:
        folder: Path | None = self._settings.media
        file = None if folder is None else open_media(folder, request.path_params["name"])
        if file is None:
            return _missing()
        headers = {"accept-ranges": "bytes"}
        try:
            part = wanted_range(request.headers.get("range"), file.size)
        except ValueError:
            file.close()
            return Response(status_code=416, headers={"content-range": f"bytes */{file.size}"})
        first, end = part or (0, file.size)
        if part is not None:
            headers["content-range"] = f"bytes {first}-{end - 1}/{file.size}"
        headers["content-length"] = str(end - first)
        if request.method == "HEAD":
            file.close()
            return Response(headers=headers, media_type=file.type)
        status = 200 if part is None else 206
        return StreamingResponse(file.chunks(first, end), status, headers, file.type)

    async def _health(self, _request: Request) -> Response:
        return PlainTextResponse("ok\n")

    async def _ready(self, _request: Request) -> Response:
        ready = self._desk.ready
        return PlainTextResponse("scoring\n" if ready else "not scoring\n", 200 if ready else 503)

    def _give(self, asset: Asset, request: Request) -> Response:
        headers = {"etag": asset.tag, "cache-control": "no-cache"}
        if request.headers.get("if-none-match") == asset.tag:
            return Response(status_code=304, headers=headers)
        return Response(asset.data, media_type=asset.type, headers=headers)


def _missing() -> Response:
    return PlainTextResponse("not found\n", 404)


async def _body(request: Request) -> bytes:
    """The body.

    Raises:
        ValueError: It is larger than `MAX_BODY_BYTES`.
    """
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise ValueError("too large")
    return body
