"""One log-density network that was learned: its head, its file, what it says of features.

One ONNX file holds encoder and log-density network, proven against PyTorch. The head over the
levels is a mixture with full covariances (the energy code of every mixture), or an aggregate of
standardised levels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edge.scoring.heads import open_head
from engines.atomic import write_bytes
from engines.errors import InternalError
from engines.model_spec import HeadSpec, Option
from trainer.export import TOLERANCE, export_module
from trainer.feature_network import chained, run_network
from trainer.feature_points import Points
from trainer.gaussian_mixture import fit_gaussians
from trainer.models.log_density import DensityNetwork
from trainer.preset_sections import DensityPreset
from trainer.stream_parts import Arrays
from trainer.train_density import TrainedDensity, energies

NETWORK_NAME = "log_density.onnx"
DENSITY_NAME = "density_alone.onnx"
# Added to the variances of a mixture over the levels, as a part of their mean: neighbouring levels
# say nearly the same, and rounding in FP16 must not become many standard deviations.
_FLOOR = 1e-3
# A scale of a level that hardly varies, as a part of the largest.
_SMALLEST_SCALE = 1e-3


@dataclass(frozen=True)
class LearnedDensity:
    """Network and head; `energy` is what a device will find.

    Attributes:
        trained: The network.
        head: Kind and options.
        arrays: Of the head.
    """

    trained: TrainedDensity
    head: HeadSpec
    arrays: Arrays

    @property
    def components(self) -> int:
        """Of a mixture over the levels; 1 for an aggregate."""
        return len(self.arrays["weights"]) if "weights" in self.arrays else 1

    def energy(self, points: Points) -> NDArray[np.float64]:
        """Features float32 (N, D) -> energies float64 (N,)."""
        head = open_head(self.head, dict(self.arrays))
        return head.energy(energies(self.trained.model, points))


def with_head(
    trained: TrainedDensity,
    points: Points,
    held_out: Points,
    *,
    settings: DensityPreset,
    seed: int,
) -> LearnedDensity:
    """The head of a network.

    Args:
        trained: The network.
        points: float32 (N, D), features that it has learned from.
        held_out: float32 (M, D), others: they choose the number of components.
        settings: Aggregate and numbers of components.
        seed: Decides the start of a mixture.
    """
    mixed = settings.aggregate == "mixture"
    options: Mapping[str, Option] = {} if mixed else {"aggregate": settings.aggregate}
    arrays = head_arrays(
        energies(trained.model, points),
        energies(trained.model, held_out),
        settings=settings,
        seed=seed,
    )
    kind = "mixture" if mixed else "log-density"
    return LearnedDensity(trained, HeadSpec(kind=kind, options=dict(options)), arrays)


def head_arrays(fit: Points, held_out: Points, *, settings: DensityPreset, seed: int) -> Arrays:
    """Arrays of the head over the levels.

    Args:
        fit: float32 (N, L), energies of the footage that the network has learned from.
        held_out: float32 (M, L), of other footage: chooses the number of components.
        settings: Aggregate and numbers of components.
        seed: Decides the start of a mixture.

    Returns:
        Of a mixture with full covariances, or ``centre`` and ``scale`` (median and 1.4826 MAD).
    """
    if settings.aggregate != "mixture":
        centre = np.median(fit, axis=0).astype(np.float64)
        scale = 1.4826 * np.median(np.abs(fit - centre), axis=0)
        floor = max(float(scale.max()) * _SMALLEST_SCALE, 1e-12)
        return {"centre": centre, "scale": np.maximum(scale, floor)}
    candidates = [
        fit_gaussians(fit, components=count, covariance="full", seed=seed, floor=_FLOOR)
        for count in sorted(set(settings.components))
    ]
    return max(candidates, key=lambda one: one.log_likelihood(held_out)).arrays()


def export_density(
    model: DensityNetwork, encoder: Path | None, items: NDArray[np.float32], folder: Path
) -> tuple[Path, NDArray[np.float32]]:
    """The whole network's file in a folder, and what PyTorch gives for `items`.

    Args:
        model: The log-density network.
        encoder: ONNX file of what gives its features; None: they are the items.
        items: float32, N x ... as the file takes them.
        folder: Is made where it is missing.

    Raises:
        InternalError: The file differs from PyTorch.
    """
    folder.mkdir(parents=True, exist_ok=True)
    features = items if encoder is None else run_network(encoder.read_bytes(), items)
    alone = folder / DENSITY_NAME
    export_module(model, alone, shape=features.shape[1:], samples=features)
    answers = energies(model, features)
    if encoder is None:
        return alone, answers
    path = folder / NETWORK_NAME
    write_bytes(path, chained(encoder.read_bytes(), alone.read_bytes()))
    found = run_network(path.read_bytes(), items)
    error = float(np.abs(found - answers).max())
    if not error <= TOLERANCE * max(1.0, float(np.abs(answers).max())):
        raise InternalError(
            f"encoder and log-density in one file differ from their parts by {error:.2e}",
            where=str(path),
            mend="report this with the versions of onnx and onnxruntime",
        )
    return path, answers
