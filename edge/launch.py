"""From a checked configuration to a daemon that is ready to run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
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
from edge.pipeline import Pipeline
from edge.publish.address import Topics, find_login
from edge.publish.connection import TlsFiles
from edge.publish.outbox import Bounds, Outbox
from edge.publish.publisher import BrokerSettings
from edge.trust import open_bundle
from engines.bundle import Bundle
from engines.errors import DataError

OUTBOX_NAME = "outbox.sqlite3"
_log = structlog.get_logger()


@contextlib.contextmanager
def open_daemon(config: Config, *, clock: Clock) -> Iterator[Daemon]:
    """Load the bundle and build the daemon; the networks are freed at the end.

    Raises:
        VigilError: The bundle cannot be used, or the login cannot be read.
    """
    bundle = open_bundle(config.bundle, configured=config.trusted_keys)
    broker = broker_settings(config)
    with Pipeline(bundle, backend=config.backend, threads=config.threads) as pipeline:
        detector = detector_of(bundle, pipeline.backends)
        _log.info(
            "bundle_loaded",
            bundle=bundle.model.name,
            release=bundle.manifest.release,
            signed_by=bundle.signed_by,
            backends=pipeline.backends,
        )
        cameras = [camera_job(name, camera) for name, camera in config.cameras.items()]
        outbox = Outbox(
            config.state / OUTBOX_NAME,
            device=config.device,
            topic=broker.topics.event,
            clock=clock,
            bounds=Bounds(config.outbox.max_rows, config.outbox.max_size),
        )
        yield Daemon(
            settings=DaemonSettings(
                broker=broker,
                media=config.media_folder,
                flush_s=config.mqtt.flush,
                expected_fps=bundle.model.frame.fps,
                analysis_fps=config.analysis_fps or bundle.model.frame.fps,
            ),
            cameras=cameras,
            pipeline=pipeline,
            detector=detector,
            outbox=outbox,
            clock=clock,
        )


def camera_job(name: str, camera: CameraConfig) -> CameraJob:
    """A camera as the daemon takes it.

    Raises:
        UsageError: The scheme of its address is not known.
    """
    source: Source | LiveInput | None = None
    if camera.enabled and is_live_address(camera.source):
        spec = LiveCamera(camera.source, fps=camera.fps, overlay=camera.overlay)
        source = LiveInput(
            launch=lambda: CaptureProcess(spec),
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
    )


def detector_of(bundle: Bundle, backends: dict[str, str]) -> Detector:
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
    precisions = sorted({backend.rpartition("/")[2] for backend in backends.values()})
    return Detector(
        alarm=bundle.alarm,
        unit=bundle.model.fusion.mode,
        explainer=Explainer.of_bundle(bundle),
        model=ModelInfo(
            release=version("vigil"),
            name=bundle.model.name,
            bundle=bundle.digest,
            precision="+".join(precisions) or "none",
        ),
    )


def broker_settings(config: Config) -> BrokerSettings:
    """How to reach the broker, with the login from configuration and environment.

    Raises:
        InputMissingError: The password file cannot be read.
        ConfigError: A password but no user.
    """
    mqtt = config.mqtt
    return BrokerSettings(
        address=mqtt.address,
        topics=Topics(config.device, mqtt.prefix),
        login=find_login(mqtt.address, username=mqtt.username, password_file=mqtt.password_file),
        tls=TlsFiles(mqtt.ca_file, mqtt.certificate_file, mqtt.key_file),
        protocol=None if mqtt.protocol == "auto" else mqtt.protocol,
        keepalive_s=int(mqtt.keepalive),
        reconnect_max_s=mqtt.reconnect_max,
    )
