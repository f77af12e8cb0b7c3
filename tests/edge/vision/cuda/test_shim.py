"""The emulation itself: it computes what CUDA would, and shows the faults it says it shows."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from support.cuda_shim import ShimDevice, build

SOURCE = r"""
extern "C" __global__ void block_sum(const float *x, float *out, int n)
{
    __shared__ float part[128];
    float sum = 0.0f;
    for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x)
        sum += x[i];
    part[threadIdx.x] = sum;
    __syncthreads();
    for (int half = 64; half > 0; half /= 2) {
        if ((int)threadIdx.x < half) part[threadIdx.x] += part[threadIdx.x + half];
        __syncthreads();
    }
    if (threadIdx.x == 0) out[blockIdx.x] = part[0];
}

// Groups of four lanes meet alone, a different number of times each.
extern "C" __global__ void group_sums(const int *x, int *out)
{
    const int t = threadIdx.x, group = t / 4;
    const unsigned mask = 0xfu << (t % 32 / 4 * 4);
    int sum = 0;
    for (int turn = 0; turn <= group; ++turn) {
        int value = x[t];
        value += __shfl_xor_sync(mask, value, 1);
        value += __shfl_xor_sync(mask, value, 2);
        sum += value;
    }
    __syncthreads();
    out[t] = sum;
}

extern "C" __global__ void early_return(float *out)
{
    if (threadIdx.x < 16) return;
    __syncthreads();
    out[threadIdx.x] = 1.0f;
}

extern "C" __global__ void half_a_group(int *out)
{
    int value = threadIdx.x;
    if (threadIdx.x % 4 < 2) value = __shfl_xor_sync(0xffffffffu, value, 1);
    else __syncthreads();
    out[threadIdx.x] = value;
}

extern "C" __global__ void missing_barrier(const float *x, float *out)
{
    __shared__ float buffer[64];
    buffer[threadIdx.x] = x[threadIdx.x];
    out[threadIdx.x] = buffer[63 - threadIdx.x];
}
"""
NAMES = ("block_sum", "group_sums", "early_return", "half_a_group", "missing_barrier")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder: Path = tmp_path_factory.mktemp("shim")
    (folder / "faults.cu").write_text(SOURCE)
    return build(folder, {str(folder / "faults.cu"): NAMES})


@pytest.fixture
def faulty(library: ctypes.CDLL) -> ShimDevice:
    return ShimDevice(library)


def test_shared_memory_and_barriers(faulty: ShimDevice) -> None:
    x = np.arange(10_001, dtype=np.float32) % 7
    out = faulty.empty((3,), np.float32)
    assert faulty.run("block_sum", "PPi", 3, 128, [faulty.upload(x), out, x.size]) == 0
    assert faulty.download(out).sum() == x.sum()


def test_lanes_of_a_mask_meet_without_the_others(faulty: ShimDevice) -> None:
    x = np.arange(40, dtype=np.int32)
    out = faulty.empty((40,), np.int32)
    assert faulty.run("group_sums", "PP", 1, 40, [faulty.upload(x), out]) == 0
    sums = x.reshape(-1, 4).sum(axis=1) * np.arange(1, 11)
    np.testing.assert_array_equal(faulty.download(out), np.repeat(sums, 4))


def test_a_thread_that_left_before_a_barrier_is_reported(faulty: ShimDevice) -> None:
    assert faulty.run("early_return", "P", 1, 64, [faulty.empty((64,), np.float32)]) == 1


def test_a_deadlock_is_reported_and_the_next_launch_works(faulty: ShimDevice) -> None:
    assert faulty.run("half_a_group", "P", 1, 32, [faulty.empty((32,), np.int32)]) == 2
    test_shared_memory_and_barriers(faulty)


def test_reverse_order_shows_a_missing_barrier(library: ctypes.CDLL) -> None:
    results = []
    for reverse in (False, True):
        one = ShimDevice(library, reverse=reverse)
        x, out = one.upload(np.arange(64, dtype=np.float32)), one.empty((64,), np.float32)
        assert one.run("missing_barrier", "PP", 1, 64, [x, out]) == 0
        results.append(one.download(out))
    assert not np.array_equal(*results)


def test_too_large_a_block_is_refused(faulty: ShimDevice) -> None:
    assert faulty.run("early_return", "P", 1, 2048, [faulty.empty((64,), np.float32)]) == 3


def test_a_write_beyond_a_buffer_fails_the_launch(shim: ShimDevice) -> None:
    picture = shim.upload(np.zeros(100, np.uint8))
    small = shim.empty((99,), np.uint8)
    with pytest.raises(AssertionError, match="moved_pixels wrote beyond"):
        shim.launch("moved_pixels", 1, 128, picture, picture, small, 100, 15)
    shim.close()  # its memory is damaged: nobody else may look at it


def test_unwritten_memory_is_not_a_number(shim: ShimDevice) -> None:
    assert np.isnan(shim.download(shim.empty((4,), np.float32))).all()
