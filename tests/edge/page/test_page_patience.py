"""Clients that dawdle are cut off; those that only wait for their next request are not."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from edge.page import patience

LARGE = b"x" * (32 * 2**20)  # more than the sockets' buffers hold


async def app(scope: Any, receive: Any, send: Any) -> None:
    body = b"hello"
    while (message := await receive()).get("more_body"):
        body += message["body"]
    body = LARGE if scope["path"] == "/large" else body
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def talk(what: Talk) -> None:
    """Serve one connection and say something on it."""

    async def scene() -> None:
        config = uvicorn.Config(app, lifespan="off", log_config=None, timeout_keep_alive=30)
        config.load()
        state = ServerState()
        server = await asyncio.get_running_loop().create_server(
            lambda: patience.PatientProtocol(config, state, {}), "127.0.0.1", 0
        )
        async with server:
            host, port = server.sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            try:
                await what(reader, writer)
            finally:
                writer.close()

    asyncio.run(asyncio.wait_for(scene(), 20))


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "REQUEST_S", 0.3)
    monkeypatch.setattr(patience, "STUCK_S", 0.3)


async def closed(reader: asyncio.StreamReader) -> bytes:
    """All that comes until the other side closes."""
    try:
        return await asyncio.wait_for(reader.read(), 5)
    except ConnectionResetError:
        return b""


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"GET / HTTP/1.1\r\nHost: x\r\n",
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nabc",
    ],
)
def test_a_request_that_is_never_complete_ends_the_connection(said: bytes) -> None:
    async def dawdle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        assert await closed(reader) == b""

    talk(dawdle)


def test_a_drip_of_bytes_does_not_help() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n")
        with contextlib.suppress(ConnectionError):
            for _ in range(100):
                writer.write(b"X: y\r\n")
                await writer.drain()
                await asyncio.sleep(0.05)
                if reader.at_eof():
                    break
        assert await closed(reader) == b""

    talk(drip)


def test_between_two_requests_there_is_time() -> None:
    async def twice(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200")
            assert await reader.readuntil(b"0\r\n\r\n") == b"5\r\nhello\r\n0\r\n\r\n"
            await asyncio.sleep(0.6)

    talk(twice)


def test_one_address_cannot_take_all_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "PER_ADDRESS", 2)
    monkeypatch.setattr(patience, "_is_this_machine", lambda _address: False)

    async def crowd(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port = writer.get_extra_info("peername")
        second = await asyncio.open_connection(host, port)
        third = await asyncio.open_connection(host, port)
        assert await closed(third[0]) == b""
        second[1].write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await closed(second[0])).startswith(b"HTTP/1.1 200")
        again = await asyncio.open_connection(host, port)  # a place is free now
        again[1].write(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert (await closed(again[0])).startswith(b"HTTP/1.1 200")
        for _, one in (second, third, again):
            one.close()

    talk(crowd)


def test_who_does_not_read_the_answer_is_cut_off() -> None:
    async def stuff(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(1.0)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        assert len(await closed(reader)) < len(LARGE)

    talk(stuff)
