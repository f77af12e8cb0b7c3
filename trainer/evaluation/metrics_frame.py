"""Frame-level detection: ROC, area under it, equal error rate, mean over clips.

Method section 5. Scores are high where anomalous. Micro figures come from one ROC over the frames
of all clips, as they are; nothing is normalised here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.errors import DataError


@dataclass(frozen=True)
class Roc:
    """A receiver operating characteristic with one point per distinct score.

    Attributes:
        thresholds: float64, P, falling from infinity; a frame with score >= threshold is detected.
        false_positive: float64, P, rising from 0 to 1: share of normal frames detected.
        true_positive: float64, P, rising from 0 to 1: share of anomalous frames detected.
    """

    thresholds: NDArray[np.float64]
    false_positive: NDArray[np.float64]
    true_positive: NDArray[np.float64]

    @property
    def auc(self) -> float:
        """Area under the curve; equal scores of both classes count half."""
        steps = np.diff(self.false_positive)
        middles = (self.true_positive[1:] + self.true_positive[:-1]) / 2.0
        return float(np.clip(np.sum(steps * middles), 0.0, 1.0))

    @property
    def eer(self) -> float:
        """False positive rate where it equals 1 - true positive rate, linear between points."""
        # From -1 to 1, strictly rising: each point has at least one frame more than the one before.
        balance = self.false_positive + self.true_positive - 1.0
        after = int(np.argmax(balance >= 0.0))
        before = after - 1
        part = -balance[before] / (balance[after] - balance[before])
        step = self.false_positive[after] - self.false_positive[before]
        return float(self.false_positive[before] + part * step)


@dataclass(frozen=True)
class MacroAuc:
    """Mean frame AUC over the clips that have both classes, and how many those are.

    `auc` is None where there is no such clip.
    """

    auc: float | None
    clips: int


def roc(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> Roc:
    """ROC of N frames.

    Args:
        labels: bool, N, True where anomalous.
        scores: N finite scores.

    Raises:
        DataError: Unequal lengths, scores that are not finite, or one class only.
    """
    labels, values = _checked(labels, scores)
    anomalous = int(labels.sum())
    normal = labels.size - anomalous
    if not anomalous or not normal:
        raise DataError(
            f"a ROC needs normal and anomalous frames, found {normal} and {anomalous}",
            mend="evaluate on footage that has both, with ground truth",
        )
    order = np.argsort(-values, kind="stable")
    ordered = values[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0.0, True))  # of each group of equal scores
    hits = np.cumsum(labels[order])[last]
    alarms = last + 1
    return Roc(
        thresholds=np.concatenate([[np.inf], ordered[last]]),
        false_positive=np.concatenate([[0.0], (alarms - hits) / normal]),
        true_positive=np.concatenate([[0.0], hits / anomalous]),
    )


def auc(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Area under the ROC: chance that an anomalous frame outscores a normal one, ties half.

    Raises:
        DataError: As `roc`.
    """
    return roc(labels, scores).auc


def eer(labels: NDArray[np.bool_], scores: NDArray[np.floating]) -> float:
    """Equal error rate, see `Roc.eer`.

    Raises:
        DataError: As `roc`.
    """
    return roc(labels, scores).eer


def macro(clips: Iterable[tuple[NDArray[np.bool_], NDArray[np.floating]]]) -> MacroAuc:
    """Mean of the clips' own AUCs; clips with one class are left out, nothing is added to them.

    Raises:
        DataError: Unequal lengths or scores that are not finite.
    """
    areas = []
    for clip in clips:
        labels, scores = _checked(*clip)
        if labels.any() and not labels.all():
            areas.append(auc(labels, scores))
    return MacroAuc(float(np.mean(areas)) if areas else None, len(areas))


def _checked(
    labels: NDArray[np.bool_], scores: NDArray[np.floating]
) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    labels = np.asarray(labels)
    values = np.asarray(scores, dtype=np.float64)
    if labels.dtype != np.bool_ or labels.ndim != 1 or labels.shape != values.shape:
        raise DataError(
            f"metrics need one bool label per score, found labels {labels.dtype} {labels.shape} "
            f"and scores {values.shape}"
        )
    if not np.isfinite(values).all():
        bad = int(np.count_nonzero(~np.isfinite(values)))
        raise DataError(f"{bad} of {values.size} scores are not finite numbers")
    return labels, values
