"""The table of heads: from a stream's features to one energy per cell, high is anomalous."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.scoring.energy import MixtureEnergy
from engines.bundle import Arrays
from engines.errors import DataError
from engines.model_spec import HeadSpec


class Head(Protocol):
    """Energy of features."""

    def energy(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float32 N x J in, float64 N out."""


class IdentityHead:
    """Head ``identity``: the single feature is the energy (speed, say)."""

    def energy(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """float32 N x 1 in, float64 N out."""
        return features[:, 0].astype(np.float64)


def _mixture(arrays: Arrays) -> Head:
    return MixtureEnergy.from_arrays(arrays)


def _identity(arrays: Arrays) -> Head:
    if arrays:
        raise DataError("an identity head takes no arrays")
    return IdentityHead()


HEAD_KINDS: Mapping[str, Callable[[Arrays], Head]] = {
    "mixture": _mixture,
    "identity": _identity,
}


def open_head(spec: HeadSpec, arrays: Arrays) -> Head:
    """Make a head from its description and the arrays of its file.

    Raises:
        DataError: Unknown kind, or arrays that do not fit it.
    """
    kind = HEAD_KINDS.get(spec.kind)
    if kind is None:
        raise DataError(
            f"head kind {spec.kind!r} is unknown, known are {', '.join(HEAD_KINDS)}",
            mend="install a newer vigil, or export the bundle for this one",
        )
    return kind(arrays)
