"""Heads that put a few numbers of a cell on one scale each and make one energy of them.

Each of the J features is standardised by centre and scale, both measured on normal footage, because
raw parts (an error, a distance, log-densities at several noise levels) have different units.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError
from engines.model_spec import Option

Vectors = NDArray[np.float64]

AGGREGATES: Final[Mapping[str, Callable[[Vectors], Vectors]]] = {
    "mean": lambda z: np.asarray(z.mean(axis=1)),
    "median": lambda z: np.asarray(np.median(z, axis=1)),
    "max": lambda z: np.asarray(z.max(axis=1)),
}
"""Of N x J standardised features: float64 N."""


class _Standardised:
    """Features N x J in robust or plain standard deviations.

    Args:
        arrays: ``centre`` (J) and ``scale`` (J, positive); others belong to the head.
        kind: Name of the head, for messages.
    """

    def __init__(self, arrays: Mapping[str, NDArray[np.generic]], kind: str) -> None:
        self._kind = kind
        self._centre, self._scale = (_vector(arrays, name, kind) for name in ("centre", "scale"))
        if self._centre.shape != self._scale.shape or not (self._scale > 0.0).all():
            raise DataError(
                f"a {kind} head needs centre and scale of one length, all scales positive; found "
                f"{self._centre.shape} and {self._scale.shape}"
            )

    def __len__(self) -> int:
        return len(self._centre)

    def __call__(self, features: NDArray[np.float32]) -> Vectors:
        """float32 N x J -> float64 N x J.

        Raises:
            DataError: Features of another length.
        """
        if features.ndim != 2 or features.shape[1] != len(self):
            raise DataError(
                f"the {self._kind} head takes N x {len(self)} features, not {features.shape}",
                mend="network and head must come from the same bundle",
            )
        return np.asarray((features.astype(np.float64) - self._centre) / self._scale)


class LogDensityHead:
    """Head ``log-density``: -log-densities at J noise levels, standardised and aggregated.

    The network gives an energy (-log-density, up to a constant) at each noise level; see
    `trainer.models.log_density`. Where a mixture over the J energies is wanted instead, that is
    head ``mixture``.

    Args:
        arrays: ``centre`` and ``scale``, J each: of the energies of normal cells, level by level.
        options: ``aggregate``: mean (default), median or max over the levels.

    Raises:
        DataError: Arrays or options that do not fit.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[np.generic]], options: Mapping[str, Option]
    ) -> None:
        _only(arrays, {"centre", "scale"}, options, {"aggregate"}, "log-density")
        self._standardised = _Standardised(arrays, "log-density")
        name = str(options.get("aggregate", "mean"))
        if name not in AGGREGATES:
            raise DataError(f"aggregate {name!r} is unknown, known are {', '.join(AGGREGATES)}")
        self._aggregate = AGGREGATES[name]

    def energy(self, features: NDArray[np.float32]) -> Vectors:
        """float32 N x J in, float64 N out."""
        return self._aggregate(self._standardised(features))


class MapHead:
    """Head ``map``: a weighted sum of the J parts of a score map, each standardised first.

    Args:
        arrays: ``centre``, ``scale`` and ``weight``, J each; a weight may be negative.
        options: ``square``: the energy is the square of the sum (weights 1, -1: the squared
            difference of two losses); default false.

    Raises:
        DataError: Arrays or options that do not fit.
    """

    def __init__(
        self, arrays: Mapping[str, NDArray[np.generic]], options: Mapping[str, Option]
    ) -> None:
        _only(arrays, {"centre", "scale", "weight"}, options, {"square"}, "map")
        self._standardised = _Standardised(arrays, "map")
        self._weight = _vector(arrays, "weight", "map")
        if len(self._weight) != len(self._standardised):
            raise DataError(
                f"a map head needs as many weights as centres, found {len(self._weight)} and "
                f"{len(self._standardised)}"
            )
        self._square = bool(options.get("square", False))

    def energy(self, features: NDArray[np.float32]) -> Vectors:
        """float32 N x J in, float64 N out."""
        total: Vectors = self._standardised(features) @ self._weight
        return np.square(total) if self._square else total


def _vector(arrays: Mapping[str, NDArray[np.generic]], name: str, kind: str) -> Vectors:
    found = np.asarray(arrays[name], np.float64)
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all():
        raise DataError(f"{name} of a {kind} head must be finite numbers in a row")
    return found


def _only(
    arrays: Mapping[str, NDArray[np.generic]],
    wanted: set[str],
    options: Mapping[str, Option],
    known: set[str],
    kind: str,
) -> None:
    if set(arrays) != wanted:
        raise DataError(f"a {kind} head takes {sorted(wanted)}, found {sorted(arrays)}")
    unknown = sorted(set(options) - known)
    if unknown:
        raise DataError(f"a {kind} head has no option {', '.join(unknown)}, only {sorted(known)}")
