"""The kernels on the CPU, compiled once for all tests."""

from __future__ import annotations

import ctypes
import shutil

import pytest
from support.cuda_shim import ShimDevice, build_kernels


@pytest.fixture(scope="session")
def kernel_library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    if shutil.which("g++") is None:
        pytest.skip("no g++ here, which runs the CUDA kernels on the CPU")
    return build_kernels(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(scope="session")
def device(kernel_library: ctypes.CDLL) -> ShimDevice:
    """Threads in their natural order."""
    return ShimDevice(kernel_library)


@pytest.fixture(scope="session", params=[False, True], ids=["forwards", "backwards"])
def any_order(request: pytest.FixtureRequest, kernel_library: ctypes.CDLL) -> ShimDevice:
    """Threads in both orders: a kernel whose result depends on it lacks a barrier."""
    return ShimDevice(kernel_library, reverse=request.param)
