"""Metrics: what a scraper reads, over HTTP, from a daemon at work."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families
from support.broker import free_port
from support.clips import MemorySource
from support.clock import ManualClock
from support.scores import PlayedPipeline, detector, frame, scored

from edge.clock import SystemClock
from edge.daemon import Daemon
from edge.daemon_settings import CameraJob, DaemonSettings
from edge.metrics import STATES, Metrics
from edge.metrics_server import MOST_CLIENTS, MetricsServer
from edge.observer import CameraStatus, Observer
from edge.publish.address import BrokerAddress, Topics
from edge.publish.outbox import Outbox
from edge.publish.publisher import BrokerSettings
from edge.vitals import Vitals
from engines.errors import InternalError, UnavailableError

VITALS = Vitals(3, 900, 2, 17, connected=True, connects=4, ticks_skipped=5, pictures_missing=1)


def metrics(folder: Path, **changes: Any) -> Metrics:
    values: dict[str, Any] = {
        "model": detector().model,
        "clock": ManualClock(),
        "vitals": lambda: VITALS,
        "stage_ms": lambda: {"fuse": 250.0},
        "folder": folder,
        **changes,
    }
    return Metrics(**values)


@pytest.fixture
def serve() -> Iterator[Callable[[Metrics], MetricsServer]]:
    running: list[MetricsServer] = []

    def start(one: Metrics) -> MetricsServer:
        server = MetricsServer(one.registry, address="127.0.0.1", port=0)
        server.start()
        running.append(server)
        return server

    yield start
    for server in running:
        server.close()


def scrape(port: int) -> dict[tuple[str, ...], float]:
    """Every sample: its name and its labels' values, to its value."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/metrics")
    answer = connection.getresponse()
    assert answer.status == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    text = answer.read().decode()
    connection.close()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def status(state: Any, *, losses: int = 0, reason: str | None = None) -> CameraStatus:
    since = ManualClock().utc()
    return CameraStatus(
        "yard", state, reason, since, losses=losses, dropped=7, skipped=2, threshold=3.0
    )


def test_what_happens_is_counted(tmp_path: Path, serve: Callable[[Metrics], Any]) -> None:
    clock = ManualClock()
    one = metrics(tmp_path, clock=clock)
    port = serve(one).port
    one.started([status("connecting")])
    begin = scrape(port)
    assert begin["vigil_camera_frames_total", "yard"] == 0
    assert begin["vigil_camera_state", "yard", "connecting"] == 1
    one.camera_changed(status("live"))
    for score in (1.0, 3.0, 3.1, 9.0):
        one.scored("yard", frame(0), scored(frame(0), score))
    clock.turn(1.5)
    one.camera_changed(status("backoff", losses=2, reason="no_frames"))
    one.camera_changed(status("backoff", losses=2, reason="no_frames"))
    seen = scrape(port)
    assert seen["vigil_camera_frames_total", "yard"] == 4
    assert seen["vigil_threshold_exceed_total", "yard"] == 2
    assert (seen["vigil_score", "yard"], seen["vigil_threshold", "yard"]) == (9.0, 3.0)
    assert seen["vigil_camera_frame_age_seconds", "yard"] == 1.5
    assert seen["vigil_camera_reconnects_total", "yard", "no_frames"] == 2
    assert [s for s in STATES if seen["vigil_camera_state", "yard", s]] == ["backoff"]
    assert seen["vigil_camera_frames_dropped_total", "yard", "newer"] == 7
    assert seen["vigil_camera_frames_dropped_total", "yard", "unreadable"] == 2
    assert seen["vigil_stage_seconds_total", "fuse"] == 0.25
    assert seen["vigil_outbox_rows",] == 3
    assert seen["vigil_outbox_dropped_total",] == 2
    assert seen["vigil_mqtt_connected",] == 1
    assert seen["vigil_mqtt_delivered_total",] == 17
    assert seen["vigil_ticks_skipped_total",] == 5
    assert seen["vigil_disk_free_bytes",] > 0
    assert seen["process_open_fds",] > 0
    assert seen["vigil_build_info", "0" * 64, "made", "fp32", "0.1.0"] == 1


def test_a_daemon_that_ends_is_scraped_without_error(
    tmp_path: Path, serve: Callable[[Metrics], Any]
) -> None:
    def ended() -> Vitals:
        raise InternalError("the outbox thread has ended")

    one = metrics(tmp_path / "gone", vitals=ended)
    one.started([status("live")])
    seen = scrape(serve(one).port)
    assert ("vigil_outbox_rows",) not in seen
    assert seen["vigil_threshold", "yard"] == 3.0


def test_a_daemon_at_work_counts_what_its_summary_says(
    tmp_path: Path, serve: Callable[[Metrics], Any]
) -> None:
    scores = [1.0] * 10 + [5.0] * 10 + [1.0] * 40
    clock, topics = SystemClock(), Topics("gate-01")
    pipeline = PlayedPipeline({"yard": scores})
    address = BrokerAddress.parse(f"mqtt://127.0.0.1:{free_port()}")
    daemon = Daemon(
        settings=DaemonSettings(
            broker=BrokerSettings(address=address, topics=topics),
            media=None,
            flush_s=0.0,
        ),
        cameras=[
            CameraJob("yard", MemorySource([frame(i) for i in range(60)], "yard", 10.0)),
        ],
        pipeline=pipeline,
        detector=detector(),
        outbox=Outbox(tmp_path / "o.sqlite3", device="gate-01", topic=topics.event, clock=clock),
        clock=clock,
    )
    one = metrics(tmp_path, clock=clock, vitals=daemon.vitals)
    daemon.observe(one)
    port = serve(one).port
    during: list[float] = []

    class Scraper(Observer):
        def scored(self, camera: str, each: Any, score: Any) -> None:
            del camera, score
            if each.index == 30:
                thread = threading.Thread(
                    target=lambda: during.append(scrape(port)["vigil_outbox_rows",])
                )
                thread.start()
                thread.join(10)

    daemon.observe(Scraper())
    summary = daemon.run()
    seen = scrape(port)
    assert seen["vigil_camera_frames_total", "yard"] == summary.frames == 60
    assert seen["vigil_events_total", "yard", "start", ""] == summary.events == 1
    assert seen["vigil_events_total", "yard", "end", "normal"] == 1
    assert seen["vigil_threshold_exceed_total", "yard"] == 10
    assert during
    assert 0 <= during[0] <= 2
    assert seen["vigil_camera_state", "yard", "disabled"] == 1


def test_only_metrics_are_there(tmp_path: Path, serve: Callable[[Metrics], Any]) -> None:
    port = serve(metrics(tmp_path)).port
    for method, path, code in (("GET", "/", 404), ("GET", "/../x", 404), ("POST", "/metrics", 501)):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        connection.request(method, path)
        assert connection.getresponse().status == code
        connection.close()


def test_clients_that_hang_take_no_more_than_their_room(
    tmp_path: Path, serve: Callable[[Metrics], Any]
) -> None:
    port = serve(metrics(tmp_path)).port
    before = threading.active_count()
    hanging = [socket.create_connection(("127.0.0.1", port), timeout=10) for _ in range(30)]
    time.sleep(0.5)
    assert threading.active_count() - before <= MOST_CLIENTS
    for one in hanging:
        one.close()
    deadline = time.monotonic() + 10
    while True:  # and there is room again
        try:
            assert scrape(port)["vigil_mqtt_connected",] == 1
            break
        except (ConnectionError, http.client.HTTPException):
            assert time.monotonic() < deadline


def test_clients_that_drip_are_cut_off(
    tmp_path: Path, serve: Callable[[Metrics], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.metrics_server.REQUEST_S", 1.0)
    port = serve(metrics(tmp_path)).port
    dripping = [socket.create_connection(("127.0.0.1", port)) for _ in range(MOST_CLIENTS)]
    deadline = time.monotonic() + 15
    try:
        while True:
            for one in dripping:
                with contextlib.suppress(OSError):
                    one.sendall(b"G")  # each within any limit between two letters
            with contextlib.suppress(ConnectionError, http.client.HTTPException):
                assert scrape(port)["vigil_mqtt_connected",] == 1
                break
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        for one in dripping:
            one.close()


def test_a_camera_that_is_off_has_no_age(tmp_path: Path) -> None:
    one = metrics(tmp_path)
    one.scored("yard", frame(0), scored(frame(0), 1.0))
    assert b'frame_age_seconds{camera="yard"}' in generate_latest(one.registry)
    one.camera_changed(status("disabled"))
    assert b'frame_age_seconds{camera="yard"}' not in generate_latest(one.registry)


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        server = MetricsServer(metrics(tmp_path).registry, address="127.0.0.1", port=port)
        with pytest.raises(UnavailableError, match="cannot be served"):
            server.start()
