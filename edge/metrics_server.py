"""Serves `/metrics` to a scraper: a small HTTP server in threads of its own.

At most so many requests at once, each with a time limit for all of it: a client that hangs, or
sends a letter now and then, holds a thread for a moment and nothing else.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import structlog
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

from engines.errors import UnavailableError

MOST_CLIENTS = 4
REQUEST_S = 5.0

_log = structlog.get_logger()


class MetricsServer:
    """The server; `start` binds.

    Args:
        registry: What is served.
        address: IP address to bind.
        port: TCP port; 0: any free one.
    """

    def __init__(self, registry: CollectorRegistry, *, address: str, port: int) -> None:
        self._registry = registry
        self._bind = (address, port)
        self._server: _Server | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port that is bound."""
        assert self._server is not None
        return int(self._server.server_address[1])

    def start(self) -> None:
        """Bind and serve.

        Raises:
            UnavailableError: The address is taken, or not ours.
        """
        try:
            self._server = _Server(self._bind, self._registry)
        except OSError as error:
            raise UnavailableError(
                f"the metrics cannot be served: {error.strerror or error}",
                where=f"{self._bind[0]}:{self._bind[1]}",
                mend="set another metrics.port, or stop what uses it (`ss -ltnp`)",
            ) from error
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True
        )
        self._thread.start()
        _log.info("metrics_served", address=self._bind[0], port=self.port)

    def close(self) -> None:
        """End it."""
        if self._server is not None and self._thread is not None:
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 8

    def __init__(self, bind: tuple[str, int], registry: CollectorRegistry) -> None:
        self.registry = registry
        self.room = threading.BoundedSemaphore(MOST_CLIENTS)
        self._until: dict[socket.socket, float] = {}  # of requests under way, monotonic
        if ":" in bind[0]:
            self.address_family = socket.AF_INET6
        super().__init__(bind, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self.room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        self._until[request] = time.monotonic() + REQUEST_S
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        """Called between requests and while there are none: cut off who takes too long."""
        now_s = time.monotonic()
        for request, until_s in self._until.copy().items():
            if now_s > until_s:
                with contextlib.suppress(OSError):  # it has ended meanwhile
                    request.shutdown(socket.SHUT_RDWR)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._until.pop(request, None)
            self.room.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no error of ours."""
        del request
        _log.debug("metrics_client_failed", client=str(client_address[0]), exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    timeout = REQUEST_S
    server_version = "vigil"
    sys_version = ""
    server: _Server

    def do_GET(self) -> None:
        if self.path.partition("?")[0] != "/metrics":
            self.send_error(HTTPStatus.NOT_FOUND, "only /metrics is here")
            return
        body = generate_latest(self.server.registry)
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", CONTENT_TYPE_LATEST)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """A scrape every few seconds is no news."""
