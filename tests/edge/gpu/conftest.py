"""A GPU in memory: the kernels on the CPU, and a stand-in of driver and TensorRT beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_gpu import FakeCuda, FakeTensorRt, build_fake_cuda

from edge.plan_build import PlanBuilder, PlanSettings
from engines.backends.cuda_driver import CudaDriver
from engines.backends.tensorrt import runner
from engines.backends.tensorrt.library import Library, library_from_module
from engines.backends.tensorrt.runner import this_machine
from engines.bundle import Bundle
from engines.plan_cache import PlanCache


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


@pytest.fixture
def plans(
    bundle: Bundle,
    library: Library,
    driver: CudaDriver,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[PlanCache]:
    """FP32 plans of the bundle, found where the program looks for them."""
    cache = PlanCache(tmp_path / "plans")
    monkeypatch.setenv("VIGIL_ENGINES", str(cache.folder))
    monkeypatch.setattr(runner, "open_library", lambda _: library)
    monkeypatch.setattr(runner, "CudaDriver", lambda: CudaDriver(library=cuda.path))
    PlanBuilder(
        bundle,
        library=library,
        machine=this_machine(library, driver),
        cache=cache,
        settings=PlanSettings(precision="fp32"),
    ).build()
    yield cache
    assert cuda.lib.fake_live() == 0  # nothing of the engines is left in device memory
