"""All checks in the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

from edge.clock import Clock
from edge.config import Config, ConfigFileError, load_config
from edge.doctor.check import Finding, attempt, from_error, ok
from edge.doctor.detector import check_bundle, check_gpu, check_networks, check_site
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
    for name in config.cameras:
        yield attempt(f"site {name}", partial(check_site, config, name))
    if not cameras:
        yield Finding("cameras", "skip", "not asked for (--no-cameras)")
        return
    for name, camera in config.cameras.items():
        look = partial(check_camera, name, camera, seconds=camera_s)
        yield attempt(f"camera {name}", look)


def _checks(config: Config, clock: Clock) -> Sequence[tuple[str, Callable[[], Finding]]]:
    return (
        ("state", partial(check_state, config)),
        ("disk", partial(check_disk, config)),
        ("secrets", partial(check_secrets, config)),
        ("clock", partial(check_clock, clock)),
        ("memory", partial(check_memory, config)),
        ("gpu", partial(check_gpu, config)),
        ("bundle", partial(check_bundle, config)),
        ("networks", partial(check_networks, config)),
        ("outbox", partial(check_outbox, config)),
        ("broker", partial(check_broker, config)),
    )
