"""The one thread that holds the outbox open; everyone else asks it.

While the disk is full or fails, messages are held in memory in order and tried again; only after
their commit can they be published. When too many are held the oldest updates go, then the oldest
messages, and a gap message says so: cameras are never stopped for a disk.
"""

from __future__ import annotations

import contextlib
import json
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any, TypeVar

import structlog

from edge.events.happening import Payload
from edge.publish.held import HeldMessages
from edge.publish.outbox import Depth, Outbox, Row
from engines.errors import InternalError

MAX_HELD = 1000  # messages in memory that are not committed yet
RETRY_S = 5.0

Result = TypeVar("Result")
# The call, and where its result goes; without such a place a failure ends the thread, aloud.
_Job = tuple[Callable[[], Any], "Future[Any] | None"]

_log = structlog.get_logger()


class OutboxThread:
    """The outbox behind a queue of jobs.

    Args:
        outbox: Not opened yet; the thread opens and closes it.
        on_commit: Called in the thread after each commit of a new message; must not block.
        retry_s: Seconds between attempts while the disk fails.
    """

    def __init__(
        self,
        outbox: Outbox,
        *,
        on_commit: Callable[[], None] = lambda: None,
        retry_s: float = RETRY_S,
    ) -> None:
        self._outbox = outbox
        self._on_commit = on_commit
        self._retry_s = retry_s
        self._jobs: queue.Queue[_Job | None] = queue.Queue()
        self._room = threading.Semaphore(MAX_HELD)
        self._held = HeldMessages()
        self._failing = False  # the newest commit failed
        self._delivered: list[int] = []  # to be deleted; more than the newest only if that failed
        self._retry_at = 0.0
        self._thread = threading.Thread(target=self._work, name="outbox", daemon=True)
        self._opened: Future[None] = Future()

    def start(self) -> None:
        """Start the thread and open the outbox.

        Raises:
            TemporaryError: Another process uses this outbox.
            CannotCreateError: The file cannot be written.
        """
        self._thread.start()
        self._opened.result()

    def append(self, payload: Payload) -> None:
        """Take a message; it is committed soon, in order.

        Waits while the disk does not keep up; a disk that fails is not waited for.

        Raises:
            ValueError: The message is not JSON (a NaN); found here, where it was made.
            InternalError: The thread has ended.
        """
        json.dumps(payload, allow_nan=False)
        while not self._room.acquire(timeout=0.0 if self._failing else 0.5):
            self._alive()
            if self._failing:
                self._tell(lambda: self._append_in_place_of_another(payload))
                return
        self._tell(lambda: self._append(payload))

    def fetch(self, *, after: int, limit: int) -> list[Row]:
        """See `Outbox.fetch`."""
        return self._ask(lambda: self._outbox.fetch(after=after, limit=limit))

    def delete(self, seqs: Sequence[int]) -> None:
        """See `Outbox.delete`; done in the background, before any later `fetch`."""
        self._tell(lambda: self._delete(seqs))

    def reject(self, seq: int, *, reason: str) -> None:
        """See `Outbox.reject`; waits for it."""
        self._ask(lambda: self._outbox.reject(seq, reason=reason))

    def open_events(self) -> list[Payload]:
        """See `Outbox.open_events`."""
        return self._ask(self._outbox.open_events)

    def depth(self) -> Depth:
        """What waits, messages held in memory included."""
        return self._ask(self._depth)

    def identity(self) -> tuple[str, int]:
        """`stream_id` and the newest number."""
        return self._ask(lambda: (self._outbox.stream_id, self._outbox.last_seq))

    def remember(self, key: str, value: str) -> None:
        """See `Outbox.remember`; done in the background, and given up if the disk fails."""

        def write() -> None:
            with contextlib.suppress(sqlite3.Error):
                self._outbox.remember(key, value)

        self._tell(write)

    def recall(self, key: str) -> str | None:
        """See `Outbox.recall`."""
        return self._ask(lambda: self._outbox.recall(key))

    def close(self) -> None:
        """Finish the jobs, try once more to commit what is held, close the file."""
        if self._thread.is_alive():
            self._jobs.put(None)
            self._thread.join()

    def _alive(self) -> None:
        if not self._thread.is_alive():
            raise InternalError(
                "the outbox thread has ended", where=str(self._outbox.path), mend="see the log"
            )

    def _tell(self, call: Callable[[], None]) -> None:
        self._alive()
        self._jobs.put((call, None))

    def _ask(self, call: Callable[[], Result]) -> Result:
        self._alive()
        future: Future[Result] = Future()
        self._jobs.put((call, future))
        while True:
            try:
                return future.result(timeout=1.0)
            except FutureTimeoutError:
                self._alive()  # else the answer would never come

    def _work(self) -> None:
        try:
            with self._outbox:
                self._opened.set_result(None)
                while (job := self._next_job()) is not None:
                    _run(job)
                self._commit_held()
        except BaseException as failure:  # noqa: BLE001  # a thread's top: told to whoever waits
            if not self._opened.done():
                self._opened.set_exception(failure)
            else:
                _log.exception("outbox_thread_failed")
        finally:
            self._cancel_rest()

    def _next_job(self) -> _Job | None:
        while True:
            wait_s = max(0.0, self._retry_at - time.monotonic()) if self._held else None
            # Other jobs must not put the next attempt off for ever.
            if wait_s == 0.0:
                self._commit_held()
                continue
            try:
                return self._jobs.get(timeout=wait_s)
            except queue.Empty:
                continue

    def _append(self, payload: Payload) -> None:
        self._held.add(payload)
        if len(self._held) == 1:
            self._commit_held()

    def _append_in_place_of_another(self, payload: Payload) -> None:
        """Its place among the held ones is that of a message that is dropped."""
        if self._held:
            self._held.drop_one()
        else:
            self._room.acquire(blocking=False)  # the disk has recovered meanwhile
        self._append(payload)

    def _commit_held(self) -> None:
        while self._held:
            try:
                if self._held.lost:
                    self._outbox.append_gap(self._held.lost)
                    self._held.lost = 0
                self._outbox.append(self._held.first())
            except (sqlite3.Error, OSError) as error:  # the disk's size is asked for, too
                _log.error("outbox_not_written", error=str(error), held=len(self._held))
                self._failing = True
                self._retry_at = time.monotonic() + self._retry_s
                return
            self._failing = False
            self._held.remove_first()
            self._room.release()
            self._on_commit()

    def _delete(self, seqs: Sequence[int]) -> None:
        self._delivered += seqs
        try:
            self._outbox.delete(self._delivered)
        except sqlite3.Error as error:
            _log.warning("outbox_not_cleared", error=str(error), messages=len(self._delivered))
        else:
            self._delivered.clear()
            self._retry_at = 0.0  # there may be room again

    def _depth(self) -> Depth:
        depth = self._outbox.depth
        held = len(self._held)
        lost = depth.dropped + self._held.lost
        return Depth(depth.rows + held, depth.payload_bytes, lost, held)

    def _cancel_rest(self) -> None:
        while True:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                return
            if job is not None and job[1] is not None:
                job[1].set_exception(InternalError("the outbox thread has ended"))


def _run(job: _Job) -> None:
    call, future = job
    if future is None:
        call()
        return
    try:
        future.set_result(call())
    except Exception as error:  # noqa: BLE001  # handed to the one who asked
        future.set_exception(error)
