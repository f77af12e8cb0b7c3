"""An MQTT broker on loopback for a demonstration: mosquitto, else one written in Python."""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from importlib.util import find_spec
from pathlib import Path

from engines.errors import UnavailableError

# Debian keeps it outside the PATH of ordinary users.
_SBIN = "/usr/sbin/mosquitto"
_START_S = 15.0
_STOP_S = 5.0


@contextmanager
def loopback_broker(folder: Path) -> Iterator[tuple[str, str]]:
    """Run a broker on a free loopback port until the block ends.

    Args:
        folder: For its configuration and log.

    Yields:
        (URL, name of the program).

    Raises:
        UnavailableError: No broker program is installed, or it does not start.
    """
    folder.mkdir(parents=True, exist_ok=True)
    port = _free_port()
    name, command = _command(folder, port)
    log = folder / "broker.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        ) as process,
    ):
        try:
            _wait(process, port, name, log)
            yield f"mqtt://127.0.0.1:{port}", name
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _command(folder: Path, port: int) -> tuple[str, list[str]]:
    mosquitto = shutil.which("mosquitto") or (_SBIN if Path(_SBIN).exists() else None)
    if mosquitto is not None:
        config = folder / "mosquitto.conf"
        config.write_text(
            f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n",
            encoding="utf-8",
        )
        return "mosquitto", [mosquitto, "-c", str(config)]
    if find_spec("amqtt") is not None:
        config = folder / "amqtt.yaml"
        config.write_text(
            f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\n"
            "plugins:\n  amqtt.plugins.authentication.AnonymousAuthPlugin:\n"
            "    allow_anonymous: true\n",
            encoding="utf-8",
        )
        run = "from amqtt.scripts.broker_script import main; main()"
        return "amqtt (embedded)", [sys.executable, "-c", run, "-c", str(config)]
    raise UnavailableError(
        "there is no MQTT broker on this machine",
        mend="install one: sudo apt-get install mosquitto, or pip install 'vigil[broker]'",
    )


def _wait(process: subprocess.Popen[bytes], port: int, name: str, log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and process.poll() is None:
        with closing(socket.socket()) as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise UnavailableError(f"the broker {name} does not start", where=str(log), mend="read its log")


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
