"""From energies to comparable numbers: robust z per cell, then surprise."""

from __future__ import annotations

import numpy as np

from calibration.stream_statistics import StreamStatistics
from edge.frames import EnergyMap, StreamScore


def standardise(energy: EnergyMap, statistics: StreamStatistics) -> StreamScore:
    """Standardise one stream's energies; inactive cells get z and surprise 0.

    Args:
        energy: Energies on the stream's grid.
        statistics: Of the same grid.
    """
    z = np.zeros(energy.energy.shape)
    surprise = np.zeros(energy.energy.shape)
    active = energy.active
    if active.any():
        z[active] = statistics.cells.standardise(energy.energy)[active]
        surprise[active] = statistics.tail.surprise(z[active])
    return StreamScore(energy=energy, z=z, surprise=surprise)
