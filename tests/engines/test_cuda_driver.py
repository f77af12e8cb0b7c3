"""The driver by ctypes, against a compiled stand-in with the same C functions."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from support.fake_gpu import FakeCuda

from engines.backends.cuda_driver import CudaDriver, tegra_release
from engines.errors import InternalError, TemporaryError, UnavailableError


def test_it_knows_the_gpu(driver: CudaDriver) -> None:
    gpu = driver.gpu()
    assert gpu.name == "Imaginary Orin"
    assert gpu.compute_capability == (8, 7)
    assert gpu.driver_cuda == (12, 6)


def test_what_goes_up_comes_down(driver: CudaDriver) -> None:
    rows = np.arange(12, dtype=np.float32).reshape(3, 4)
    stream = driver.new_stream()
    address = driver.allocate(rows.nbytes)
    driver.upload(address, rows, stream)
    back = np.zeros_like(rows)
    driver.download(back, address, stream)
    driver.synchronise(stream)
    np.testing.assert_array_equal(back, rows)
    driver.free(address)
    driver.destroy_stream(stream)


def test_memory_is_counted_and_its_end_names_both_sides(driver: CudaDriver, cuda: FakeCuda) -> None:
    before = driver.free_bytes()
    address = driver.allocate(4096)
    assert driver.free_bytes() == before - 4096
    driver.free(address)
    cuda.lib.fake_set_limit(1000)
    with pytest.raises(TemporaryError, match="out of device memory") as error:
        driver.allocate(4096)
    assert "CUDA_ERROR_OUT_OF_MEMORY (2)" in error.value.what
    assert "4096 bytes were asked for" in error.value.what
    assert "fewer cameras" in str(error.value.mend)


def test_a_missing_driver_says_so_and_what_to_do() -> None:
    with pytest.raises(UnavailableError, match="no NVIDIA driver") as error:
        CudaDriver(library="libno-such-cuda.so.1")
    assert "onnxruntime-cpu" in str(error.value.mend)


def test_a_driver_without_a_function_is_too_old(tmp_path: Path) -> None:
    source, old = tmp_path / "old.c", tmp_path / "libold.so"
    source.write_text("int cuInit(unsigned f) { return f; }")
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", old, source], check=True)
    with pytest.raises(UnavailableError, match="too old: it has no cuDriverGetVersion"):
        CudaDriver(library=str(old))


def test_no_device_and_a_wrong_number_are_told(cuda: FakeCuda) -> None:
    cuda.fail("cuInit", 100)
    with pytest.raises(UnavailableError, match=r"cuInit failed: CUDA_ERROR_NO_DEVICE \(100\)"):
        CudaDriver(library=cuda.path)
    cuda.fail("", 0)
    cuda.lib.fake_set_devices(0)
    with pytest.raises(UnavailableError, match="no CUDA device 0, the driver sees 0"):
        CudaDriver(library=cuda.path)


@pytest.mark.parametrize("code", [700, 999])
def test_every_other_code_is_an_error_with_its_name(
    driver: CudaDriver, cuda: FakeCuda, code: int
) -> None:
    cuda.fail("cuStreamSynchronize", code)
    name = {700: "CUDA_ERROR_ILLEGAL_ADDRESS", 999: "unknown code"}[code]
    with pytest.raises(InternalError, match=rf"cuStreamSynchronize failed: {name} \({code}\)"):
        driver.synchronise(driver.new_stream())


def test_the_context_is_given_back_once(cuda: FakeCuda) -> None:
    driver = CudaDriver(library=cuda.path)
    assert cuda.lib.fake_contexts() == 1
    driver.close()
    driver.close()
    assert cuda.lib.fake_contexts() == 0


def test_a_jetson_s_release_is_read(tmp_path: Path) -> None:
    file = tmp_path / "nv_tegra_release"
    file.write_text("# R36 (release), REVISION: 4.0, GCID: 37537400, BOARD: generic\nmore\n")
    assert tegra_release(file) == "R36 (release), REVISION: 4.0"
    assert tegra_release(tmp_path / "none") == ""
    file.write_text("")
    assert tegra_release(file) == ""
