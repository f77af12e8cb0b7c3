"""The parity gate with an in-memory backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from calibration.parity import check_parity
from engines.errors import DataError

PATCHES = np.random.default_rng(0).random((6, 3, 4, 4)).astype(np.float32)
EXPECTED = PATCHES.reshape(6, -1)[:, :5].copy()


class Memory:
    """Returns what it is told to."""

    name = "memory"
    precision = "fp32"

    def __init__(self, output: NDArray[np.float32]) -> None:
        self.output = output

    def load(self, file: Path) -> None:
        """Nothing to load."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert batch.shape == PATCHES.shape
        return self.output

    def close(self) -> None:
        """Nothing to free."""


def check(output: NDArray[np.float32], cosine_min: float = 0.999, max_abs: float = 1e-3) -> object:
    return check_parity(Memory(output), PATCHES, EXPECTED, cosine_min=cosine_min, max_abs=max_abs)


def test_equal_outputs_pass_with_cosine_one() -> None:
    report = check_parity(Memory(EXPECTED), PATCHES, EXPECTED, cosine_min=0.999, max_abs=0.0)
    assert report.cosine == pytest.approx(1.0)
    assert (report.max_abs, report.patches, report.backend) == (0.0, 6, "memory")


def test_the_numbers_are_the_worst_row_s() -> None:
    output = EXPECTED.copy()
    output[2] = [0, 0, 0, 0, 1]
    expected = EXPECTED.copy()
    expected[2] = [0, 0, 0, 3, 4]
    report = check_parity(Memory(output), PATCHES, expected, cosine_min=0.5, max_abs=9.0)
    assert report.cosine == pytest.approx(0.8)
    assert report.max_abs == 3.0


def test_a_wrong_direction_or_a_large_difference_fails_with_numbers() -> None:
    with pytest.raises(DataError, match=r"difference 0\.01 \(at most 0\.001\)"):
        check(EXPECTED + np.float32(0.01), cosine_min=0.0)
    with pytest.raises(DataError, match=r"cosine -1\.000000"):
        check(-EXPECTED, max_abs=10.0)


def test_zero_rows_are_defined() -> None:
    zeros = np.zeros_like(EXPECTED)
    report = check_parity(Memory(zeros), PATCHES, zeros, cosine_min=1.0, max_abs=0.0)
    assert report.cosine == 1.0
    with pytest.raises(DataError, match=r"cosine 0\.0"):
        check(zeros, max_abs=10.0)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        (EXPECTED[:, :4], "expected"),
        (np.full_like(EXPECTED, np.nan), "not finite"),
        (np.full_like(EXPECTED, np.inf), "not finite"),
    ],
)
def test_outputs_that_cannot_be_compared_fail(output: NDArray[np.float32], message: str) -> None:
    with pytest.raises(DataError, match=message):
        check(output)


def test_parity_needs_patches() -> None:
    with pytest.raises(DataError, match="found 0"):
        check_parity(Memory(EXPECTED), PATCHES[:0], EXPECTED[:0], cosine_min=0.9, max_abs=1.0)
