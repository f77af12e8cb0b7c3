"""The page's process: serves viewers from what the daemon says, until the daemon has gone.

Started by `edge.page.process`. Standard input is a socket: the first message has the settings, all
others are news. Back goes one line of JSON whenever the number of viewers has changed.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import sys

import uvicorn

from edge.child_process import die_with_parent
from edge.log import configure_logging
from edge.page.app import Page
from edge.page.desk import Desk
from edge.page.patience import PatientProtocol
from edge.page.settings import PageSettings
from edge.page.wire import unpack

CONNECTIONS = 64
HEADER_BYTES = 16 * 1024
_KEEP_ALIVE_S = 15
_NICE = 5  # frames come before viewers


async def serve(listener: socket.socket, channel: socket.socket) -> None:
    """Serve until the daemon closes the channel or a signal comes."""
    reader, writer = await asyncio.open_connection(sock=channel)
    first = await unpack(reader)
    if first is None:
        return
    settings = PageSettings.from_json(first[0]["settings"])

    def tell(viewers: int) -> None:
        writer.write(json.dumps({"viewers": viewers}).encode() + b"\n")

    desk = Desk(settings.viewers, told=tell)

    async def follow() -> None:
        try:
            while (news := await unpack(reader)) is not None:
                desk.take(*news)
        finally:  # without news there is nothing to serve, whatever ended them
            server.should_exit = True
            desk.hub.wake()

    page = Page(settings, desk, closing=lambda: server.should_exit)
    server = uvicorn.Server(_config(settings, page))
    following = asyncio.create_task(follow())
    try:
        await server.serve(sockets=[listener])
    finally:
        following.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await following


def _config(settings: PageSettings, page: Page) -> uvicorn.Config:
    return uvicorn.Config(
        page.app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        loop="asyncio",
        log_config=None,
        log_level="error",  # what strangers send is no news
        access_log=False,
        server_header=False,
        proxy_headers=False,
        limit_concurrency=CONNECTIONS,
        h11_max_incomplete_event_size=HEADER_BYTES,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=1,
        ssl_certfile=settings.certificate_file,
        ssl_keyfile=None if settings.key_file is None else str(settings.key_file),
    )


def main() -> None:
    """Take over listener and channel, and serve."""
    die_with_parent()
    if os.getppid() != int(sys.argv[2]):  # the daemon died before the line above
        return
    with contextlib.suppress(OSError):  # as a service it may not: seccomp refuses @resources
        os.nice(_NICE)
    configure_logging()
    listener = socket.socket(fileno=int(sys.argv[1]))
    channel = socket.socket(fileno=os.dup(0))
    asyncio.run(serve(listener, channel))


if __name__ == "__main__":
    main()
