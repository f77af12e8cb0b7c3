"""The table of heads: from a stream's features to one energy per cell, high is anomalous."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.scoring.aggregate import LogDensityHead, MapHead
from edge.scoring.energy import MixtureEnergy
from engines.bundle import Arrays
from engines.errors import DataError
from engines.model_spec import HeadSpec, Option, StreamSpec

Options = Mapping[str, Option]
Answers = NDArray[np.float32]


class Head(Protocol):
    """Energy of features."""

    def energy(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float32 N x J in, float64 N out."""


class IdentityHead:
    """Head ``identity``: the single feature is the energy (speed, say)."""

    def energy(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float32 N x 1 in, float64 N out."""
        return features[:, 0].astype(np.float64)


class PlaceHead:
    """Head ``place``: how unusual a direction is at its place, against any direction.

    Energy = -ln(p(direction | place) / p(uniform)) in nats: 0 where nothing is known, negative for
    a common direction, positive for a rare one. Features are float32 N x 3: row, column, angle in
    turns; see input kind ``direction``.

    Args:
        log_density: Any float, rows x columns x bins: ln of the density at each bin's centre, the
            uniform density being 1; bin b is centred at b / bins turns. Between centres the
            density is interpolated, so that nothing jumps at a bin's edge.

    Raises:
        DataError: Not three axes, fewer than three bins, or values without a finite exponential.
    """

    def __init__(self, log_density: NDArray[np.generic]) -> None:
        shape = log_density.shape
        if len(shape) != 3 or min(shape) < 1 or shape[2] < 3:
            raise DataError(f"log_density must be rows x columns x 3 bins or more, it is {shape}")
        self._density = np.exp(log_density.astype(np.float64))
        if not (np.isfinite(self._density) & (self._density > 0.0)).all():
            raise DataError("log_density holds values that are no logarithm of a density")

    def energy(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float32 N x 3 in, float64 N out.

        Raises:
            DataError: Features of another length, or cells outside the table.
        """
        if features.ndim != 2 or features.shape[1] != 3:
            raise DataError(f"a place head takes N x 3 features, not {features.shape}")
        rows, columns = features[:, :2].astype(np.int64).T
        size = self._density.shape
        if ((rows < 0) | (rows >= size[0]) | (columns < 0) | (columns >= size[1])).any():
            raise DataError(
                f"a cell lies outside the place head's {size[0]} x {size[1]} cells",
                mend="input and head must come from the same bundle",
            )
        position = np.mod(features[:, 2].astype(np.float64), 1.0) * size[2]
        below = np.floor(position).astype(np.int64)
        share = position - below
        low = self._density[rows, columns, below % size[2]]
        high = self._density[rows, columns, (below + 1) % size[2]]
        return np.asarray(-np.log(low + share * (high - low)))


def _mixture(arrays: Arrays, options: Options) -> Head:
    _no_options("mixture", options)
    return MixtureEnergy.from_arrays(arrays)


def _identity(arrays: Arrays, options: Options) -> Head:
    _no_options("identity", options)
    if arrays:
        raise DataError("an identity head takes no arrays")
    return IdentityHead()


def _place(arrays: Arrays, options: Options) -> Head:
    _no_options("place", options)
    if set(arrays) != {"log_density"}:
        raise DataError(f"a place head takes log_density alone, found {sorted(arrays)}")
    return PlaceHead(arrays["log_density"])


def _no_options(kind: str, options: Options) -> None:
    if options:
        raise DataError(f"a {kind} head has no options, found {sorted(options)}")


HEAD_KINDS: Mapping[str, Callable[[Arrays, Options], Head]] = {
    "identity": _identity,
    "log-density": LogDensityHead,
    "map": MapHead,
    "mixture": _mixture,
    "place": _place,
}


def open_head(spec: HeadSpec, arrays: Arrays) -> Head:
    """Make a head from its description and the arrays of its file.

    Raises:
        DataError: Unknown kind, or arrays or options that do not fit it.
    """
    kind = HEAD_KINDS.get(spec.kind)
    if kind is None:
        raise DataError(
            f"head kind {spec.kind!r} is unknown, known are {', '.join(HEAD_KINDS)}",
            mend="install a newer vigil, or export the bundle for this one",
        )
    return kind(arrays, spec.options)


def answers_may_vanish(stream: StreamSpec) -> bool:
    """Whether what the network answers may lie at zero, so that its direction says nothing."""
    return stream.head.kind == "log-density"


def answer_energy(stream: StreamSpec, head: Head) -> Callable[[Answers], NDArray[np.float64]]:
    """From all that a network answers to energies, as parity gates compare them.

    Answers are float32 N x J, one energy each; of a network with a map N x J x rows x columns, one
    energy for each place of each map.
    """
    if stream.network is None or stream.network.map is None:
        return head.energy
    return lambda maps: head.energy(np.moveaxis(maps, 1, -1).reshape(-1, maps.shape[1]))
