"""The watchdog is fed while frames move, and by nothing else."""

import datetime
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from structlog.testing import capture_logs
from support.bundles import tiny_bundle
from support.clock import ManualClock
from support.scores import PlayedPipeline, frame, scored
from support.service_manager import Manager, manager_at

from edge.capture.camera_state import Patience
from edge.notify import Notifier
from edge.observer import CameraStatus, Observers
from edge.pipeline import Pipeline
from edge.probe import Probe
from edge.watchdog import GRACE_S, Watchdog
from engines.errors import InternalError

PATIENCE = Patience()
SINCE = datetime.datetime(2026, 7, 1, tzinfo=datetime.timezone.utc)


def status(state: Any = "live", *flags: str, name: str = "yard", fps: float = 10.0) -> CameraStatus:
    return CameraStatus(
        name=name, state=state, reason=None, since=SINCE, flags=flags, fps=fps, patience=PATIENCE
    )


class Bench:
    """A watchdog of 30 s, its clock and its manager."""

    def __init__(self, manager: Manager, *, probe: Callable[[], None] | None = None) -> None:
        self.manager = manager
        self.clock = ManualClock()
        self.probes = 0
        self.probe = probe
        environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "30000000"}
        self.notifier = Notifier(environment)
        self.watchdog = Watchdog(
            self.notifier,
            clock=self.clock,
            probe=self._probe,
            period_s=0.1,
        )
        self.observers = Observers([self.watchdog])

    def _probe(self) -> None:
        self.probes += 1
        if self.probe is not None:
            self.probe()

    def start(self, *cameras: CameraStatus) -> None:
        self.observers.tell(lambda one: one.started(cameras))
        self.observers.tell(lambda one: one.turned())
        self.manager.forget()

    def run(self, seconds: float, *, scores: str = "") -> list[str]:
        """Turn the loop every 0.2 s, with a score of camera `scores` at each turn."""
        self.manager.forget()
        for _ in range(round(seconds / 0.2)):
            self.clock.turn(0.2)
            if scores:
                one = frame(0)
                self.observers.tell(lambda each, one=one: each.scored(scores, one, scored(one, 1)))
            self.observers.tell(lambda each: each.turned())
            self.manager.listen()  # a socket holds ten datagrams
        return [message for message in self.manager.listen() if message == "WATCHDOG=1"]


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    with manager_at("path", tmp_path) as running:
        yield running


@pytest.fixture
def bench(manager: Manager) -> Iterator[Bench]:
    one = Bench(manager)
    yield one
    one.notifier.close()


def test_ready_comes_with_the_first_turn_and_once(bench: Bench, manager: Manager) -> None:
    bench.observers.tell(lambda one: one.started([status("connecting")]))
    assert manager.listen() == []
    for _ in range(3):
        bench.observers.tell(lambda one: one.turned())
    heard = manager.listen()
    assert heard.count("READY=1") == 1
    assert "STATUS=0/1 live, 0.0 scores/s; yard connecting" in heard


def test_frames_that_move_feed_it_three_times_a_period(bench: Bench) -> None:
    bench.start(status())
    assert len(bench.run(60.0, scores="yard")) == 6
    assert bench.probes == 0
    assert bench.watchdog.beat_age_s < 10.2


def test_a_loop_that_stands_still_feeds_nothing(bench: Bench) -> None:
    bench.start(status())
    bench.clock.turn(60.0)
    assert bench.manager.listen() == []


@pytest.mark.parametrize("state", ["connecting", "backoff", "frozen", "quarantined", "disabled"])
def test_cameras_that_are_away_are_no_reason_to_end(bench: Bench, state: str) -> None:
    bench.start(status(state))
    beats = 0
    for _ in range(20):
        beats += len(bench.run(10.0))
        bench.observers.tell(lambda one: one.camera_changed(status(state)))
    assert beats >= 18
    assert 30 <= bench.probes <= 40  # every five seconds, and not at each turn


def test_a_probe_that_fails_ends_the_beats(manager: Manager) -> None:
    def fail() -> None:
        raise InternalError("the engine is gone")

    bench = Bench(manager, probe=fail)
    bench.start(status("backoff"))
    with capture_logs() as logs:
        assert bench.run(120.0) == []
    bench.notifier.close()
    assert [line["event"] for line in logs] == ["observer_failed"]


@pytest.mark.parametrize(
    ("state", "limit_s"),
    [
        ("live", PATIENCE.stale_s),
        ("connecting", PATIENCE.connect_s),
        ("stale", PATIENCE.lost_s),
        ("backoff", PATIENCE.backoff_max_s),
        ("quarantined", PATIENCE.quarantine_s),
    ],
)
def test_a_supervisor_that_hangs_ends_the_beats_though_the_others_go_on(
    bench: Bench, state: str, limit_s: float
) -> None:
    bench.start(status(state), status(name="door"))
    good = limit_s + GRACE_S - 1.0
    assert len(bench.run(good, scores="door")) >= int(good / 10.2)
    with capture_logs() as logs:
        bench.run(12.0, scores="door")
        assert bench.run(60.0, scores="door") == []
    assert [(line["event"], line["camera"]) for line in logs] == [("supervisor_late", "yard")]
    assert any("yard hangs" in text for text in bench.manager.heard) or logs
    # Once it is heard of again all is well.
    bench.observers.tell(lambda one: one.camera_changed(status("connecting")))
    assert bench.run(12.0, scores="door")


def test_slow_cameras_and_wrong_pictures_are_not_taken_for_hangs(manager: Manager) -> None:
    for one in (status(fps=1 / 60), status("live", "recommission_required")):
        bench = Bench(manager)
        bench.start(one)
        assert len(bench.run(250.0)) >= 20
        bench.notifier.close()


def test_the_status_line_tells_the_rate_and_who_is_away(bench: Bench) -> None:
    bench.start(status(), status("backoff", name="door"))
    bench.run(10.2, scores="yard")
    assert "STATUS=1/2 live, 5.0 scores/s; door backoff" in bench.manager.heard


def test_the_end_is_told(bench: Bench) -> None:
    bench.start(status())
    bench.observers.tell(lambda one: one.stopping())
    assert bench.manager.listen() == ["STOPPING=1", "STATUS=ending"]


def test_the_probe_runs_every_network_of_a_real_bundle(tmp_path: Path) -> None:
    with Pipeline(tiny_bundle(tmp_path / "bundle", workspace=tmp_path), threads=1) as pipeline:
        probe = Probe(pipeline)
        for _ in range(3):
            probe()
        ran = {name for name, spent in pipeline.stage_ms.items() if spent > 0}
    assert {"appearance.encode", "motion.encode", "appearance.head", "motion.head", "fuse"} <= ran


def test_a_probe_without_a_number_is_an_error() -> None:
    class Broken(PlayedPipeline):
        def step(self, work: Any) -> Any:
            return [scored(one, np.nan) for _, one in work]

    with pytest.raises(InternalError, match="nan"):
        Probe(Broken({"x": [0.0]}))()
