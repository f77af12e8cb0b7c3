"""One camera of a configuration, as the daemon would watch it, to learn from."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator

from edge.capture.supervisor import CameraSupervisor
from edge.clock import Clock
from edge.commissioning.footage import Footage
from edge.commissioning.learn import HOURS_PER_DAY, Learned, Order, Standard, learn
from edge.config import Config
from edge.daemon_settings import LiveInput
from edge.feeds import Feed, RecordingFeed
from edge.launch import camera_job, detector_of
from edge.pipeline import Pipeline
from edge.site import site_of
from edge.ticks import Ticker
from edge.trust import open_bundle


def commission_camera(
    config: Config,
    name: str,
    *,
    seconds: float,
    false_alarms_per_day: float | None,
    confidence: float,
    clock: Clock,
    progress: Callable[[float], None],
) -> Learned:
    """Watch a camera of the configuration and learn; nothing is written.

    Args:
        config: The checked configuration.
        name: The camera.
        seconds: Footage to learn from.
        false_alarms_per_day: Budget; None: the one in force.
        confidence: Of the bounds.
        clock: Time.
        progress: Told the seconds of footage after each frame.

    Raises:
        VigilError: See `edge.commissioning.learn.learn`; or the bundle cannot be used.
    """
    bundle = open_bundle(config.bundle, configured=config.trusted_keys)
    rules = config.cameras[name].rules
    with Pipeline(
        bundle, backend=config.backend, threads=config.threads, compute=config.compute
    ) as pipeline:
        detector = detector_of(bundle, pipeline.backends, compute=pipeline.compute)
        site = site_of(config, name, bundle, detector)
        alarm = detector.alarm if site is None else site.detector.alarm
        budget = alarm.budget_per_hour
        if false_alarms_per_day is not None:
            budget = false_alarms_per_day / HOURS_PER_DAY
        ticker = Ticker(config.analysis_fps or bundle.model.frame.fps, clock=clock)
        announce = threading.Event()
        with _open_feed(config, name, announce, clock) as feed:
            return learn(
                Order(name, rules, seconds, budget, confidence),
                footage=Footage(
                    feed,
                    announce=announce,
                    ticker=ticker,
                    clock=clock,
                    progress=progress,
                ),
                pipeline=pipeline,
                now=Standard(pipeline.statistics if site is None else site.statistics, alarm),
                clock=clock,
            )


@contextlib.contextmanager
def _open_feed(
    config: Config, name: str, announce: threading.Event, clock: Clock
) -> Iterator[Feed]:
    camera = config.cameras[name].model_copy(update={"enabled": True})
    job = camera_job(name, camera)
    if isinstance(job.source, LiveInput):
        supervisor = CameraSupervisor(
            name=name,
            launch=job.source.launch,
            patience=job.source.patience,
            memory_max=job.source.memory_max,
            clock=clock,
            announce=announce,
        )
        supervisor.start()
        try:
            yield supervisor
        finally:
            supervisor.close()
        return
    assert job.source is not None
    with job.source as source:
        yield RecordingFeed(source, clock=clock, realtime=False)
