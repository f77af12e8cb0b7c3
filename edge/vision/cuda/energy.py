"""Mixture energy on a GPU: twin of `edge.scoring.energy`.

Diagonal and full mixtures are computed in double there and here; spherical ones in float32 where
their variance allows it. Sums run in another order than NumPy's, so energies agree to 1e-9
(double) or 1e-4 (float32) relative, not bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge.scoring.energy import ProjectedTerms, SphericalTerms, mixture_terms
from edge.vision.cuda.device import THREADS, Buffer, Device, blocks
from engines.errors import DataError

ENERGY_THREADS = 128


class _Form(Protocol):
    """Starts the kernels of one form of covariance."""

    def log_joint(self, z: Buffer, joint: Buffer) -> None:
        """Log pi_c + log N(z; mu_c, Sigma_c): float32 n x J in, float64 n x K out."""


class MixtureEnergy:
    """A mixture with diagonal, full or spherical covariances.

    Args:
        device: The GPU.
        arrays: Of a head file, as `edge.scoring.energy.MixtureEnergy.from_arrays` takes them.

    Raises:
        DataError: A key is missing, shapes disagree, a weight or variance is not positive, or a
            number is not finite.
    """

    def __init__(self, device: Device, arrays: Mapping[str, NDArray[np.generic]]) -> None:
        terms = mixture_terms(arrays)
        self._device = device
        self._form: _Form
        if isinstance(terms, SphericalTerms):
            self._dimensions, self._components = len(terms.middle), len(terms.constant)
            self._form = _Spherical(device, terms)
        else:
            self._components, self._dimensions = terms.means.shape[0], terms.means.shape[1]
            self._form = _Projected(device, terms)

    @property
    def dimensions(self) -> int:
        """J, the length of a latent vector."""
        return self._dimensions

    def energy(self, z: NDArray[np.floating]) -> NDArray[np.float64]:
        """Energies of latent vectors, in nats; N x J in, float64 N out; large is anomalous.

        Raises:
            DataError: Vectors of another length.
        """
        if z.ndim != 2 or z.shape[1] != self._dimensions:
            raise DataError(f"the mixture takes N x {self._dimensions} vectors, not {z.shape}")
        if not len(z):
            return np.zeros(0)
        latents = self._device.upload(z.astype(np.float32))
        return np.asarray(self._device.download(self.energy_on_device(latents)))

    def energy_on_device(self, z: Buffer) -> Buffer:
        """The same on the device: float32 N x J in, float64 N out, N at least 1."""
        count = z.shape[0]
        joint = self._device.empty((count, self._components), np.float64)
        result = self._device.empty((count,), np.float64)
        self._form.log_joint(z, joint)
        self._device.launch("energy", count, ENERGY_THREADS, joint, result, self._components)
        return result


class _Projected:
    """Diagonal or full covariances: one block for each vector and component."""

    def __init__(self, device: Device, terms: ProjectedTerms) -> None:
        self._device = device
        self._kernel = f"log_joint_{terms.kind}"
        self._means = device.upload(terms.means)
        self._precision = device.upload(terms.precision)
        self._constant = device.upload(terms.constant)

    def log_joint(self, z: Buffer, joint: Buffer) -> None:
        count, components = joint.shape
        self._device.launch(
            self._kernel, count * components, ENERGY_THREADS,
            z, self._means, self._precision, self._constant, joint, components, z.shape[1],
        )  # fmt: skip


class _Spherical:
    """Spherical covariances, around the middle of the means."""

    def __init__(self, device: Device, terms: SphericalTerms) -> None:
        self._device = device
        self._exact = terms.constant.dtype == np.float64
        self._middle = device.upload(terms.middle)
        self._directions = device.upload(terms.directions)
        self._constant = device.upload(terms.constant)
        self._half_precision = device.upload(terms.half_precision)

    def log_joint(self, z: Buffer, joint: Buffer) -> None:
        count, components = joint.shape
        single = self._device.empty(z.shape, np.float32)
        double = self._device.empty(z.shape, np.float64)
        squares = self._device.empty((count,), np.float64)
        self._device.launch(
            "centre", count, ENERGY_THREADS, z, self._middle, single, double, squares, z.shape[1]
        )
        self._device.launch(
            "log_joint_spherical_exact" if self._exact else "log_joint_spherical",
            blocks(count * components), THREADS,
            double if self._exact else single, squares, self._directions, self._constant,
            self._half_precision, joint, count, components, z.shape[1],
        )  # fmt: skip
