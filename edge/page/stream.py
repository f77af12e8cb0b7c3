"""Server-sent events: first all there is, then what is new, until the viewer has gone.

A browser that comes back gets everything again, so nothing has to be counted or kept for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from edge.page.desk import Desk
from edge.page.viewers import Viewer, encode

SILENCE_S = 5.0
"""A comment is sent after so much silence, so that a dead connection is noticed."""

_PULSE = b": pulse\n\n"


class EventStream:
    """ASGI application.

    Args:
        desk: What there is to see.
        closing: Whether the process is about to end.
    """

    def __init__(self, desk: Desk, *, closing: Callable[[], bool]) -> None:
        self._desk = desk
        self._closing = closing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one viewer."""
        refusal = None
        if scope["method"] != "GET":
            refusal = PlainTextResponse("method not allowed\n", 405, {"allow": "GET"})
        elif self._desk.hub.full:
            refusal = PlainTextResponse("too many viewers\n", 503, {"retry-after": "10"})
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        with self._desk.hub.join() as viewer:
            headers = [(b"content-type", b"text/event-stream"), (b"x-accel-buffering", b"no")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await self._serve(viewer, receive, send)
            await send({"type": "http.response.body", "body": b""})

    async def _serve(self, viewer: Viewer, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        news = asyncio.ensure_future(viewer.next())
        data = encode(self._desk.board.snapshot())
        try:
            while not (gone.done() or viewer.lost or self._closing()):
                await send({"type": "http.response.body", "body": data, "more_body": True})
                await asyncio.wait(
                    {gone, news}, timeout=SILENCE_S, return_when=asyncio.FIRST_COMPLETED
                )
                data = _PULSE
                if news.done():
                    data, news = news.result(), asyncio.ensure_future(viewer.next())
        finally:
            gone.cancel()
            news.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
