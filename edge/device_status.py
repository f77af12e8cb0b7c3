"""What runs on a device and how it stands, as one JSON object for `vigil status`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from edge.health_file import LAST_EVENT
from engines.bundle import MODEL_NAME
from engines.errors import VigilError
from engines.flash.home import Home
from engines.flash.journal import read_journal
from engines.flash.services import Services, Standing
from engines.manifest import MANIFEST_NAME, decode_manifest
from engines.plan_cache import PlanCache
from engines.release import running_version

STATE: Path = Path("/var/lib/vigil")
_MAX_EVENT = 64 * 1024


def device_status(
    home: Home, services: Services, *, configs: Path, engines: Path, state: Path = STATE
) -> dict[str, Any]:
    """Release, journal, daemons, engines, disk.

    Args:
        home: Of the device.
        services: Its daemons.
        configs: Folder of their configurations.
        engines: Folder of the plans.
        state: Folder of the daemons' state folders.
    """
    told: dict[str, Any] = {"schema_version": 1, "vigil": running_version(), "problems": []}
    try:
        told["busy"] = home.busy()
        journal = read_journal(home)
        told["journal"] = journal.model_dump(mode="json")
        if journal.inconsistent:
            told["problems"].append(journal.inconsistent)
    except VigilError as error:
        told.setdefault("busy", False)
        told["journal"] = None
        told["problems"].append(error.what)
    linked = home.linked()
    told["running"] = linked
    told["name"] = None if linked is None else _name(home.release(linked))
    told["engines"] = sorted(plan.path.name for plan in PlanCache(engines).plans())
    told["free_mib"] = shutil.disk_usage(home.root).free >> 20 if home.root.is_dir() else None
    told["instances"] = {}
    try:
        for name in services.instances():
            standing = services.stand(name)
            told["instances"][name] = _instance(standing, state / name / LAST_EVENT)
            if standing.active not in {"active", "inactive"}:
                told["problems"].append(f"{name} is {standing.active} ({standing.sub})")
    except VigilError as error:
        told["problems"].append(error.what)
    told["configured"] = sorted(path.stem for path in configs.glob("*.yaml"))
    return told


def _name(release: Path) -> str | None:
    try:
        manifest = decode_manifest((release / MANIFEST_NAME).read_bytes(), where=str(release))
    except (OSError, VigilError):
        return None
    return manifest.name if manifest.entry(MODEL_NAME) else None


def _instance(standing: Standing, last_event: Path) -> dict[str, Any]:
    return {
        "active": standing.active,
        "sub": standing.sub,
        "status": standing.status,
        "restarts": standing.restarts,
        "exit_status": standing.exit_status,
        "enabled": standing.enabled,
        "health": None if standing.health is None else dict(standing.health.raw),
        "last_event": _event(last_event),
    }


def _event(path: Path) -> dict[str, Any] | None:
    try:
        with path.open("rb") as stream:
            raw = json.loads(stream.read(_MAX_EVENT))
    except (OSError, ValueError):
        return None
    return raw if isinstance(raw, dict) else None
