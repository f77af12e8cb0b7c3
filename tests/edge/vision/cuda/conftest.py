"""Threads in both orders; or on a GPU, for VIGIL_TEST_GPU=1.

On a machine with a GPU and pycuda, ``VIGIL_TEST_GPU=1 python -m pytest tests/edge/vision/cuda
tests/edge/gpu`` runs the same comparisons with the CPU twins on the hardware.
"""

from __future__ import annotations

import os

import pytest
from support.cuda_shim import ShimDevice

from edge.vision.cuda.device import Device

ON_GPU = os.environ.get("VIGIL_TEST_GPU") == "1"


@pytest.fixture(scope="session", params=["gpu"] if ON_GPU else ["forwards", "backwards"])
def any_order(request: pytest.FixtureRequest) -> Device:
    """Threads in both orders: a kernel whose result depends on it lacks a barrier."""
    if request.param == "gpu":
        chosen: Device = request.getfixturevalue("gpu")
        return chosen
    library = request.getfixturevalue("kernel_library")
    return ShimDevice(library, reverse=request.param == "backwards")
