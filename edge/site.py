"""Site calibrations for the daemon: found, tested against the bundle, or left aside aloud."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import structlog

from calibration.site import SiteCalibration
from calibration.site_store import SiteStore
from edge.config import Config
from edge.daemon_settings import Site
from edge.events.explain import Explainer
from edge.events.tracker import Detector
from engines.bundle import Bundle
from engines.errors import VigilError

_log = structlog.get_logger()


def site_folder(config: Config, camera: str) -> Path:
    """Where a camera's calibrations lie."""
    return config.state / "site" / camera


def site_of(config: Config, camera: str, bundle: Bundle, detector: Detector) -> Site | None:
    """The site calibration that counts for a camera; None: the bundle's own does.

    One that is damaged or of another bundle is not used, and the log says so: to watch with the
    bundle's own threshold is better than not to watch.
    """
    try:
        found = SiteStore(site_folder(config, camera)).active()
        if found is None:
            return None
        number, calibration = found
        calibration.require_fit(bundle)
    except VigilError as error:
        _log.error("site_not_applied", camera=camera, error=str(error))
        return None
    _log.info("site_applied", camera=camera, number=number, created=calibration.record.created)
    return as_site(calibration, number, bundle, detector)


def as_site(calibration: SiteCalibration, number: int, bundle: Bundle, detector: Detector) -> Site:
    """A calibration as the daemon takes it; events name it behind the bundle's name."""
    model = bundle.model
    record = calibration.record
    return Site(
        statistics=calibration.statistics,
        detector=Detector(
            alarm=record.alarm,
            fusion=model.fusion,
            unit=detector.unit,
            explainer=Explainer(model.streams, model.fusion, calibration.statistics),
            model=replace(detector.model, name=f"{detector.model.name}+site.{number}"),
        ),
        shape=(record.height, record.width),
    )
