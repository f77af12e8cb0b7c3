"""Site calibrations made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
from support.scores import alarm

from calibration.site import SiteCalibration, SiteRecord, evidence_of
from calibration.stream_statistics import StreamStatistics

SHAPE = (3, 4)


def statistics(
    *, centre: float = 0.0, spread: float = 1.0, seed: int = 0, samples: int = 3000
) -> StreamStatistics:
    """Of normally distributed energies over a small grid."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, SHAPE[0], samples), rng.integers(0, SHAPE[1], samples)
    return StreamStatistics.fit(rng.normal(centre, spread, samples), rows, columns, SHAPE)


def calibration(threshold: float = 3.0, **changes: Any) -> SiteCalibration:
    one = statistics(seed=int(threshold * 10))
    values: dict[str, Any] = {
        "camera": "yard",
        "bundle": "0" * 64,
        "created": "2026-07-01T21:14:03.120Z",
        "width": 640,
        "height": 480,
        "statistics_hours": 8.0,
        "streams": {"motion": evidence_of(one, 3000)},
        "alarm": alarm(threshold=threshold),
        **changes,
    }
    return SiteCalibration(SiteRecord(**values), {"motion": one})
