"""Frame AUC after min-max by clip: how many published figures are computed, for comparison only.

It needs a whole clip before its first score, makes every clip hold a 0 and a 1, and so uses that
nearly every test clip has an anomaly. No device can work so, and no headline figure here does.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from trainer.evaluation.metrics_frame import roc
from trainer.evaluation.result import ClipTimeline


def clip_normalised_auc(timelines: Sequence[ClipTimeline]) -> float | None:
    """One ROC over all frames, each clip's scores mapped to [0, 1] first (a constant clip to 0).

    Returns:
        A fraction; None where not both classes are there. Clips without ground truth do not count.
    """
    scores, labels = [], []
    for clip in timelines:
        if clip.truth is None or not len(clip.score):
            continue
        low, high = float(clip.score.min()), float(clip.score.max())
        scores.append((clip.score - low) / (high - low) if high > low else 0.0 * clip.score)
        anomalous = np.zeros(len(clip.index), np.bool_)
        for first, end in clip.truth:
            anomalous |= (clip.index >= first) & (clip.index < end)
        labels.append(anomalous)
    together = np.concatenate(labels) if labels else np.zeros(0, np.bool_)
    if not together.any() or together.all():
        return None
    return roc(together, np.concatenate(scores)).auc
