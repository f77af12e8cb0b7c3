"""Frame scores of the test clips, of the fusion and of each stream: for figures of one's own."""

from __future__ import annotations

from dataclasses import replace

from edge.pipeline import Pipeline
from engines.bundle import Bundle
from trainer.datasets.clip import Clip, Dataset
from trainer.evaluation.clip_progress import ClipProgress
from trainer.evaluation.gallery import Gallery
from trainer.evaluation.metrics_region import RegionMetrics
from trainer.evaluation.protocol import ClipScores, stream_clips


def score_clips(
    bundle: Bundle, dataset: Dataset, *, threads: int = 0, progress: ClipProgress | None = None
) -> tuple[ClipScores, ...]:
    """Stream every test clip once, as `evaluate_bundle` does; no pictures, pixels or baseline.

    Args:
        bundle: The detector.
        dataset: Its test clips are scored. Masks are read only of clips without other labels.
        threads: Threads of the networks; 0 lets the backend choose.
        progress: Is told about every frame.

    Returns:
        One for each test clip, in the order of the data set.

    Raises:
        InputMissingError: The data set has no test clips, or a clip is not there.
        DataError: A clip cannot be read, or its ground truth does not fit its frames.
    """
    clips = [_without_masks(clip) for clip in dataset.require_test()]
    with Pipeline(bundle, threads=threads) as pipeline:
        return tuple(
            stream_clips(
                clips,
                pipeline,
                frame_spec=bundle.model.frame,
                gallery=Gallery(0),
                regions=RegionMetrics(),
                progress=progress,
            )
        )


def _without_masks(clip: Clip) -> Clip:
    return clip if clip.labels is None else replace(clip, mask_source=None)
