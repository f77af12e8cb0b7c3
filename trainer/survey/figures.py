"""From the scores of a place's test clips to its figures, as they are stored.

The headline is pooled: the anomalous frames of one kind against the normal frames of all clips of
the place. One threshold holds for all of a camera's day, so a score whose level differs from clip
to clip must not look good; against the normal frames of its own clip alone it would.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import AlarmSpec, Strict
from trainer.evaluation.metrics_event import SECONDS_PER_HOUR, event_detection, frame_period_s
from trainer.evaluation.metrics_frame import auc
from trainer.evaluation.protocol import FUSED, ClipScores
from trainer.survey.places import Place

SCHEMA: Final = 1
# The fusion is behind where its AUC is lower than the better stream's by more than this.
BEHIND = 0.02


class Aucs(Strict):
    """Frame AUC (0 to 1) of the fusion and of each stream alone; None where a class is missing."""

    fused: float | None
    streams: dict[str, float | None]

    @property
    def best(self) -> tuple[str, float] | None:
        """The best stream and its AUC; known only afterwards."""
        known = [(name, value) for name, value in self.streams.items() if value is not None]
        return max(known, key=lambda item: item[1]) if known else None

    @property
    def margin(self) -> float | None:
        """AUC of the fusion minus that of the best stream."""
        return None if self.fused is None or self.best is None else self.fused - self.best[1]


class KindFigures(Strict):
    """One kind of anomaly, which is one test clip.

    Attributes:
        kind: The anomaly.
        clip: Name of the clip.
        frames: Its frames.
        anomalous: Those that show the anomaly.
        pooled: Against the normal frames of all clips of the place.
        within: Against the normal frames of this clip.
        events: Anomalous events in the clip.
        found: Events that an alarm at the bundle's threshold found; None without a threshold.
        delay_s: Median delay of those found; None if none was.
        false_alarms: Alarms on no event; None without a threshold.
        normal_s: Seconds of normal frames.
    """

    kind: str
    clip: str
    frames: int
    anomalous: int
    pooled: Aucs
    within: Aucs
    events: int | None
    found: int | None
    delay_s: float | None
    false_alarms: int | None
    normal_s: float


class PlaceFigures(Strict):
    """A place that was measured: the content of `figures.json`.

    Attributes:
        place: What was rendered.
        preset: Name of the recipe.
        recipe: Digest of the resolved preset and the place: what must agree to be taken again.
        bundle: Digest of the bundle.
        kinds: One for each kind, in the place's order.
        mean: Mean of `pooled` over the kinds, each with the same weight.
        overall: All anomalous frames together, as `vigil evaluate` counts them.
        threshold: The bundle's; None if it has none.
        weights: Weight of each stream in the fusion.
        reason: Why the streams have these weights.
        trained_s: Seconds of the training.
        scored_fps: Frames per second from file to score.
    """

    schema_version: Literal[1] = SCHEMA
    place: Place
    preset: str
    recipe: str
    bundle: str
    kinds: tuple[KindFigures, ...]
    mean: Aucs
    overall: Aucs
    threshold: float | None
    weights: dict[str, float]
    reason: str
    trained_s: float
    scored_fps: float | None

    @property
    def behind(self) -> bool:
        """Over all kinds the fusion is more than `BEHIND` worse than the better stream."""
        margin = self.mean.margin
        return margin is not None and margin < -BEHIND

    @property
    def events(self) -> Events | None:
        """Events and false alarms over all kinds; None without a threshold."""
        return total_events(self.kinds)


@dataclass(frozen=True)
class Events:
    """Alarms against the truth over several clips; `normal_s`: seconds of normal frames."""

    found: int
    total: int
    delay_s: float | None
    false_alarms: int
    normal_s: float

    @property
    def false_per_hour(self) -> float | None:
        """False alarms per hour of normal footage; None where there is none."""
        return self.false_alarms / self.normal_s * SECONDS_PER_HOUR if self.normal_s else None


def total_events(kinds: Iterable[KindFigures]) -> Events | None:
    """Sums over clips, and the median of their delays; None if none was judged."""
    judged = [kind for kind in kinds if kind.found is not None]
    if not judged:
        return None
    delays = [kind.delay_s for kind in judged if kind.delay_s is not None]
    return Events(
        found=sum(kind.found or 0 for kind in judged),
        total=sum(kind.events or 0 for kind in judged),
        delay_s=float(np.median(delays)) if delays else None,
        false_alarms=sum(kind.false_alarms or 0 for kind in judged),
        normal_s=sum(kind.normal_s for kind in judged),
    )


def place_figures(
    place: Place, bundle: Bundle, clips: Sequence[ClipScores], *, recipe: str
) -> PlaceFigures:
    """Figures of a place.

    Args:
        place: Its kinds are in the order of the clips.
        bundle: What scored the clips.
        clips: One for each kind.
        recipe: See `PlaceFigures`.

    Raises:
        DataError: The clips are not those of the place, or have no labels.
    """
    if len(clips) != len(place.kinds):
        raise DataError(f"{len(clips)} test clips where the place has {len(place.kinds)} kinds")
    names = [stream.name for stream in bundle.model.streams]
    kinds = tuple(
        kind_figures(kind, clip, clips, names, bundle.alarm)
        for kind, clip in zip(place.kinds, clips, strict=True)
    )
    seconds = sum(clip.read_s + clip.score_s for clip in clips)
    trust = bundle.model.trust
    return PlaceFigures(
        place=place,
        preset=bundle.model.name,
        recipe=recipe,
        bundle=bundle.digest,
        kinds=kinds,
        mean=mean_aucs([kind.pooled for kind in kinds]),
        overall=aucs(clips, clips, names),
        threshold=None if bundle.alarm is None else bundle.alarm.threshold,
        weights={stream.name: stream.weight for stream in bundle.model.streams},
        reason="the preset's weights; none were learned" if trust is None else trust.reason,
        trained_s=bundle.model.training.seconds,
        scored_fps=sum(clip.frames for clip in clips) / seconds if seconds > 0.0 else None,
    )


def kind_figures(
    kind: str,
    clip: ClipScores,
    clips: Sequence[ClipScores],
    streams: Sequence[str],
    alarm: AlarmSpec | None,
) -> KindFigures:
    """Figures of the clip of one kind among all `clips` of the place.

    Raises:
        DataError: A clip has no labels, or a score is not a number.
    """
    labels = _labels(clip)
    events = None
    if alarm is not None:
        events = event_detection([(clip.times, clip.tracks[FUSED].frame, labels)], alarm)
    delays = () if events is None else events.delay_s
    return KindFigures(
        kind=kind,
        clip=clip.clip.name,
        frames=labels.size,
        anomalous=int(labels.sum()),
        pooled=aucs([clip], clips, streams),
        within=aucs([clip], [clip], streams),
        events=None if events is None else events.total,
        found=None if events is None else events.found,
        delay_s=float(np.median(delays)) if delays else None,
        false_alarms=None if events is None else events.false_alarms,
        normal_s=frame_period_s(clip.times) * int((~labels).sum()),
    )


def aucs(
    anomalous: Sequence[ClipScores], normal: Sequence[ClipScores], streams: Sequence[str]
) -> Aucs:
    """Anomalous frames of some clips against normal frames of others, or of the same.

    Raises:
        DataError: A clip has no labels, or a score is not a finite number.
    """

    def of(track: str) -> float | None:
        high, low = _frames(anomalous, track, shown=True), _frames(normal, track, shown=False)
        if not high.size or not low.size:
            return None
        labels = np.concatenate([np.ones(high.size, np.bool_), np.zeros(low.size, np.bool_)])
        return auc(labels, np.concatenate([high, low]))

    return Aucs(fused=of(FUSED), streams={name: of(name) for name in streams})


def mean_aucs(parts: Sequence[Aucs]) -> Aucs:
    """Mean of each score over the parts where it is defined."""
    names = list(dict.fromkeys(name for part in parts for name in part.streams))
    return Aucs(
        fused=mean_of(part.fused for part in parts),
        streams={name: mean_of(part.streams.get(name) for part in parts) for name in names},
    )


def mean_of(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are there, None if none is."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _frames(clips: Sequence[ClipScores], track: str, *, shown: bool) -> NDArray[np.float64]:
    return np.concatenate([clip.tracks[track].frame[_labels(clip) == shown] for clip in clips])


def _labels(clip: ClipScores) -> NDArray[np.bool_]:
    if clip.labels is None:
        raise DataError("this test clip has no labels", where=str(clip.clip.path))
    return clip.labels
