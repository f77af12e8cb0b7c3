"""From a checked configuration to a daemon that is ready to run."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from importlib.metadata import version

import structlog

from edge.capture.live import LiveCamera
from edge.capture.process import CaptureProcess
from edge.capture.source import Source, is_live_address, open_source
from edge.clock import Clock
from edge.config import Config
from edge.config_cameras import CameraConfig
from edge.daemon import Daemon
from edge.daemon_settings import CameraJob, DaemonSettings, LiveInput
from edge.events.event import ModelInfo
from edge.events.explain import Explainer
from edge.events.tracker import Detector
from edge.health_file import health_file
from edge.metrics import Metrics
from edge.metrics_server import MetricsServer
from edge.notify import Notifier
from edge.observer import Observer
from edge.page.open import open_page
from edge.pipeline import Pipeline
from edge.probe import Probe
from edge.publish.address import Topics, find_login
from edge.publish.home_assistant import birth_topic
from edge.publish.outbox import Bounds, Outbox
from edge.publish.outbox_file import OUTBOX_NAME
from edge.publish.publisher import BrokerSettings
from edge.publish.tls import TlsFiles
from edge.site import site_of
from edge.trust import open_bundle
from edge.watchdog import Watchdog
from engines.bundle import Bundle
from engines.errors import DataError

# Loading an engine takes seconds, building one minutes; after this a start hangs.
START_LIMIT_S = 900.0

_log = structlog.get_logger()


@contextlib.contextmanager
def open_daemon(
    config: Config,
    *,
    clock: Clock,
    notifier: Notifier | None = None,
    read_again: Callable[[], Config] | None = None,
) -> Iterator[Daemon]:
    """Load the bundle and build the daemon; the networks are freed at the end.

    Args:
        config: The checked configuration.
        clock: Time.
        notifier: The service manager's channel; None: nobody is told.
        read_again: Gives the configuration as it stands in its file now; None: it has no file.

    Raises:
        VigilError: The bundle cannot be used, or the login cannot be read.
    """
    broker = broker_settings(config)
    notifier = notifier or Notifier({})
    with contextlib.ExitStack() as stack:
        with notifier.starting(at_most_s=START_LIMIT_S):
            bundle = open_bundle(config.bundle, configured=config.trusted_keys)
            pipeline = Pipeline(
                bundle, backend=config.backend, threads=config.threads, compute=config.compute
            )
        stack.enter_context(pipeline)
        detector = detector_of(bundle, pipeline.backends, compute=pipeline.compute)
        _log.info(
            "bundle_loaded",
            bundle=bundle.model.name,
            release=bundle.manifest.release,
            signed_by=bundle.signed_by,
            backends=pipeline.backends,
            compute=pipeline.compute,
            places=pipeline.places,
        )

        def jobs_again() -> list[CameraJob]:
            assert read_again is not None
            return camera_jobs(_with_new_cameras(config, read_again()), bundle, detector)

        analysis_fps = config.analysis_fps or bundle.model.frame.fps
        outbox = Outbox(
            config.state / OUTBOX_NAME,
            device=config.device,
            topic=broker.topics.event,
            clock=clock,
            bounds=Bounds(config.outbox.max_rows, config.outbox.max_size),
        )
        home = config.home_assistant
        daemon = Daemon(
            settings=DaemonSettings(
                broker=broker,
                media=config.media_folder,
                media_max=config.media_max,
                flush_s=config.mqtt.flush,
                home_assistant=home.prefix if home.discovery else None,
                snapshots=config.mqtt.snapshots,
                expected_fps=bundle.model.frame.fps,
                analysis_fps=analysis_fps,
            ),
            cameras=camera_jobs(config, bundle, detector),
            pipeline=pipeline,
            detector=detector,
            outbox=outbox,
            clock=clock,
            observers=observers_of(config, detector, clock=clock),
            read_again=None if read_again is None else jobs_again,
        )
        if notifier.active:
            daemon.observe(
                Watchdog(notifier, clock=clock, probe=Probe(pipeline), period_s=1.0 / analysis_fps)
            )
        health = health_file(
            state=config.state, model=detector.model, clock=clock, vitals=daemon.vitals
        )
        if health is not None:
            daemon.observe(health)
        if config.metrics is not None:
            metrics = Metrics(
                model=detector.model,
                clock=clock,
                vitals=daemon.vitals,
                stage_ms=pipeline.stage_ms.copy,
                folder=config.state,
            )
            daemon.observe(metrics)
            server = MetricsServer(
                metrics.registry, address=config.metrics.address, port=config.metrics.port
            )
            server.start()
            stack.callback(server.close)
        yield daemon


def _with_new_cameras(config: Config, fresh: Config) -> Config:
    """The running configuration with the cameras of another; what else is new needs a restart."""
    others = set(Config.model_fields) - {"cameras", "defaults"}
    changed = sorted(name for name in others if getattr(config, name) != getattr(fresh, name))
    if changed:
        _log.warning("config_needs_restart", keys=changed)
    return config.model_copy(update={"cameras": fresh.cameras})


def observers_of(config: Config, detector: Detector, *, clock: Clock) -> list[Observer]:
    """The further parts that the configuration asks for.

    Raises:
        VigilError: One of them cannot work.
    """
    page = open_page(config, detector, clock=clock)
    return [] if page is None else [page]


def camera_jobs(config: Config, bundle: Bundle, detector: Detector) -> list[CameraJob]:
    """The cameras of a configuration, each with what was learned at its place.

    Raises:
        VigilError: See `camera_job`.
    """
    jobs = []
    for name, camera in config.cameras.items():
        site = site_of(config, name, bundle, detector)
        job = camera_job(name, camera)
        learned = None if site is None else site.detector.model.name
        jobs.append(replace(job, site=site, key=(job.key, learned)))
    return jobs


def camera_job(name: str, camera: CameraConfig) -> CameraJob:
    """A camera as the daemon takes it.

    Raises:
        UsageError: The scheme of its address is not known.
        InputMissingError: Its password file cannot be read.
        ConfigError: Its login is not whole.
    """
    spec: LiveCamera | None = None
    source: Source | LiveInput | None = None
    if camera.enabled and is_live_address(camera.source):
        spec = camera.live(name)
        source = LiveInput(
            launch=partial(CaptureProcess, spec),
            patience=camera.patience,
            memory_max=camera.memory_max,
        )
    elif camera.enabled:
        source = open_source(camera.source, fps=camera.fps)
    return CameraJob(
        name=name,
        source=source,
        realtime=camera.realtime,
        rules=camera.rules,
        film=None if camera.clip is None else camera.clip.spec,
        key=(camera, spec),
    )


def detector_of(bundle: Bundle, backends: dict[str, str], *, compute: str) -> Detector:
    """What stands behind the scores of a bundle.

    Raises:
        DataError: The bundle has no threshold yet.
    """
    if bundle.alarm is None:
        raise DataError(
            "the bundle has no alarm threshold yet",
            where=str(bundle.root),
            mend="calibrate it first: vigil calibrate BUNDLE --normal DIR --false-alarms-per-day N",
        )
    names = sorted({backend.rpartition("/")[0] for backend in backends.values()})
    precisions = sorted({backend.rpartition("/")[2] for backend in backends.values()})
    return Detector(
        alarm=bundle.alarm,
        fusion=bundle.model.fusion,
        unit=bundle.model.fusion.mode,
        explainer=Explainer.of_bundle(bundle),
        model=ModelInfo(
            release=version("vigil"),
            name=bundle.model.name,
            bundle=bundle.digest,
            precision="+".join(precisions) or "none",
            backend="+".join(names) or "none",
            compute=compute,
        ),
    )


def broker_settings(config: Config) -> BrokerSettings:
    """How to reach the broker, with the login from configuration and environment.

    Raises:
        InputMissingError: The password file cannot be read.
        ConfigError: A password but no user, or files for TLS that cannot be used.
    """
    mqtt, home = config.mqtt, config.home_assistant
    tls = TlsFiles(
        mqtt.ca_file, mqtt.certificate_file, mqtt.key_file, skip_verify=mqtt.insecure_skip_verify
    )
    if mqtt.address.tls:
        tls.check()
    return BrokerSettings(
        address=mqtt.address,
        topics=Topics(config.device, mqtt.prefix),
        login=find_login(mqtt.address, username=mqtt.username, password_file=mqtt.password_file),
        tls=tls,
        birth=birth_topic(home.prefix) if home.discovery else None,
        protocol=None if mqtt.protocol == "auto" else mqtt.protocol,
        keepalive_s=int(mqtt.keepalive),
        reconnect_max_s=mqtt.reconnect_max,
    )
