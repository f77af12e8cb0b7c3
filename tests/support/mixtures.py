"""Points of mixtures that are known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float32]


def planted(
    n: int, components: int, latent: int = 64, spread: float = 0.02, seed: int = 0
) -> tuple[Points, NDArray[np.float64]]:
    """Points around unit-length centres, and the centres; every centre has points."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(components, latent))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    which = rng.permutation(np.arange(n) % components)
    points = centres[which] + spread * rng.normal(size=(n, latent))
    return points.astype(np.float32), centres
