"""Tail probability of a standardised energy among normal ones, as surprise r = -log10 P.

Method section 4: P(z) is the share of normal calibration values >= z, empirical up to their 99 %
quantile and generalised Pareto above it with the shape clamped to 0 .. 0.5. It is computed in
logarithms, so nothing saturates, and r rises strictly with z over the whole line:

1. Shares are counted as n_ge / (n + 1); r is interpolated linearly between calibration values.
2. Above the level, r = r(level) + surprise of the excess under the fitted Pareto; with shape >= 0
   it has no end.
3. Below the smallest calibration value r falls towards 0 like 1 / (1 + distance) and stays
   positive.

Small or degenerate samples: the level is lowered until at least ten values (or half of them) lie
above it; where the largest values are tied it is the largest value below the tie; where all values
are equal, which tells nothing of the spread, the scale is 1, one robust standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from calibration.generalised_pareto import GeneralisedPareto, fit_generalised_pareto
from engines.errors import DataError

LEVEL_QUANTILE = 0.99
SHAPE_RANGE = (0.0, 0.5)
_MIN_EXCESSES = 10
_MAX_KNOTS = 1001  # the empirical part is kept at so many quantiles


@dataclass(frozen=True)
class TailModel:
    """Surprise of a standardised energy; one per stream, pooled over cells.

    Attributes:
        knots: float64, K, strictly rising values of z; the last is the level of the Pareto part.
        knot_surprise: float64, K, strictly rising, positive.
        excess: The distribution above the level.
        count: Calibration values behind it.
    """

    knots: NDArray[np.float64]
    knot_surprise: NDArray[np.float64]
    excess: GeneralisedPareto
    count: int

    @classmethod
    def fit(cls, z: NDArray[np.float64]) -> TailModel:
        """Fit to standardised energies of normal footage, N values in any order.

        Raises:
            DataError: No values, or some are not finite.
        """
        values = np.asarray(z, dtype=np.float64).ravel()
        if not values.size:
            raise DataError(
                "the tail needs normal footage with motion; no cell was active in it",
                mend="use footage in which normal things move, or turn the gate off",
            )
        if not np.isfinite(values).all():
            bad = int(np.count_nonzero(~np.isfinite(values)))
            raise DataError(f"{bad} of {values.size} standardised energies are not finite numbers")
        ordered = np.sort(values)
        level = _level(ordered)
        below = np.unique(ordered[ordered <= level])
        if below.size > _MAX_KNOTS:
            ranks = np.linspace(0, below.size - 1, _MAX_KNOTS).round().astype(np.int64)
            below = below[ranks]
        at_least = values.size - np.searchsorted(ordered, below, side="left")
        excesses = ordered[ordered > level] - level
        excess = (
            fit_generalised_pareto(excesses, shape_range=SHAPE_RANGE)
            if excesses.size
            else GeneralisedPareto(0.0, 1.0)
        )
        return cls(
            knots=below,
            knot_surprise=-np.log10(at_least / (values.size + 1.0)),
            excess=excess,
            count=int(values.size),
        )

    @property
    def level(self) -> float:
        """Where the Pareto part begins."""
        return float(self.knots[-1])

    @property
    def smallest(self) -> float:
        """Smallest calibration value."""
        return float(self.knots[0])

    def surprise(self, z: NDArray[np.float64]) -> NDArray[np.float64]:
        """-log10 of the share of normal values >= z; float64 of the same shape, always >= 0.

        Raises:
            DataError: A value is not a number.
        """
        z = np.asarray(z, dtype=np.float64)
        if np.isnan(z).any():
            raise DataError("a standardised energy is not a number")
        empirical = np.interp(z, self.knots, self.knot_surprise)
        above = self.excess.surprise(np.maximum(z - self.level, 0.0))
        distance = np.maximum(self.smallest - z, 0.0) / self.excess.scale
        return np.asarray(empirical / (1.0 + distance) + above)

    def to_arrays(self) -> dict[str, NDArray[np.float64]]:
        """The arrays of the statistics file."""
        pareto = np.array([self.excess.shape, self.excess.scale, float(self.count)])
        return {
            "knots": self.knots,
            "surprise": self.knot_surprise,
            "pareto": pareto,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[np.generic]]) -> TailModel:
        """Read what `to_arrays` wrote; other names are ignored.

        Raises:
            DataError: A name is missing, or the values do not make a strictly rising surprise.
        """
        names = ("knots", "surprise", "pareto")
        missing = [name for name in names if name not in arrays]
        if missing:
            raise DataError(f"tail statistics lack {missing}", mend="calibrate the bundle again")
        knots, surprise, pareto = (np.asarray(arrays[name], dtype=np.float64) for name in names)
        if knots.ndim != 1 or knots.shape != surprise.shape or pareto.shape != (3,):
            raise DataError(
                f"tail arrays have shapes {knots.shape}, {surprise.shape} and {pareto.shape}; "
                "expected two equal lists and 3 values"
            )
        _check_rising(knots, surprise, pareto)
        excess = GeneralisedPareto(float(pareto[0]), float(pareto[1]))
        return cls(knots, surprise, excess, int(pareto[2]))


def _level(ordered: NDArray[np.float64]) -> float:
    """Where the Pareto part begins, given the sorted calibration values."""
    n = ordered.size
    wanted = max(int(np.ceil((1.0 - LEVEL_QUANTILE) * n)), min(_MIN_EXCESSES, n // 2))
    level = float(ordered[max(n - 1 - wanted, 0)])
    if level < ordered[-1] or level == ordered[0]:
        return level
    return float(ordered[np.searchsorted(ordered, level, side="left") - 1])


def _check_rising(
    knots: NDArray[np.float64], surprise: NDArray[np.float64], pareto: NDArray[np.float64]
) -> None:
    finite = all(np.isfinite(array).all() for array in (knots, surprise, pareto))
    rising = knots.size > 0 and (np.diff(knots) > 0).all() and (np.diff(surprise) > 0).all()
    low, high = SHAPE_RANGE
    pareto_fits = low <= pareto[0] <= high and pareto[1] > 0
    if not finite or not rising or surprise[0] <= 0 or not pareto_fits:
        raise DataError(
            "tail arrays hold values that are not finite or not rising, or a Pareto shape outside "
            f"{low} .. {high}",
            mend="calibrate the bundle again",
        )
