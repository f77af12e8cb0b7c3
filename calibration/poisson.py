"""Exact confidence limits for a Poisson rate from a count (Garwood 1936), without scipy.

The upper limit at level 1 - d for `count` events is the mean for which so few or fewer have
probability d; it equals chi2inv(1 - d, 2 count + 2) / 2 (method section 4, threshold step 1).
"""

from __future__ import annotations

import math

from engines.errors import DataError


def poisson_upper_limit(count: int, confidence: float) -> float:
    """One-sided upper limit on the mean number of events, given that `count` were seen.

    Raises:
        DataError: A negative count, or a confidence outside (0, 1).
    """
    _check(count, confidence)
    return _mean_with_log_cdf(count, math.log1p(-confidence))


def poisson_lower_limit(count: int, confidence: float) -> float:
    """One-sided lower limit on the mean number of events; 0 when none was seen.

    Raises:
        DataError: A negative count, or a confidence outside (0, 1).
    """
    _check(count, confidence)
    return 0.0 if count == 0 else _mean_with_log_cdf(count - 1, math.log(confidence))


def poisson_interval(count: int, confidence: float) -> tuple[float, float]:
    """Central two-sided interval: each limit at (1 + confidence) / 2.

    Raises:
        DataError: A negative count, or a confidence outside (0, 1).
    """
    side = (1.0 + confidence) / 2.0
    return poisson_lower_limit(count, side), poisson_upper_limit(count, side)


def most_events_within(mean: float, confidence: float) -> int | None:
    """Largest count whose upper limit does not exceed `mean`; None if not even 0 events suffice.

    Raises:
        DataError: A confidence outside (0, 1).
    """
    if poisson_upper_limit(0, confidence) > mean:
        return None
    # The upper limit of a count lies above the count, so the answer lies below `mean`.
    low, high = 0, int(mean) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if poisson_upper_limit(middle, confidence) <= mean:
            low = middle
        else:
            high = middle
    return low


def _check(count: int, confidence: float) -> None:
    if count < 0 or not 0.0 < confidence < 1.0:
        raise DataError(
            f"a Poisson limit needs a count of at least 0 and a confidence between 0 and 1, "
            f"found {count} and {confidence}"
        )


def _log_cdf(count: int, mean: float) -> float:
    """Log of the probability of at most `count` events; the sum runs down from its largest term."""
    top = min(count, int(mean))
    largest = top * math.log(mean) - mean - math.lgamma(top + 1)
    total, term = 0.0, 1.0
    for i in range(top, -1, -1):
        total += term
        term *= i / mean
        if term < 1e-18 * total:
            break
    term = 1.0
    for i in range(top + 1, count + 1):
        term *= mean / i
        total += term
        if term < 1e-18 * total:
            break
    return largest + math.log(total)


def _mean_with_log_cdf(count: int, log_probability: float) -> float:
    """The mean at which `_log_cdf(count, mean)`, which falls with the mean, has that value."""
    low, high = 0.0, count + 1.0
    while _log_cdf(count, high) > log_probability:
        high *= 2.0
    while high - low > 1e-13 * high:
        middle = (low + high) / 2.0
        if middle in (low, high):
            break
        if _log_cdf(count, middle) > log_probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2.0
