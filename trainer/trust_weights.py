"""Weights for streams from what they saw of planted anomalies: a pure decision.

A planted thing counts as seen by the highest fused value on it, against the highest value anywhere
in frames without one: an alarm elsewhere does not help.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

# The difference of two mean AUCs over 27 planted clips has a standard error of 0.01 to 0.025 (on
# training clips of UCSD Ped2): less than this is no reason to leave the preset's weights. Nor is it
# more than a fusion may lose to the better of its streams.
TIE = 0.02
CHANCE = 0.5

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class SeenClip:
    """One synthetic clip as the streams saw it.

    Attributes:
        kind: Kind of its anomaly; "" for footage as it is.
        planted: bool, T: the planted thing is well in the picture.
        values: float32, S x T x rows x columns: value of each stream.
        has: bool, same shape: where a stream has a value.
        on: bool, T x rows x columns: cells on or beside the planted thing.
    """

    kind: str
    values: Maps
    has: NDArray[np.bool_]
    on: NDArray[np.bool_]
    planted: NDArray[np.bool_]


def choose_weights(
    clips: Sequence[SeenClip], prior: tuple[float, ...], step: float
) -> tuple[tuple[float, ...], dict[tuple[float, ...], dict[str, float]]]:
    """The weights with the best mean AUC over the kinds, and every candidate's AUC by kind.

    Among weights that are as good those win that do without the streams of weight 0 in the preset,
    which are there for scenes that need them; then the nearest to the preset's: weights move only
    for a clear gain.
    Without clips, or where no frame is without an anomaly, or where no stream alone ranks any kind
    better than chance, nothing can be learned and the prior stays.

    Args:
        clips: What the streams saw.
        prior: The preset's weights.
        step: Candidates are all weights in steps of this size; single streams are among them.
    """
    if not clips or not any((~clip.on.any(axis=(1, 2))).any() for clip in clips):
        return prior, {}
    tried = {candidate: auc_by_kind(clips, candidate) for candidate in _simplex(len(prior), step)}
    singles = [tuple(float(i == stream) for i in range(len(prior))) for stream in range(len(prior))]
    alone = [tried[single] for single in singles]
    if max((auc for by_kind in alone for auc in by_kind.values()), default=0.0) <= CHANCE:
        return prior, tried
    mean = {weights: float(np.mean(list(by_kind.values()))) for weights, by_kind in tried.items()}
    best = max(mean.values())
    good = [weights for weights, value in mean.items() if value >= best - TIE]
    on_call = np.array(prior) == 0.0

    def change(weights: tuple[float, ...]) -> tuple[float, float, tuple[float, ...]]:
        moved = np.subtract(weights, prior)
        return round(float(moved[on_call].sum()), 9), float(np.square(moved).sum()), weights

    return min(good, key=change), tried


def auc_by_kind(clips: Sequence[SeenClip], weights: tuple[float, ...]) -> dict[str, float]:
    """Frame AUC (0 to 1) of each kind of anomaly under these weights; see the module's docstring.

    Frames without an anomaly are pooled over all clips.
    """
    share = np.array(weights, np.float32)[:, None, None, None]
    normal: list[NDArray[np.float32]] = []
    planted: dict[str, list[NDArray[np.float32]]] = {}
    for clip in clips:
        weight = (share * clip.has).sum(0)
        total = (share * clip.has * clip.values).sum(0)
        fused = np.divide(total, weight, out=np.zeros_like(total), where=weight > 0.0)
        if not len(clip.planted):
            continue
        quiet_frames = ~clip.on.any(axis=(1, 2))
        normal.append(fused[quiet_frames].max(axis=(1, 2)))
        on_it = np.where(clip.on, fused, 0.0)[clip.planted].max(axis=(1, 2))
        planted.setdefault(clip.kind, []).append(on_it)
    quiet = np.concatenate(normal)
    return {
        kind: _auc(np.concatenate(loud), quiet)
        for kind, loud in planted.items()
        if sum(map(len, loud))
    }


def _auc(positive: NDArray[np.float32], negative: NDArray[np.float32]) -> float:
    """Share of pairs in the right order; ties count half (Mann and Whitney)."""
    ranks = rankdata(np.concatenate([positive, negative]))[: len(positive)]
    wins = ranks.sum() - len(positive) * (len(positive) + 1) / 2
    return float(wins / (len(positive) * len(negative)))


def _simplex(streams: int, step: float) -> Iterator[tuple[float, ...]]:
    count = round(1.0 / step)
    for parts in product(range(count + 1), repeat=streams - 1):
        if sum(parts) <= count:
            whole = (*parts, count - sum(parts))
            yield tuple(part / count for part in whole)
