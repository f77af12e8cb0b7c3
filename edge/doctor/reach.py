"""Checks of what is outside: each camera, and the broker with a message there and back."""

from __future__ import annotations

import secrets
import socket
import time

from edge.capture.live import LiveCamera
from edge.capture.process import CaptureProcess
from edge.capture.source import is_live_address, open_source
from edge.config import Config
from edge.config_cameras import CameraConfig
from edge.doctor.check import Finding, from_error, ok
from edge.launch import broker_settings
from edge.publish.address import Topics
from edge.publish.connection import REFUSED_FROM, Connection, ConnectionLostError
from edge.publish.outbox_file import OUTBOX_NAME
from edge.publish.protocol import ProtocolChoice, await_answer
from edge.publish.publisher import BrokerSettings
from engines.errors import VigilError

CAMERA_S = 10.0
BROKER_S = 5.0
_BACK_S = 1.0


def check_camera(name: str, camera: CameraConfig, *, seconds: float = CAMERA_S) -> Finding:
    """Open it as the daemon would, and count its pictures for some time.

    Raises:
        VigilError: A recording cannot be opened.
    """
    check = f"camera {name}"
    if not camera.enabled:
        return Finding(check, "skip", "switched off (`enabled: false`)")
    if not is_live_address(camera.source):
        with open_source(camera.source, fps=camera.fps) as source:
            first = next(iter(source))
        height, width = first.bgr.shape[:2]
        return ok(check, f"a recording of {width}x{height} at {source.fps:g} frames per second")
    spec = camera.live(name)
    capture = CaptureProcess(spec)
    try:
        return _watch(check, capture, spec, camera, seconds)
    finally:
        capture.stop()


def _watch(
    check: str, capture: CaptureProcess, spec: LiveCamera, camera: CameraConfig, seconds: float
) -> Finding:
    mend = (
        f"try it by hand: ffplay {spec.name}; ping the camera; as a service: the drop-ins "
        "usb-camera.conf, csi-camera.conf, network.conf"
    )
    deadline = time.monotonic() + camera.connect_timeout
    first_s: float | None = None
    first = 0
    while time.monotonic() < deadline:
        news = capture.news(0.1)
        if news.failure is not None:
            return Finding(check, "fail", f"{spec.name}: {news.failure}", news.mend or mend)
        seen = capture.peek()
        if seen is not None and first_s is None:
            first_s, first = seen.mono_s, seen.number
            deadline = time.monotonic() + seconds
    seen = capture.peek()
    if seen is None or first_s is None:
        waited = f"no picture within {camera.connect_timeout:g} s"
        return Finding(check, "fail", f"{spec.name}: {waited}", mend)
    pictures = seen.number - first
    rate = pictures / (seen.mono_s - first_s) if seen.mono_s > first_s else 0.0
    found = f"{spec.name}: {seen.width}x{seen.height}, {rate:.1f} pictures per second"
    if pictures == 0:
        return Finding(check, "fail", f"{found}: one picture and then none", mend)
    if seen.changes == 0:
        wake = "is the picture really live? Restart the camera; name its clock as `overlay`"
        return Finding(check, "warn", f"{found}; the picture did not change at all", wake)
    return ok(check, found)


def check_broker(config: Config) -> Finding:
    """Reach it, log in, and have the broker acknowledge a message on a topic of our own.

    Nothing is left there: the message is not retained.
    """
    try:
        settings = broker_settings(config)
    except VigilError as error:
        return from_error("broker", error)
    address = settings.address
    try:
        socket.create_connection((address.host, address.port), timeout=BROKER_S).close()
    except OSError as error:
        return Finding(
            "broker",
            "fail",
            f"{address} cannot be reached: {error.strerror or error}",
            f"is it running and is the name right? Events are kept meanwhile. Try: "
            f"mosquitto_sub -h {address.host} -p {address.port} -t '$SYS/#' -C 1",
        )
    topic = f"{Topics(config.device, config.mqtt.prefix).root}/doctor"
    begin = time.monotonic()
    try:
        came_back = _in_either_protocol(settings, topic)
    except (ConnectionLostError, VigilError) as error:
        return Finding(
            "broker",
            "fail",
            f"{address}: {error}",
            f"check user, password and the broker's access list for {topic}; "
            "with mqtts also `mqtt.ca_file` and the name in the broker's certificate",
        )
    took = f"{address} took a message in {time.monotonic() - begin:.2f} s"
    if not came_back:
        return Finding(
            "broker",
            "warn",
            f"{took}, but did not send it back: it may have thrown it away",
            f"give this user the right to publish (and for this test to read) {topic}",
        )
    return ok("broker", f"{took} and sent it back")


def _in_either_protocol(settings: BrokerSettings, topic: str) -> bool:
    """As the daemon: in MQTT 5, or in 3.1.1 if the broker cannot do that."""
    protocol = ProtocolChoice(settings.protocol)
    while True:
        try:
            return _round_trip(settings, protocol, topic)
        except ConnectionLostError as error:
            if not protocol.other_after(error):
                raise


def _round_trip(settings: BrokerSettings, protocol: ProtocolChoice, topic: str) -> bool:
    """Publish to ourselves; whether it came back. Not retained, so nothing stays behind.

    Raises:
        ConnectionLostError: No answer, or a refusal.
    """
    token = secrets.token_hex(8).encode()
    heard: list[bytes] = []
    # A client of another name: the daemon's own connection must not be taken over.
    with Connection(
        address=settings.address,
        login=settings.login,
        client_id=f"vigil-doctor-{secrets.token_hex(4)}",
        protocol=protocol.current,
        tls=settings.tls,
        on_message=lambda _topic, payload, _retained: heard.append(payload),
    ) as connection:
        await_answer(connection, protocol)
        begin = time.monotonic()
        connection.subscribe(topic)
        mid = connection.publish(topic, token)
        code: int | None = None
        while code is None:
            acks = connection.poll(_left(begin, "a message was not acknowledged"))
            code = next((ack.code for ack in acks if ack.mid == mid), None)
        if code >= REFUSED_FROM:
            raise ConnectionLostError(f"the message was refused with code 0x{code:02x}")
        waited_until = time.monotonic() + _BACK_S
        while token not in heard and time.monotonic() < waited_until:
            connection.poll(0.1)
        connection.disconnect()
    return token in heard


def _left(begin: float, what: str) -> float:
    left = begin + BROKER_S - time.monotonic()
    if left <= 0:
        raise ConnectionLostError(f"{what} within {BROKER_S:g} s")
    return min(left, 0.5)


def check_outbox(config: Config) -> Finding:
    """How much lies in it, from the outside: only the daemon opens it."""
    name = OUTBOX_NAME
    path = config.state / name
    size = sum(
        part.stat().st_size for part in (path, path.with_name(f"{name}-wal")) if part.exists()
    )
    damaged = sorted(path.parent.glob(f"{name}.damaged-*"))
    if damaged:
        return Finding(
            "outbox",
            "warn",
            f"{len(damaged)} damaged file(s) were put aside, the newest {damaged[-1].name}",
            f"events may be lost; test the disk (smartctl, dmesg), then remove {damaged[-1]}",
        )
    if size > config.outbox.max_size * 0.8:
        return Finding(
            "outbox",
            "warn",
            f"{size / 2**20:.0f} MiB of {config.outbox.max_size / 2**20:.0f} MiB used",
            "the broker was away for long; see check `broker`",
        )
    return ok("outbox", f"{size / 2**20:.1f} MiB" if path.exists() else "none yet")
