"""Threshold of the frame score for a budget of false alarms per hour of normal footage.

Method section 4. Alarm events are counted by the alarm rule itself, not frames, which are
correlated. With k events in H hours the exact Poisson upper limit at the given confidence is
compared with the budget B.

Proven (H long enough that no event at all proves B): thresholds are tried from the highest
downwards; the first one whose limit exceeds B ends the search and the one before is taken
(fixed-sequence testing, which keeps the confidence although many thresholds are tried).

Extrapolated (H too short, below 3.00 / B at 95 %): exceedances of u, the 90 % quantile of block
maxima, are declustered into alarm events, a generalised Pareto (shape x, scale q) is fitted to the
cluster peaks, and tau = u + (q/x) [(lam_u / B)^x - 1] with lam_u clusters per hour (Coles 2001,
section 4.3). The interval is a parametric bootstrap: cluster counts drawn from a Poisson, peaks
from the fitted distribution, refitted; it says how little a few minutes tell.

Ours, where the method leaves it open:
- Peaks and block maxima are of the opening level (lowest of `open_frames` scores in a row), since
  that is what a threshold must pass for an event to open.
- A proven threshold never goes below the 90 % quantile of one-second maxima: with a very large
  budget counting alone would accept an alarm that is always on, which is a single event.
- The shape is held in 0 .. 0.5, as in the tail model: a few minutes cannot show that scores have an
  upper end, and a small sample's shape errs to the low side, that is to too many alarms.
- An extrapolated threshold never goes below the highest opening level of the footage: a budget
  too small to be proven may not give a lower threshold than one that is proven by no event at all.
  The interval is that of the formula, widened where needed to hold the threshold.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from calibration.generalised_pareto import GeneralisedPareto, fit_generalised_pareto
from calibration.normal_footage import SECONDS_PER_HOUR, NormalFootage, Series
from calibration.poisson import most_events_within, poisson_upper_limit
from engines.errors import DataError
from engines.model_spec import AlarmSpec

BLOCK_QUANTILE = 0.9
SHAPE_RANGE = (0.0, 0.5)
BOOTSTRAP_DRAWS = 400
# Ten minutes and less are cut into seconds, ten hours into minutes: always about 600 blocks.
_BLOCKS = 600
_BLOCK_RANGE_S = (1.0, 60.0)


def fit_threshold(
    series: Sequence[Series],
    *,
    budget_per_hour: float,
    confidence: float = 0.95,
    open_frames: int = 3,
    close_s: float = 1.0,
    merge_s: float = 1.0,
    seed: int = 0,
    source: str = "",
) -> AlarmSpec:
    """Choose the threshold for a false-alarm budget.

    Args:
        series: (times in seconds, frame scores) of each clip of normal footage, used neither for
            weights nor for statistics; float64, N each.
        budget_per_hour: False alarm events per hour of normal footage, positive.
        confidence: Of the upper limit, and of the bootstrap interval of an extrapolation.
        open_frames: Of the alarm rule, as are the next two; they travel in the result.
        close_s: Seconds below the threshold that end an event.
        merge_s: Seconds in which a new opening continues the same event.
        seed: Of the bootstrap.
        source: Which footage this is, in words.

    Raises:
        DataError: Budget or confidence out of range, footage that is too short or broken, or a
            score that never changes.
    """
    if not 0.0 < budget_per_hour < np.inf or not 0.0 < confidence < 1.0:
        raise DataError(
            f"a threshold needs a positive budget and a confidence between 0 and 1, found "
            f"{budget_per_hour} per hour and {confidence}"
        )
    footage = NormalFootage.of(series, open_frames=open_frames, close_s=close_s, merge_s=merge_s)
    allowed = most_events_within(budget_per_hour * footage.hours, confidence)
    interval = None
    if allowed is not None:
        threshold = _proven(footage, allowed)
    else:
        threshold, interval = _extrapolated(footage, budget_per_hour, confidence, seed)
    events = footage.count_above(threshold)
    return AlarmSpec(
        threshold=threshold,
        open_frames=open_frames,
        close_s=close_s,
        merge_s=merge_s,
        budget_per_hour=budget_per_hour,
        confidence=confidence,
        proven_per_hour=poisson_upper_limit(events, confidence) / footage.hours,
        extrapolated=allowed is None,
        interval=interval,
        hours=footage.hours,
        events_seen=events,
        source=source,
    )


def _proven(footage: NormalFootage, allowed: int) -> float:
    """Lowest threshold such that it and all higher ones give at most `allowed` events."""
    floor = float(np.quantile(footage.block_maxima(1.0), BLOCK_QUANTILE))
    finite = footage.levels[np.isfinite(footage.levels) & (footage.levels >= floor)]
    descending = np.sort(finite)[::-1]
    # Only a frame whose opening level is passed can add an event, and it adds at most one; so from
    # a threshold with k events the next `allowed - k` such frames need no look.
    position = allowed
    while position < descending.size:
        events = footage.count_just_below(float(descending[position]))
        if events > allowed:
            return float(descending[position])
        position += max(1, allowed - events)
    return floor


def _extrapolated(
    footage: NormalFootage, budget_per_hour: float, confidence: float, seed: int
) -> tuple[float, tuple[float, float]]:
    """Threshold beyond the footage, and its bootstrap interval."""
    highest = float(footage.levels.max())
    level = _declustering_level(footage, highest)
    peaks = footage.cluster_peaks(level)
    fitted = fit_generalised_pareto(peaks - level, shape_range=SHAPE_RANGE)

    def at_budget(clusters: int, excess: GeneralisedPareto) -> float:
        ratio = max(clusters / footage.hours / budget_per_hour, 1.0)
        return level + excess.excess_at(ratio)

    random = np.random.default_rng(seed)
    draws = []
    for clusters in np.maximum(random.poisson(peaks.size, BOOTSTRAP_DRAWS), 1).tolist():
        redrawn = fitted.sample(clusters, random)
        refitted = fit_generalised_pareto(redrawn, shape_range=SHAPE_RANGE)
        draws.append(at_budget(clusters, refitted))
    threshold = max(at_budget(peaks.size, fitted), highest)
    side = (1.0 - confidence) / 2.0
    low, high = np.quantile(draws, [side, 1.0 - side]).tolist()
    return threshold, (min(low, threshold), max(high, threshold))


def _declustering_level(footage: NormalFootage, highest: float) -> float:
    """The 90 % quantile of block maxima, or the largest value below a tie at the top.

    Raises:
        DataError: All opening levels are equal, so that there is nothing to extrapolate from.
    """
    seconds = footage.hours * SECONDS_PER_HOUR
    maxima = footage.block_maxima(float(np.clip(seconds / _BLOCKS, *_BLOCK_RANGE_S)))
    level = float(np.quantile(maxima, BLOCK_QUANTILE))
    if level < highest:
        return level
    below = _below(maxima, highest)
    if not below.size:
        below = _below(footage.levels, highest)
    if not below.size:
        raise DataError(
            f"the score of the normal footage never changes (it is {highest:g} for "
            f"{seconds:.0f} s), so no threshold can be extrapolated from it",
            mend="use normal footage with motion, and more of it",
        )
    return float(below.max())


def _below(values: NDArray[np.float64], limit: float) -> NDArray[np.float64]:
    return values[np.isfinite(values) & (values < limit)]
