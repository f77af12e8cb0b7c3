"""All checks in the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edge.clock import Clock
from edge.config import Config, ConfigFileError, load_config
from edge.doctor.check import Finding, attempt, from_error, ok
from edge.doctor.detector import check_bundle, check_gpu, check_networks
from edge.doctor.host import check_clock, check_disk, check_memory, check_secrets, check_state
from edge.doctor.reach import CAMERA_S, check_broker, check_camera, check_outbox
from engines.errors import VigilError


def examine(
    path: Path, *, clock: Clock, cameras: bool = True, camera_s: float = CAMERA_S
) -> Iterator[Finding]:
    """Look at everything that the configuration names; findings as they come.

    Args:
        path: The configuration.
        clock: Time.
        cameras: Open the cameras, too.
        camera_s: How long to watch each.
    """
    try:
        config = load_config(path)
    except ConfigFileError as error:
        for problem in error.problems:
            yield Finding(
                "config", "fail", problem.render(str(path)), f"mend it: vigil run {path} --check"
            )
        return
    except VigilError as error:
        yield from_error("config", error)
        return
    count = sum(camera.enabled for camera in config.cameras.values())
    yield ok("config", f"{path}: no problem, {count} of {len(config.cameras)} camera(s) on")
    for name, look in _checks(config, clock):
        yield attempt(name, look)
    if not cameras:
        yield Finding("cameras", "skip", "not asked for (--no-cameras)")
        return
    for name, camera in config.cameras.items():
        yield attempt(
            f"camera {name}",
            lambda name=name, camera=camera: check_camera(name, camera, seconds=camera_s),  # type: ignore[misc]  # mypy cannot infer a lambda with defaults
        )


def _checks(config: Config, clock: Clock) -> Sequence[tuple[str, Callable[[], Finding]]]:
    return (
        ("state", lambda: check_state(config)),
        ("disk", lambda: check_disk(config)),
        ("secrets", lambda: check_secrets(config)),
        ("clock", lambda: check_clock(clock)),
        ("memory", lambda: check_memory(config)),
        ("gpu", lambda: check_gpu(config)),
        ("bundle", lambda: check_bundle(config)),
        ("networks", lambda: check_networks(config)),
        ("outbox", lambda: check_outbox(config)),
        ("broker", lambda: check_broker(config)),
    )
