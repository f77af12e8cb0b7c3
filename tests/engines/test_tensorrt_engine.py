"""The runner on a GPU in memory: numbers, pieces, graphs, and everything that can go wrong."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from support.fake_gpu import FakeCuda, FakeTensorRt, fake_plan
from support.small_networks import convolutional, patches

from engines.backends.cuda_driver import CudaDriver
from engines.backends.tensorrt.engine import TensorRtEngine
from engines.backends.tensorrt.library import Library, library_from_module
from engines.backends.tensorrt.runner import TensorRtBackend, this_machine
from engines.errors import DataError, InternalError, TemporaryError, UnavailableError, VigilError
from engines.manifest import sha256_of
from engines.plan_cache import Machine, PlanCache, PlanKey, Sidecar

NETWORK = convolutional()
PLAN = fake_plan(NETWORK, 16, version="10.3.0.26")
NAMES = {"input_name": "patches", "output_name": "latent"}


def exact(batch: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(NETWORK, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"patches": batch})[0])


def opened(
    library: Library, driver: CudaDriver, plan: bytes = PLAN, **more: bool
) -> TensorRtEngine:
    return TensorRtEngine(library, driver, plan, where="net.plan", **NAMES, **more)


@pytest.mark.parametrize("count", [0, 1, 16, 17, 40])
def test_it_gives_the_network_s_numbers_in_pieces(
    library: Library, driver: CudaDriver, trt: FakeTensorRt, count: int
) -> None:
    engine = opened(library, driver)
    batch = patches(count) if count else patches(1)[:0]
    found = engine.infer(batch)
    assert found.shape == (count, 6)
    assert found.dtype == np.float32
    if count:
        np.testing.assert_allclose(found, exact(batch), atol=1e-6)
    assert trt._runs == [16] * (count // 16) + [count % 16] * (count % 16 > 0)
    engine.close()


def test_data_on_the_device_needs_no_host(library: Library, driver: CudaDriver) -> None:
    engine = opened(library, driver)
    batch = patches(5)
    driver.upload(engine.input_address, batch, engine.stream)
    engine.enqueue(5)
    result = np.empty((5, 6), np.float32)
    driver.download(result, engine.output_address, engine.stream)
    driver.synchronise(engine.stream)
    np.testing.assert_allclose(result, exact(batch), atol=1e-6)
    for count in (0, 17):
        with pytest.raises(DataError, match=f"1 to 16 patches at once, {count} were given"):
            engine.enqueue(count)
    engine.close()


def test_a_graph_is_recorded_once_for_each_size_and_gives_the_same(
    library: Library, driver: CudaDriver, trt: FakeTensorRt
) -> None:
    engine = opened(library, driver, graph=True)
    for seed, count in enumerate((3, 4, 3, 11, 16, 9)):
        batch = patches(count, seed=seed)
        np.testing.assert_allclose(engine.infer(batch), exact(batch), atol=1e-6)
    assert trt._runs == [4, 4, 4, 16, 16, 16]  # padded to powers of two
    assert len(trt._graphs) == 2
    engine.close()


def test_everything_is_given_back_also_twice(
    library: Library, driver: CudaDriver, cuda: FakeCuda
) -> None:
    engine = opened(library, driver, graph=True)
    engine.infer(patches(3))
    assert cuda.lib.fake_live() > 0
    engine.close()
    engine.close()
    assert cuda.lib.fake_live() == 0


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        (PLAN[:10], "has 10 bytes, the header alone has 28"),
        (PLAN[:60], "cannot read this plan: error: Serialization assertion failed"),
        (b"garbage" * 9, "no TensorRT plan: it begins with 67617262"),
        (
            fake_plan(NETWORK, 16, version="10.16.1.11"),
            r"built by tensorrt 10\.16\.1\.11, here is tensorrt 10\.3\.0\.26",
        ),
        (
            fake_plan(NETWORK, 16, version="1.7.1.116", tag=b"vtrt"),
            r"built by tensorrt-rtx 1\.7\.1\.116, here is tensorrt 10\.3",
        ),
    ],
)
def test_a_wrong_plan_names_both_sides_and_the_mend(
    library: Library, driver: CudaDriver, cuda: FakeCuda, plan: bytes, message: str
) -> None:
    with pytest.raises(DataError, match=message) as error:
        opened(library, driver, plan)
    assert error.value.where == "net.plan"
    assert "vigil engine build" in str(error.value.mend)
    assert cuda.lib.fake_live() == 0


@pytest.mark.parametrize(
    ("fault", "kind", "message"),
    [
        ("no context", TemporaryError, "no execution context: error: Requested amount of GPU"),
        ("half output", DataError, "tensor patches of the plan is half"),
    ],
)
def test_a_plan_that_cannot_be_set_up_leaves_nothing(
    library: Library,
    driver: CudaDriver,
    cuda: FakeCuda,
    trt: FakeTensorRt,
    fault: str,
    kind: type[VigilError],
    message: str,
) -> None:
    trt._faults.add(fault)
    with pytest.raises(kind, match=message):
        opened(library, driver)
    assert cuda.lib.fake_live() == 0


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no run", "refuses to run 2 patches: error: Cuda Runtime"),
        ("no shape", r"refuses 2 patches of \[3, 8, 8\]: it gave no reason"),
    ],
)
def test_a_run_that_is_refused_says_why(
    library: Library, driver: CudaDriver, trt: FakeTensorRt, fault: str, message: str
) -> None:
    engine = opened(library, driver)
    trt._faults.add(fault)
    with pytest.raises(InternalError, match=message):
        engine.infer(patches(2))
    engine.close()


def test_out_of_device_memory_is_told(library: Library, driver: CudaDriver, cuda: FakeCuda) -> None:
    cuda.lib.fake_set_limit(6000)
    with pytest.raises(TemporaryError, match="12288 bytes were asked for"):
        opened(library, driver)  # 16 rows of 3 x 8 x 8 floats
    assert cuda.lib.fake_live() == 0


def test_a_batch_of_another_shape_is_refused(library: Library, driver: CudaDriver) -> None:
    engine = opened(library, driver)
    with pytest.raises(DataError, match=r"N x \[3, 8, 8\], the batch is \[2, 1, 8, 8\]"):
        engine.infer(patches(2, channels=1))
    engine.close()


def test_tensors_of_another_name_are_refused(library: Library, driver: CudaDriver) -> None:
    with pytest.raises(DataError, match=r"tensors \['patches', 'latent'\], model.json wants x"):
        TensorRtEngine(library, driver, PLAN, input_name="x", output_name="latent")


def cached(folder: Path, file: Path, machine: Machine, plan: bytes = PLAN) -> PlanCache:
    cache = PlanCache(folder)
    key = PlanKey(
        onnx_sha256=sha256_of(file),
        precision="fp32",
        batches=(1, 4, 16),
        machine=machine,
        optimisation_level=3,
        workspace_mib=None,
    )
    sidecar = Sidecar(
        key=key,
        bundle="test",
        stream="appearance",
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        built="2026-01-01T00:00:00Z",
        seconds=1.0,
    )
    cache.store("appearance.fp32", plan, sidecar)
    return cache


def test_the_backend_finds_the_plan_of_its_network(
    library: Library, driver: CudaDriver, tmp_path: Path
) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(NETWORK)
    cache = cached(tmp_path / "plans", file, this_machine(library, driver))
    backend = TensorRtBackend(
        **NAMES, precision="fp32", cache=cache, library=library, driver=driver
    )
    with pytest.raises(DataError, match="no plan is loaded"):
        backend.infer(patches(1))
    backend.load(file)
    np.testing.assert_allclose(backend.infer(patches(3)), exact(patches(3)), atol=1e-6)
    backend.close()
    backend.close()


def test_a_plan_of_another_machine_is_explained_and_not_tried(
    library: Library, driver: CudaDriver, tmp_path: Path
) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(NETWORK)
    here = this_machine(library, driver)
    other = here.model_copy(update={"gpu": "Orin (nvgpu)", "version": "10.16.1.11"})
    cache = cached(tmp_path / "plans", file, other)
    backend = TensorRtBackend(**NAMES, cache=cache, library=library, driver=driver)
    with pytest.raises(UnavailableError, match=r"no engine for net\.onnx") as error:
        backend.load(file)
    assert "library version 10.16.1.11, here 10.3.0.26" in error.value.what
    assert "GPU Orin (nvgpu), here Imaginary Orin" in error.value.what
    assert "vigil engine build" in str(error.value.mend)
    file.write_bytes(convolutional(seed=5))
    with pytest.raises(UnavailableError, match="none was built for this network"):
        backend.load(file)


def test_a_plan_that_was_cut_off_or_changed_is_refused(
    library: Library, driver: CudaDriver, tmp_path: Path
) -> None:
    file = tmp_path / "net.onnx"
    file.write_bytes(NETWORK)
    cache = cached(tmp_path / "plans", file, this_machine(library, driver))
    (plan,) = cache.plans()
    backend = TensorRtBackend(**NAMES, cache=cache, library=library, driver=driver)
    plan.path.write_bytes(PLAN[:-7])
    with pytest.raises(DataError, match=f"{len(PLAN) - 7} bytes, {len(PLAN)} were written"):
        backend.load(file)
    plan.path.write_bytes(PLAN[:-1] + b"!")
    with pytest.raises(DataError, match="it was changed"):
        backend.load(file)


def test_a_version_that_is_not_supported_is_refused(cuda: FakeCuda) -> None:
    for version in ("8.6.1", "10.2.0", "12.0.0"):
        with pytest.raises(UnavailableError, match=r"supported are 10\.3 to 11\.x"):
            library_from_module("tensorrt", FakeTensorRt(cuda, version=version))
    for version in ("10.3.0.26", "10.13.3.9", "11.4.0.106"):
        assert library_from_module("tensorrt", FakeTensorRt(cuda, version=version))
