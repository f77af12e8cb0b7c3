"""The soak run in short, and what it is judged by. The long one: `make soak`."""

from pathlib import Path

import pytest
from support.soak import Plan, growth, shortcomings, slope_mb_per_hour, soak

MB = 2**20


def test_the_slope_is_that_of_a_line_and_blind_to_steps_and_peaks() -> None:
    times = [float(second) for second in range(1000)]
    line = [int(100 * MB + second * 7.2 * MB / 3600) for second in range(1000)]
    assert slope_mb_per_hour(times, line) == pytest.approx(7.2, abs=0.01)
    flat = [100 * MB + (50 * MB if second % 60 < 3 else 0) for second in range(1000)]
    assert slope_mb_per_hour(times, flat) == 0.0


def test_growth_is_told_and_peaks_that_come_back_are_not() -> None:
    assert growth([5, 7, 5, 7, 5, 9]) == 0
    assert growth([5, 6, 7, 8]) == 2


@pytest.mark.broker
@pytest.mark.slow
@pytest.mark.timeout(180)
def test_four_cameras_and_a_broker_that_goes_away_lose_nothing(tmp_path: Path) -> None:
    plan = Plan(seconds=32.0, warm_up_s=12.0, cycle_s=8.0, down_s=2.5, speed=2.0)
    found = soak(tmp_path, plan)
    # Too short to judge memory by its slope: caches still fill.
    assert shortcomings(found, slope=False) == [], found
    assert found["broker_losses"] >= 3
    assert found["frames"] > 100
