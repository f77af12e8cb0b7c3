"""How far each stream can be trusted in a scene: weights learned, with their reason.

Which stream sees anything changes with the scene, and a fixed mean follows the worse one. So
synthetic anomalies are planted into normal footage that the streams have not learned from, and the
weights are taken that tell most of them from that footage. No labelled clip is looked at.

All footage but the threshold's takes part: each clip is seen by heads that were learned without it.
One or two clips are not enough, as the one person in them who happens to run decides.

A planted thing counts as seen by the highest fused value on it, against the highest value anywhere
in frames without one: an alarm elsewhere does not help. Those frames are a part of each clip as it
is, and the beginning of each planted one; the first second of each, when means over time are still
short, is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from calibration.stream_statistics import StreamStatistics
from edge.frames import Frame
from edge.pipeline import StreamPipeline
from edge.runner import Runner
from edge.scoring.fusion import stream_value
from engines.model_spec import TrustRecord
from trainer.clip_split import ClipSection, count_frames
from trainer.normal_clip import NormalClip
from trainer.preset import Preset
from trainer.preset_sections import TrustPreset
from trainer.synthetic import make_synthetic_clips

# The difference of two mean AUCs over 27 planted clips has a standard error of 0.01 to 0.025 (on
# training clips of UCSD Ped2): less than this is no reason to leave the preset's weights. Nor is it
# more than a fusion may lose to the better of its streams.
TIE = 0.02
CHANCE = 0.5
# A cell belongs to the planted thing if this part of it is covered.
_COVERED = 0.2
_WARM_UP_S = 1.0
# A frame counts as planted if the thing shows at least this part of its largest area in the clip.
_SHOWN = 0.5
_NEIGHBOURS = np.ones((3, 3), np.uint8)

Maps = NDArray[np.float32]


@dataclass(frozen=True)
class UnseenPart:
    """Part of the footage, and the streams with heads that have not learned from it.

    Attributes:
        clips: Normal footage.
        open: Opens the streams; the same ones in each part.
    """

    clips: Sequence[NormalClip]
    open: Callable[[], Sequence[Runner]]


@dataclass(frozen=True)
class Trust:
    """Weights by stream name, summing to 1, and what they rest on."""

    weights: dict[str, float]
    record: TrustRecord


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


def learn_trust(
    parts: Sequence[UnseenPart],
    statistics: Mapping[str, StreamStatistics],
    *,
    preset: Preset,
    settings: TrustPreset,
    seed: int,
    progress: Callable[[str], None] = lambda _: None,
) -> Trust:
    """Weights for the streams of a scene.

    Args:
        parts: At least one; anomalies are planted into all of them, with things that move in any.
        statistics: By stream name.
        preset: Frame, gate and fusion; its weights stay where nothing can be learned.
        settings: How many clips, and how fine.
        seed: Same seed, same synthetic clips.
        progress: Told what is being done, in words.

    Raises:
        DataError: A clip cannot be read.
    """
    footage = [clip for part in parts for clip in part.clips]
    made = make_synthetic_clips(
        footage, per_kind=settings.per_kind, seconds=settings.seconds, seed=seed
    )
    seen: list[SeenClip] = []
    prior: dict[str, float] = {}
    for part in parts:
        runners = part.open()
        prior = {runner.spec.name: runner.spec.weight for runner in runners}
        pipeline = StreamPipeline(
            frame=preset.frame, gate=preset.gate, runners=runners, statistics=statistics
        )
        for planted in made.clips:
            if any(planted.section.clip is clip for clip in part.clips):
                progress(f"trust: {planted.name}")
                seen.append(_watch(pipeline, planted.kind, planted.pairs(), statistics, preset))
        for clip in part.clips if made.clips else ():
            section = _middle(clip, settings.seconds)
            progress(f"trust: {section.name}")
            with section.open() as source:
                quiet = ((frame, None) for frame in source)
                seen.append(_watch(pipeline, "", quiet, statistics, preset))
        pipeline.close()
    names = list(prior)
    chosen, tried = choose_weights(seen, tuple(prior[name] for name in names), settings.step)
    alone = {
        name: tried[tuple(float(other == name) for other in names)] if seen else {}
        for name in names
    }
    weights = dict(zip(names, chosen, strict=True))
    record = TrustRecord(
        reason=_reason(weights, alone, len(made.clips)),
        clips=len(made.clips),
        frames=sum(clip.on.shape[0] for clip in seen),
        streams={name: _rounded(by_kind) for name, by_kind in alone.items()},
        fused=_rounded(tried[chosen]) if seen else {},
        left_out=made.left_out,
    )
    return Trust(weights, record)


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
    if max(auc for by_kind in alone for auc in by_kind.values()) <= CHANCE:
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


def _middle(clip: NormalClip, seconds: float) -> ClipSection:
    length = count_frames(clip)
    part = min(length, round(seconds * clip.fps))
    start = (length - part) // 2
    return ClipSection(clip, start, start + part)


def _watch(
    pipeline: StreamPipeline,
    kind: str,
    pairs: Iterable[tuple[Frame, NDArray[np.bool_] | None]],
    statistics: Mapping[str, StreamStatistics],
    preset: Preset,
) -> SeenClip:
    view = pipeline.new_view()
    shape = view.map_shape
    values, has, on, area = [], [], [], []
    for frame, mask in pairs:
        scores = pipeline.stream_scores([(view, frame)])[0]
        if frame.time_s < _WARM_UP_S:
            continue
        both = [
            stream_value(
                scores[spec.name],
                smoothed=spec.carry_s > 0.0 or spec.blur_cells > 0.0,
                smallest=statistics[spec.name].smallest_energy,
                fusion=preset.fusion,
                shape=shape,
            )
            for spec in pipeline.specs
        ]
        values.append([value for value, _ in both])
        has.append([known for _, known in both])
        on.append(_cells(mask, shape))
        area.append(0 if mask is None else int(mask.sum()))
    largest = max(area, default=0)
    full = (-1, len(pipeline.specs), *shape)
    return SeenClip(
        kind=kind,
        values=np.moveaxis(np.array(values, np.float32).reshape(full), 1, 0),
        has=np.moveaxis(np.array(has, np.bool_).reshape(full), 1, 0),
        on=np.array(on, np.bool_).reshape(-1, *shape),
        planted=np.array([0 < now >= _SHOWN * largest for now in area], np.bool_),
    )


def _cells(mask: NDArray[np.bool_] | None, shape: tuple[int, int]) -> NDArray[np.bool_]:
    if mask is None or not mask.any():
        return np.zeros(shape, np.bool_)
    size = (shape[1], shape[0])
    covered = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    # A small thing covers no cell by much; the cell that it covers most is its own.
    inside = (covered >= min(_COVERED, float(covered.max()))).astype(np.uint8)
    return np.asarray(cv2.dilate(inside, _NEIGHBOURS), dtype=np.bool_)


def _reason(
    weights: Mapping[str, float], alone: Mapping[str, Mapping[str, float]], clips: int
) -> str:
    if not clips or not all(alone.values()):
        return "nothing could be planted into this footage; the weights are the preset's"
    parts = [
        f"{name} {weights[name]:.2f} (alone it tells {np.mean(list(alone[name].values())):.2f} of "
        f"pairs apart, best at {max(alone[name], key=lambda kind: alone[name][kind])})"
        for name in weights
    ]
    return f"learned on {clips} clips with planted anomalies: " + ", ".join(parts)


def _rounded(by_kind: Mapping[str, float]) -> dict[str, float]:
    return {kind: round(auc, 4) for kind, auc in by_kind.items()}
