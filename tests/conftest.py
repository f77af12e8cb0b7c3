"""What every test may ask for: the real footage, a GPU in memory; calm settings of libraries."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings
from support.fake_gpu import FakeCuda, FakeTensorRt, build_fake_cuda

from engines.backends.cuda_driver import CudaDriver
from engines.backends.tensorrt.library import Library, library_from_module

REPOSITORY = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"

# Shared machines stall; a slow example is no wrong example. CI repeats the same examples.
settings.register_profile("vigil", deadline=None, derandomize=IN_CI)
settings.load_profile("vigil")


@pytest.fixture(scope="session")
def footage() -> Path:
    """Folder with `ucsd_ped2` and `video`: VIGIL_FOOTAGE, else ../shared/data."""
    root = Path(os.environ.get("VIGIL_FOOTAGE", REPOSITORY.parent / "shared" / "data"))
    if (root / "ucsd_ped2").is_dir() and (root / "video").is_dir():
        return root
    reason = f"no real footage in {root} (ucsd_ped2, video); set VIGIL_FOOTAGE"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def fake_cuda_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stand-in of the CUDA driver, compiled once."""
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
