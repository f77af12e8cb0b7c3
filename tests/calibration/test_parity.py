"""The parity gate with an in-memory backend."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import spearmanr

from calibration.parity import (
    LIMITS,
    RANK_PATCHES,
    ParityReport,
    check_parity,
    compare,
    rank_correlation,
    rank_of_many,
)
from engines.errors import DataError
from engines.model_spec import Precision

PATCHES = np.random.default_rng(0).random((6, 3, 4, 4)).astype(np.float32)
EXPECTED = PATCHES.reshape(6, -1)[:, :5].copy()


class Memory:
    """Returns what it is told to."""

    name = "memory"
    precision: Precision = "fp32"

    def __init__(self, output: NDArray[np.float32]) -> None:
        self.output = output

    def load(self, file: Path) -> None:
        """Nothing to load."""

    def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        assert batch.shape[1:] == PATCHES.shape[1:]
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


def test_rank_correlation_is_spearman_s() -> None:
    rng = np.random.default_rng(4)
    for size in (2, 7, 300):
        a = rng.normal(size=size)
        b = a + rng.normal(size=size)
        assert rank_correlation(a, b) == pytest.approx(spearmanr(a, b).statistic)
    tied = np.array([1.0, 1.0, 2.0, 2.0, 2.0, 5.0])
    other = np.array([3.0, 1.0, 4.0, 4.0, 0.0, 9.0])
    assert rank_correlation(tied, other) == pytest.approx(spearmanr(tied, other).statistic)
    assert rank_correlation(tied, -tied) == pytest.approx(-1.0)


@pytest.mark.parametrize("noise", [0.03, 0.1, 0.3])
def test_a_few_energies_tell_the_rank_correlation_of_very_many(noise: float) -> None:
    rng = np.random.default_rng(3)
    expected = rng.normal(7.0, 50.0, size=200_000)
    found = expected + rng.normal(0.0, 50.0 * noise, size=len(expected))
    true = float(spearmanr(found, expected).statistic)
    few = [rank_of_many(found[i : i + 64], expected[i : i + 64]) for i in range(0, 64_000, 64)]
    assert np.median(np.array(few, float)) == pytest.approx(true, abs=0.1 * (1.0 - true))


def test_an_energy_far_outside_does_not_hide_that_the_others_are_in_disorder() -> None:
    rng = np.random.default_rng(4)
    found, expected = rng.normal(size=64), rng.normal(size=64)
    found[5] = expected[5] = 1e4
    assert np.corrcoef(found, expected)[0, 1] > 0.999
    many = rank_of_many(found, expected)
    assert many is not None
    assert many < 0.6


def test_energies_that_hardly_vary_tell_nothing_of_many() -> None:
    expected = np.zeros(64)
    expected[:3] = 1.0
    assert rank_of_many(expected, expected) is None
    assert rank_of_many(np.zeros(64), np.arange(64.0)) is None


def test_fp16_that_keeps_the_order_passes_though_64_energies_alone_would_not_show_it() -> None:
    rng = np.random.default_rng(0)
    patches = np.zeros((64, 3, 4, 4), np.float32)
    expected = rng.normal(100.0, 50.0, size=(64, 1)).astype(np.float32)

    def judge(noise: float) -> ParityReport:
        found = expected + 50.0 * noise * rng.normal(size=expected.shape).astype(np.float32)
        return check_parity(
            Memory(found),
            patches,
            expected,
            cosine_min=0.999,
            max_abs=np.inf,
            energy=lambda latent: latent[:, 0].astype(np.float64),
            rank_min=LIMITS["fp16"].rank,
            together=True,
        )

    passed = judge(0.026)
    assert passed.rank is not None
    assert passed.rank < LIMITS["fp16"].rank
    with pytest.raises(DataError, match="change their order"):
        judge(0.08)


def test_rank_correlation_of_a_constant_is_defined() -> None:
    assert rank_correlation(np.ones(4), np.ones(4)) == 1.0
    assert rank_correlation(np.ones(4), np.arange(4.0)) == 0.0


def rows(count: int) -> NDArray[np.float32]:
    return np.random.default_rng(2).normal(size=(count, 5)).astype(np.float32)


def first_value(z: NDArray[np.float32]) -> NDArray[np.float64]:
    return z[:, 0].astype(np.float64)


def test_energies_are_compared_in_rank_and_size() -> None:
    expected = rows(100)
    found = expected.copy()
    found[7, 0] += 2.0
    report = compare(found, expected, first_value, backend="memory", precision="int8")
    assert report.energy_shift == pytest.approx(2.0 / expected[:, 0].std(), rel=1e-5)
    assert report.rank == pytest.approx(spearmanr(found[:, 0], expected[:, 0]).statistic)
    assert report.relative == pytest.approx(2.0 / np.linalg.norm(expected), rel=1e-5)
    assert "rank correlation" in str(report)
    assert report.to_json()["rank"] == report.rank
    without = compare(found, expected, backend="memory", precision="int8")
    assert without.rank is None
    assert "rank" not in str(without)


@pytest.mark.parametrize(("count", "judged"), [(RANK_PATCHES, True), (RANK_PATCHES - 1, False)])
def test_the_order_of_energies_is_judged_where_there_are_enough(count: int, judged: bool) -> None:
    expected = rows(count)
    found = expected.copy()
    found[:, 0] = -found[:, 0]  # the order of the energies turns round
    patches = np.zeros((count, *PATCHES.shape[1:]), np.float32)

    class Many(Memory):
        def infer(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
            assert len(batch) == count
            return self.output

    def gate() -> object:
        return check_parity(
            Many(found),
            patches,
            expected,
            cosine_min=-1.0,
            max_abs=np.inf,
            energy=first_value,
            rank_min=LIMITS["int8"].rank,
        )

    if judged:
        with pytest.raises(DataError, match=r"change their order: rank correlation -1\.0"):
            gate()
    else:
        gate()


def test_rows_at_zero_are_judged_together() -> None:
    expected = np.array([[1e-3, -1e-3], [3.0, 4.0]], np.float32)
    found = expected + np.float32(2e-3)
    alone = compare(found, expected, None, backend="b", precision="int8")
    together = compare(found, expected, None, backend="b", precision="int8", together=True)
    assert alone.cosine < 0.5
    one, other = found.ravel().astype(np.float64), expected.ravel().astype(np.float64)
    cosine = one @ other / np.linalg.norm(one) / np.linalg.norm(other)
    assert together.cosine == pytest.approx(cosine)
    assert together.cosine > 0.9999
