"""What stands beside a device in a network of its own: broker, camera, key, bundles, operator."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import onnx
from support.broker import Broker, Subscriber
from support.bundles import tiny_bundle, write_projection
from support.ground.commands import VIGIL, run
from support.ground.device import Device
from support.ground.network import WORKSTATION, Network
from support.mjpeg import mjpeg_camera
from support.recordings import write_recording
from support.small_bundles import restamp

from engines.sign_bundle import sign_bundle
from engines.signing_keys import KeyFiles, create_key_pair, read_private_key

INSTANCE = "gate"
UNIT = f"vigil@{INSTANCE}.service"
CAMERA = "yard"
# A device in a test is tiny and slow, and there are many: well for three seconds is well.
QUICK_GATE = "/opt/vigil/runtime/bin/vigil device --steady-seconds 3"
_FLASH_S = 600.0
# Of networks with which events of the clip begin and end within its length.
_SEED = 1


@dataclass
class Workstation:
    """Made by `workstation`.

    Attributes:
        network: Joins it with devices.
        folder: For bundles, keys and logs.
        broker: Listens on 198.51.100.1.
        camera: Address of a camera that shows something unusual every few seconds.
        key: Signs bundles.
        wheels: What devices install.
    """

    network: Network
    folder: Path
    broker: Broker
    camera: str
    key: KeyFiles
    wheels: Path = Path()
    _release: int = field(default=0)

    def vigil(
        self, *arguments: str, check: bool = True, timeout_s: float = 600.0
    ) -> subprocess.CompletedProcess[str]:
        """Run `vigil` as an operator here would."""
        with self.network.on_workstation():
            return run(*self._command(*arguments), check=check, timeout_s=timeout_s, env=VIGIL)

    def start_vigil(self, *arguments: str) -> subprocess.Popen[str]:
        """The same, without waiting for its end."""
        with self.network.on_workstation():
            return subprocess.Popen(
                self._command(*arguments),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **VIGIL},
            )

    def flash_arguments(self, bundle: Path, device: Device) -> list[str]:
        return ["flash", str(bundle), *_reaching(device)]

    def rollback(self, device: Device) -> subprocess.CompletedProcess[str]:
        """Bring the release before the present one back."""
        limit_s = _FLASH_S * device.stretch
        return self.vigil("rollback", *_reaching(device), timeout_s=limit_s)

    def flash(
        self, bundle: Path, device: Device, *more: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Flash a bundle onto a device."""
        return self.vigil(
            *self.flash_arguments(bundle, device),
            *more,
            check=check,
            timeout_s=_FLASH_S * device.stretch,
        )

    def status(self, device: Device) -> dict[str, Any]:
        """What `vigil status` tells of a device."""
        done = self.vigil(
            "status", device.target, "-F", str(device.ssh_config), "--json", check=False
        )
        told: dict[str, Any] = json.loads(done.stdout)[device.target]
        return told

    def bundle(self, name: str, *, spoil: bool = False) -> Path:
        """A signed bundle with a release number above all earlier ones.

        Args:
            name: Of its folder.
            spoil: Its network gives other numbers than its golden ones.
        """
        root = self.folder / name
        workspace = self.folder / f"{name}.work"
        workspace.mkdir()
        self._release += 1
        # All alarm alike, or how long a test waits for an event were a matter of chance.
        tiny_bundle(root, workspace=workspace, seed=_SEED)
        for network in sorted((root / "networks").glob("*.onnx")):
            _make_new(network)
            restamp(root, str(network.relative_to(root)))
        if spoil:
            write_projection(root / "networks/appearance.fp32.onnx", seed=17)
            restamp(root, "networks/appearance.fp32.onnx")
        sign_bundle(root, read_private_key(self.key.private), release=self._release)
        return root

    def config(self) -> str:
        """Configuration of a device with one camera."""
        return (
            f"schema_version: 1\ndevice: gate-01\nbundle: /opt/vigil/current\n"
            f"state: /var/lib/vigil/{INSTANCE}\nthreads: 1\n"
            f"mqtt: {{url: 'mqtt://{WORKSTATION}:1883'}}\n"
            f"cameras: {{{CAMERA}: {{source: '{self.camera}'}}}}\n"
        )

    @contextlib.contextmanager
    def listener(self) -> Iterator[Subscriber]:
        """Hears what arrives at the broker; at QoS 0, so that a broker may be stopped."""
        with self.network.on_workstation():
            subscriber = Subscriber(self.broker.port, qos=0)
            subscriber.__enter__()
        try:
            yield subscriber
        finally:
            subscriber.__exit__()

    def _command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "edge.cli.main", *arguments]


def _make_new(network: Path) -> None:
    """Give a network other bytes and the same answers, so that there is something to send."""
    model = onnx.load(str(network))
    model.doc_string = secrets.token_hex(1 << 15)
    onnx.save(model, str(network))


def _reaching(device: Device) -> list[str]:
    return [device.target, "-F", str(device.ssh_config), "--program", QUICK_GATE]


@contextlib.contextmanager
def workstation(network: Network, folder: Path) -> Iterator[Workstation]:
    """A workstation with a running broker and a camera."""
    # Long enough to be seen by a device that is kept from half of its frames by other work.
    frames = write_recording(folder / "clip", frames=120, anomaly=(40, 80))
    pictures = [cv2.imread(str(path)) for path in sorted(frames.glob("*.png"))]
    with network.on_workstation():
        broker = Broker(folder, extra=f"listener 1883 {WORKSTATION}\nallow_anonymous true")
        broker.start()
    try:
        with contextlib.ExitStack() as stack:
            with network.on_workstation():
                camera = stack.enter_context(mjpeg_camera(pictures, fps=10.0, host=WORKSTATION))
            yield Workstation(network, folder, broker, camera, create_key_pair(folder / "maker"))
    finally:
        broker.stop()
