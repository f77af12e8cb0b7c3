"""Thresholds: the literal search over all thresholds, the printed formula, and their order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import chi2

from calibration.alarm_rule import AlarmRule, alarm_events
from calibration.normal_footage import NormalFootage
from calibration.threshold import fit_threshold
from engines.errors import DataError

FPS = 10.0


def clip(seconds: float, seed: int = 0, fps: float = FPS) -> tuple[NDArray[np.float64], ...]:
    """Correlated scores, as frames are."""
    random = np.random.default_rng(seed)
    noise = random.standard_normal(round(seconds * fps))
    scores = np.empty_like(noise)
    state = 0.0
    for i, value in enumerate(noise):
        state = 0.9 * state + 0.436 * value
        scores[i] = state
    return np.arange(noise.size) / fps, scores


def footage(series: list[tuple[NDArray[np.float64], ...]], **rule: float) -> NormalFootage:
    settings_ = {"open_frames": 3, "close_s": 1.0, "merge_s": 1.0, **rule}
    return NormalFootage.of(series, **settings_)


scores_lists = st.lists(
    st.lists(st.integers(0, 4).map(float), min_size=1, max_size=60), min_size=1, max_size=4
)


@given(scores_lists, st.integers(1, 4), st.integers(0, 6), st.integers(0, 6))
@settings(deadline=None, max_examples=200)
def test_counting_by_runs_is_the_alarm_machine(
    clips: list[list[float]], open_frames: int, close: int, merge: int
) -> None:
    series = [(np.arange(len(c)) / FPS, np.array(c)) for c in clips]
    if max(map(len, clips)) < max(open_frames, 2):
        return
    normal = footage(series, open_frames=open_frames, close_s=close / 10, merge_s=merge / 10)
    for threshold in (-1.0, 0.0, 1.0, 2.5, 3.0, 4.0):
        rule = AlarmRule(threshold, open_frames, close / 10, merge / 10)
        events = [event for times, scores in series for event in alarm_events(times, scores, rule)]
        assert normal.count_above(threshold) == len(events)
        assert normal.cluster_peaks(threshold).size == len(events)
        assert (normal.cluster_peaks(threshold) > threshold).all()


@given(scores_lists, st.floats(50.0, 20_000.0))
@settings(deadline=None, max_examples=100)
def test_a_proven_threshold_is_the_literal_search_from_the_top(
    clips: list[list[float]], budget: float
) -> None:
    """Every distinct score as threshold, highest first, until the limit exceeds the budget."""
    series = [(np.arange(len(c)) / FPS, np.array(c)) for c in clips]
    if max(map(len, clips)) < 3:
        return
    hours = sum(map(len, clips)) / FPS / 3600
    if 3.0 / hours > budget:
        return
    found = fit_threshold(series, budget_per_hour=budget)
    normal = footage(series)
    before = np.inf
    for threshold in np.unique(np.concatenate(clips))[::-1].tolist():
        rule = AlarmRule(threshold)
        count = sum(len(alarm_events(times, scores, rule)) for times, scores in series)
        if chi2.ppf(0.95, 2 * count + 2) / 2 / hours > budget:
            break
        before = threshold
    floor = np.quantile(normal.block_maxima(1.0), 0.9)
    highest = normal.levels.max()
    # Thresholds between the highest opening level and the highest score give no event either.
    assert found.threshold == max(min(before, highest), floor)
    assert not found.extrapolated
    assert found.interval is None


def test_no_event_proves_three_per_hour_in_an_hour() -> None:
    times, scores = clip(3600)
    found = fit_threshold([(times, scores)], budget_per_hour=3.0)
    assert not found.extrapolated
    assert found.hours == pytest.approx(1.0)
    assert found.events_seen == 0
    assert found.proven_per_hour == pytest.approx(2.9957, abs=1e-4)
    # The highest level at which three frames in a row can be.
    assert found.threshold == np.lib.stride_tricks.sliding_window_view(scores, 3).min(1).max()


@pytest.mark.parametrize(("budget", "events"), [(4.75, 1), (6.3, 2), (7.76, 3), (10.52, 5)])
def test_the_allowed_events_are_used_up(budget: float, events: int) -> None:
    found = fit_threshold([clip(3600)], budget_per_hour=budget)
    assert found.events_seen == events
    assert found.proven_per_hour <= budget


def test_the_promise_holds_on_footage_not_seen() -> None:
    """Over many calibrations, at most one in twenty breaks its budget (a few more by chance)."""
    broken = 0
    test = footage([clip(3600, seed=1000 + i) for i in range(3)])
    for seed in range(60):
        found = fit_threshold([clip(400, seed=seed)], budget_per_hour=60.0)
        assert not found.extrapolated
        broken += test.count_above(found.threshold) / test.hours > 60.0
    assert broken <= 8  # the 99 % quantile of a binomial of 60 draws with 5 %


def test_extrapolation_is_the_printed_formula() -> None:
    series = [clip(30, seed=seed) for seed in range(16)]  # as long as Ped2's training footage
    found = fit_threshold(series, budget_per_hour=1 / 24)
    normal = footage(series)
    level = np.quantile(normal.block_maxima(1.0), 0.9)
    peaks = normal.cluster_peaks(level)
    assert 3 < peaks.size < 30
    lam = peaks.size / (480 / 3600)
    assert found.threshold == pytest.approx(level + (peaks - level).mean() * np.log(lam * 24))
    assert found.extrapolated
    assert found.interval is not None
    low, high = found.interval
    assert low < found.threshold < high
    assert found.hours == pytest.approx(480 / 3600)
    assert found.proven_per_hour == pytest.approx(22.468, abs=1e-2)  # 3.00 / H: what 8 minutes tell


def exponential_events(events: int, seed: int) -> tuple[NDArray[np.float64], ...]:
    """One event of three frames every ten seconds, peaks exponential with mean 1."""
    peaks = np.random.default_rng(seed).standard_exponential(events)
    scores = np.zeros((events, 100))
    scores[:, 50:53] = peaks[:, None]
    return np.arange(scores.size) / FPS, scores.ravel()


def test_extrapolation_of_a_known_law_gives_its_quantile() -> None:
    """360 events per hour against a budget of 0.0036: the true threshold is ln 100,000."""
    truth = np.log(1e5)
    found = [
        fit_threshold([exponential_events(20, seed)], budget_per_hour=0.0036) for seed in range(60)
    ]
    assert all(result.extrapolated for result in found)
    assert np.median([result.threshold for result in found]) == pytest.approx(truth, rel=0.1)
    intervals = [result.interval for result in found if result.interval is not None]
    covered = sum(low < truth < high for low, high in intervals)
    assert covered >= 51  # of 60; measured 55, a parametric bootstrap of 20 events is a bit narrow


def test_with_more_than_thirty_events_the_shape_is_fitted_and_the_interval_still_holds() -> None:
    covered = 0
    for seed in range(8):
        interval = fit_threshold([exponential_events(60, seed)], budget_per_hour=0.0036).interval
        assert interval is not None
        covered += interval[0] < np.log(1e5) < interval[1]
    assert covered >= 7


def test_near_what_can_be_proven_it_is_the_highest_level_seen() -> None:
    """The formula alone would give less than the threshold for a larger, provable budget."""
    series = [clip(3600)]
    extrapolated = fit_threshold(series, budget_per_hour=2.9)
    assert extrapolated.extrapolated
    assert extrapolated.threshold == fit_threshold(series, budget_per_hour=3.0).threshold


def test_less_footage_gives_a_wider_interval() -> None:
    widths = []
    for clips in (1, 4, 16):
        series = [clip(30, seed=seed) for seed in range(clips)]
        interval = fit_threshold(series, budget_per_hour=0.1).interval
        assert interval is not None
        widths.append(interval[1] - interval[0])
    assert widths[0] > widths[1] > widths[2]


budgets = st.floats(1e-4, 1e5)


@given(budgets, budgets, st.integers(0, 5), st.sampled_from([4.0, 30.0, 240.0]))
@settings(max_examples=60, deadline=None)
def test_a_larger_budget_never_gives_a_higher_threshold(
    one: float, other: float, seed: int, seconds: float
) -> None:
    series = [clip(seconds, seed=seed)]
    low, high = sorted((one, other))
    assert (
        fit_threshold(series, budget_per_hour=low).threshold
        >= fit_threshold(series, budget_per_hour=high).threshold
    )


def test_the_order_of_clips_does_not_matter() -> None:
    series = [clip(20 + seed, seed=seed) for seed in range(6)]
    for budget in (0.1, 200.0):
        one = fit_threshold(series, budget_per_hour=budget)
        other = fit_threshold(series[::-1], budget_per_hour=budget)
        assert one.threshold == pytest.approx(other.threshold, rel=1e-12)
        assert one.events_seen == other.events_seen


def test_the_same_seed_gives_the_same_interval() -> None:
    first, again, other = (
        fit_threshold([clip(60)], budget_per_hour=0.1, seed=seed) for seed in (1, 1, 2)
    )
    assert first == again
    assert first.threshold == other.threshold
    assert first.interval != other.interval


def test_scores_of_another_unit_give_the_threshold_in_that_unit() -> None:
    times, scores = clip(120)
    one = fit_threshold([(times, scores)], budget_per_hour=0.1)
    other = fit_threshold([(times, 10 * scores + 3)], budget_per_hour=0.1)
    assert other.threshold == pytest.approx(10 * one.threshold + 3)


def test_a_huge_budget_does_not_leave_the_alarm_always_on() -> None:
    """One alarm that never ends is a single event; the floor keeps the search from accepting it."""
    times, scores = clip(120)
    found = fit_threshold([(times, scores)], budget_per_hour=1e6)
    assert np.mean(scores > found.threshold) < 0.2


def test_the_parameters_travel() -> None:
    found = fit_threshold(
        [clip(60)],
        budget_per_hour=0.5,
        confidence=0.9,
        open_frames=5,
        close_s=2.0,
        merge_s=4.0,
        source="two clips",
    )
    assert (found.open_frames, found.close_s, found.merge_s) == (5, 2.0, 4.0)
    assert (found.budget_per_hour, found.confidence, found.source) == (0.5, 0.9, "two clips")


@pytest.mark.parametrize(
    "scores",
    [
        [0.0] * 50 + [1.0] * 3 + [0.0] * 50,
        [0.0] * 50 + [1.0] * 50,
        [1.0] * 99 + [2.0] * 3,
        [0.0, 0.0, 0.0, 1.0, 1.0, 1.0],
    ],
    ids=["one bump", "half saturated", "bump at the end", "six frames"],
)
@pytest.mark.parametrize("budget", [1e-3, 1e5])
def test_few_distinct_scores_are_defined(scores: list[float], budget: float) -> None:
    series = [(np.arange(len(scores)) / FPS, np.array(scores))]
    found = fit_threshold(series, budget_per_hour=budget)
    assert np.isfinite(found.threshold)
    assert found.threshold >= 0.0
    if found.extrapolated:
        assert found.events_seen == 0


def test_scores_that_never_change_cannot_be_extrapolated() -> None:
    series = [(np.arange(100) / FPS, np.zeros(100))]
    with pytest.raises(DataError, match="never changes"):
        fit_threshold(series, budget_per_hour=1.0)
    # With enough of it the footage itself is the proof.
    assert fit_threshold(series, budget_per_hour=1e4).threshold == 0.0


@pytest.mark.parametrize("series", [[], [(np.empty(0), np.empty(0))], [(np.zeros(1), np.ones(1))]])
def test_footage_that_is_too_short_is_refused(
    series: list[tuple[NDArray[np.float64], NDArray[np.float64]]],
) -> None:
    with pytest.raises(DataError, match="normal footage"):
        fit_threshold(series, budget_per_hour=1.0)


def test_a_clip_of_one_frame_among_others_counts_as_one_frame() -> None:
    one = (np.zeros(1), np.array([99.0]))
    with_it = fit_threshold([clip(60), one], budget_per_hour=0.1)
    assert with_it.hours * 3600 == pytest.approx(60.1)
    assert with_it.threshold < 99.0


@pytest.mark.parametrize(
    ("times", "scores", "message"),
    [
        ([0.0, 0.1, 0.2], [1.0, np.nan, 1.0], "finite"),
        ([0.0, 0.2, 0.1], [1.0, 1.0, 1.0], "must not fall"),
        ([0.0, 0.1], [1.0, 1.0, 1.0], "as many times"),
    ],
)
def test_broken_series_are_refused(times: list[float], scores: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        fit_threshold([clip(10), (np.array(times), np.array(scores))], budget_per_hour=1.0)
    assert "clip 1" in str(caught.value)


@pytest.mark.parametrize(
    "wrong", [{"budget_per_hour": 0.0}, {"budget_per_hour": np.nan}, {"confidence": 1.0}]
)
def test_budget_and_confidence_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(DataError, match="budget"):
        fit_threshold([clip(10)], **{"budget_per_hour": 1.0, **wrong})
