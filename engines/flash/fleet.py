"""The same work on several devices: a canary, then several at once; none after a failure."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from engines.errors import UsageError
from engines.flash.report import Report

Work = Callable[[str], Report]


@dataclass(frozen=True)
class Waves:
    """How a fleet is gone through.

    Attributes:
        canary: So many devices come first, one after the other.
        parallel: So many of the others at once.
        max_failures: With more failures than this no further device is begun.
        soak_s: Pause between the canary and the others.
    """

    canary: int = 1
    parallel: int = 8
    max_failures: int = 0
    soak_s: float = 0.0


def go_through(
    targets: Sequence[str],
    work: Work,
    waves: Waves,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> list[Report]:
    """Do `work` on every target; reports in the order of the targets.

    A device that was begun is always ended; those that were not are reported as ``not_tried``.

    Raises:
        UsageError: A device is named twice.
    """
    twice = {target for target in targets if list(targets).count(target) > 1}
    if twice:
        raise UsageError(f"{', '.join(sorted(twice))} is named twice", mend="name each device once")
    lock, failures = threading.Lock(), 0

    def one(target: str) -> Report:
        nonlocal failures
        with lock:
            if failures > waves.max_failures:
                reason = "not begun, because another device failed"
                return Report(target, "not_tried", reason=reason)
        report = work(target)
        if not report.well:
            with lock:
                failures += 1
        return report

    canaries = list(targets[: waves.canary]) if len(targets) > 1 else []
    rest = list(targets[len(canaries) :])
    reports = [one(target) for target in canaries]
    if canaries and rest and waves.soak_s and all(report.well for report in reports):
        sleep(waves.soak_s)
    with ThreadPoolExecutor(max_workers=max(1, waves.parallel)) as pool:
        reports += list(pool.map(one, rest))
    return reports
