"""A GPU in memory: the kernels on the CPU, and a stand-in of driver and TensorRT beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_gpu import FakeCuda, FakeTensorRt, build_fake_cuda

from engines.backends.cuda_driver import CudaDriver
from engines.backends.tensorrt.library import Library, library_from_module


@pytest.fixture(scope="session")
def fake_cuda_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fake_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def cuda(fake_cuda_file: Path) -> FakeCuda:
    return FakeCuda(fake_cuda_file)


@pytest.fixture
def driver(cuda: FakeCuda) -> Iterator[CudaDriver]:
    opened = CudaDriver(library=cuda.path)
    yield opened
    cuda.fail("", 0)
    opened.close()


@pytest.fixture
def trt(cuda: FakeCuda) -> FakeTensorRt:
    return FakeTensorRt(cuda)


@pytest.fixture
def library(trt: FakeTensorRt) -> Library:
    return library_from_module("tensorrt", trt)
