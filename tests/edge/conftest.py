"""The kernels on the CPU, compiled once for all tests; or on a GPU, for VIGIL_TEST_GPU=1."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Iterator

import pytest
from support.cuda_shim import ShimDevice, build_kernels

from edge.vision.cuda.device import Device
from edge.vision.cuda.pycuda_device import PycudaDevice

ON_GPU = os.environ.get("VIGIL_TEST_GPU") == "1"


@pytest.fixture(scope="session")
def kernel_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here, which runs the CUDA kernels on the CPU")
    return build_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def shim(kernel_library: ctypes.CDLL) -> ShimDevice:
    return ShimDevice(kernel_library)


@pytest.fixture(scope="session")
def gpu() -> Iterator[Device]:
    device = PycudaDevice()
    yield device
    device.close()


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> Device:
    """The GPU if it is asked for, else the CPU with threads in their natural order."""
    chosen: Device = request.getfixturevalue("gpu" if ON_GPU else "shim")
    return chosen
