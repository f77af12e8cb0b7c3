"""From trained streams to a bundle: statistics, trust, then the threshold.

Nothing here has a second implementation of a step: energies come from `edge.pipeline`, as they
will on the device. Statistics come from footage that a stream has not learned from, the threshold
from clips that neither the weights nor the statistics have seen.
"""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from calibration.alarm_rule import AlarmRule
from calibration.stream_statistics import StreamStatistics
from edge.commissioning.samples import EnergySamples
from edge.pipeline import Pipeline, StreamPipeline
from edge.runner import Runner
from engines.bundle import Bundle, replace_alarm, write_bundle
from engines.model_spec import MapSpec, ModelSpec, TrainingRecord
from trainer.energies import collect_energies
from trainer.normal_clip import NormalClip
from trainer.preset import Preset
from trainer.recalibrate import HOURS_PER_DAY, recalibrate
from trainer.remembered_answers import RememberedAnswers
from trainer.stream_parts import (
    StreamParts,
    Unseen,
    open_runner,
    stream_files,
    stream_spec,
    unseen_of,
)
from trainer.trust import UnseenPart, learn_trust

RECORDED_PACKAGES = ("vigil", "numpy", "onnxruntime", "opencv-python-headless", "torch")

Progress = Callable[[str], None]


def versions() -> dict[str, str]:
    """Versions of what has a part in the numbers; packages that are absent are left out."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def assemble_bundle(
    root: Path,
    *,
    preset: Preset,
    streams: Sequence[StreamParts],
    fit: Sequence[NormalClip],
    held_out: Sequence[NormalClip],
    threshold: Sequence[NormalClip],
    record: TrainingRecord,
    threads: int = 0,
    answers: RememberedAnswers | None = None,
    progress: Progress = lambda _: None,
) -> Bundle:
    """Fit statistics and threshold and write the bundle into `root`.

    Args:
        root: Bundle folder; an older bundle there is replaced.
        preset: The recipe.
        streams: The trained streams.
        fit: Clips that the weights have seen: statistics of streams without weights use them too.
        held_out: Clips for the statistics.
        threshold: Clips for the threshold.
        record: How the bundle came to be.
        threads: Threads of the networks; 0 lets the backend choose.
        answers: Of the networks, for the threshold; None: all are computed.
        progress: Told what is being done, in words.

    Raises:
        DataError: Nothing moves in the held-out clips, or a part does not fit.
        CannotCreateError: `root` cannot be written.
    """
    statistics, shapes = _statistics(preset, streams, fit, held_out, threads, progress)
    trust = None
    if preset.trust is not None:
        progress("trust: synthetic anomalies in footage that the heads have not learned from")
        trust = learn_trust(
            _unseen_parts(streams, fit, held_out, threads),
            statistics,
            preset=preset,
            settings=preset.trust,
            seed=record.seed,
            progress=progress,
        )
        weights = trust.weights
        streams = [
            dataclasses.replace(part, weight=weights[part.name])
            for part in streams
            # A stream on call that is not needed would only cost time on the device.
            if weights[part.name] or part.weight
        ]
    rows, columns = max((shapes[part.name] for part in streams), key=lambda s: s[0] * s[1])
    model = ModelSpec(
        name=preset.name,
        frame=preset.frame,
        gate=preset.gate,
        streams=tuple(stream_spec(part) for part in streams),
        map=MapSpec(rows=rows, columns=columns),
        fusion=preset.fusion,
        trust=None if trust is None else trust.record,
        training=record,
    )
    files = [file for part in streams for file in stream_files(part, statistics[part.name])]
    bundle = write_bundle(root, model=model, alarm=None, files=files)
    progress("threshold")
    rule = preset.calibration
    wrap = None if answers is None else answers.wrap(bundle)
    with Pipeline(bundle, threads=threads, wrap=wrap) as pipeline:
        alarm = recalibrate(
            pipeline,
            threshold,
            rule=AlarmRule(0.0, rule.open_frames, rule.close_s, rule.merge_s),
            false_alarms_per_day=rule.budget_per_hour * HOURS_PER_DAY,
            confidence=rule.confidence,
            seed=record.seed,
        )
    return replace_alarm(bundle, alarm)


def _unseen_parts(
    streams: Sequence[StreamParts],
    fit: Sequence[NormalClip],
    held_out: Sequence[NormalClip],
    threads: int,
) -> list[UnseenPart]:
    """Clips that some heads know nothing of, those with the same heads together."""
    groups: dict[tuple[int, ...], tuple[list[Unseen], list[NormalClip]]] = {}
    for number, clip in enumerate((*held_out, *fit)):
        found = [unseen_of(part, clip.name, held_out=number < len(held_out)) for part in streams]
        heads = [head for head in found if head is not None]
        if len(heads) == len(streams):
            key = tuple(id(head.arrays) for head in heads)
            groups.setdefault(key, (heads, []))[1].append(clip)

    def opener(heads: Sequence[Unseen]) -> Callable[[], list[Runner]]:
        return lambda: [
            open_runner(part, threads=threads, unseen=head)
            for part, head in zip(streams, heads, strict=True)
        ]

    return [UnseenPart(clips, opener(heads)) for heads, clips in groups.values()]


def _statistics(
    preset: Preset,
    streams: Sequence[StreamParts],
    fit: Sequence[NormalClip],
    held_out: Sequence[NormalClip],
    threads: int,
    progress: Progress,
) -> tuple[dict[str, StreamStatistics], dict[str, tuple[int, int]]]:
    """Statistics and size of the grid by stream.

    A stream that brings its energies out of sample is done; one that learned nothing takes all
    clips; the others take the clips that they have not seen.
    """
    brought = {part.name: part.learned.samples for part in streams if part.learned is not None}
    samples = {name: found for name, found in brought.items() if found is not None}
    kept = {part.name: EnergySamples() for part in streams if part.name not in samples}
    walks = (
        (held_out, [part for part in streams if part.name in kept]),
        (fit, [part for part in streams if part.learned is None]),
    )
    for clips, parts in walks:
        if parts:
            pipeline = _pipeline(preset, parts, threads)
            collect_energies(pipeline, clips, kept, progress)
            pipeline.close()
    samples |= {name: one.arrays() for name, one in kept.items()}
    grids = _pipeline(preset, streams, threads)
    shapes = grids.new_view().grids
    grids.close()
    statistics = {
        part.name: StreamStatistics.fit(
            *samples[part.name], shapes[part.name], pooling=part.pooling
        )
        for part in streams
    }
    return statistics, shapes


def _pipeline(preset: Preset, parts: Sequence[StreamParts], threads: int) -> StreamPipeline:
    runners = [open_runner(part, threads=threads) for part in parts]
    return StreamPipeline(frame=preset.frame, gate=preset.gate, runners=runners)
