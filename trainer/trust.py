"""How far each stream can be trusted in a scene: weights learned, with their reason.

Which stream sees anything changes with the scene, and a fixed mean follows the worse one. So
synthetic anomalies are planted into normal footage that the streams have not learned from, and the
weights are taken that tell most of them from that footage. No labelled clip is looked at.

All footage but the threshold's takes part: each clip is seen by heads that were learned without it.
One or two clips are not enough, as the one person in them who happens to run decides.

What is compared are the frames that show the planted thing with frames without one: a part of each
clip as it is, and the beginning of each planted one; the first second of each, when means over time
are still short, is left out. How weights follow from that: `trainer.trust_weights`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from calibration.stream_statistics import StreamStatistics
from edge.frames import Frame
from edge.pipeline import StreamPipeline
from edge.runner import Runner
from edge.scoring.fusion import stream_value
from engines.model_spec import TrustRecord
from trainer.clip_split import ClipSection, count_frames
from trainer.normal_clip import NormalClip
from trainer.patch_store import spread
from trainer.preset import Preset
from trainer.preset_sections import TrustPreset
from trainer.synthetic import make_synthetic_clips
from trainer.trust_weights import SeenClip, choose_weights

# Clips whose middle is looked at as it is: more normal footage makes the measurement no better, and
# what the streams saw of it is kept until the end.
MOST_QUIET_CLIPS = 60
# A cell belongs to the planted thing if this part of it is covered.
_COVERED = 0.2
_WARM_UP_S = 1.0
# A frame counts as planted if the thing shows at least this part of its largest area in the clip.
_SHOWN = 0.5
_NEIGHBOURS = np.ones((3, 3), np.uint8)


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
    quiet = {id(footage[place]) for place in spread(len(footage), MOST_QUIET_CLIPS).tolist()}
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
            if id(clip) not in quiet:
                continue
            section = _middle(clip, settings.seconds)
            progress(f"trust: {section.name}")
            with section.open() as source:
                as_it_is = ((frame, None) for frame in source)
                seen.append(_watch(pipeline, "", as_it_is, statistics, preset))
        pipeline.close()
    names = list(prior)
    chosen, tried = choose_weights(seen, tuple(prior[name] for name in names), settings.step)
    alone = {name: tried.get(tuple(float(other == name) for other in names), {}) for name in names}
    weights = dict(zip(names, chosen, strict=True))
    record = TrustRecord(
        reason=_reason(weights, alone, len(made.clips)),
        clips=len(made.clips),
        frames=sum(clip.on.shape[0] for clip in seen),
        streams={name: _rounded(by_kind) for name, by_kind in alone.items()},
        # The preset's own weights may lie between two steps; where they stay, they are not tried.
        fused=_rounded(tried.get(chosen, {})),
        left_out=made.left_out,
    )
    return Trust(weights, record)


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
