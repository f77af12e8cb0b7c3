"""A bundle on the test part of a data set: from folder to `Evaluation`."""

from __future__ import annotations

import datetime
import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from edge.pipeline import Pipeline
from engines.bundle import Bundle
from trainer.assemble import versions
from trainer.datasets.clip import Dataset
from trainer.evaluation.clip_progress import ClipProgress
from trainer.evaluation.figures import (
    detection,
    event_figures,
    region_figures,
    timeline,
)
from trainer.evaluation.gallery import Gallery
from trainer.evaluation.protocol import FUSED, ClipScores, stream_clips
from trainer.evaluation.result import Evaluation, Pictures, Provenance, Speed
from trainer.evaluation.speed_baseline import build_speed_bundle

# Packages whose version may change a figure, beside those that `versions` names.
PICTURES_PER_SHELF = 4

OpenPipeline = Callable[[Bundle], Pipeline]


def evaluate_bundle(
    bundle: Bundle,
    dataset: Dataset,
    *,
    threads: int = 0,
    baseline: bool = True,
    pictures: int = PICTURES_PER_SHELF,
    open_pipeline: OpenPipeline | None = None,
    progress: ClipProgress | None = None,
) -> Evaluation:
    """Stream every test clip once through the bundle's pipeline and compare with the ground truth.

    Args:
        bundle: The detector.
        dataset: Its test clips are scored; its training clips fit the baseline only.
        threads: Threads of the networks; 0 lets the backend choose.
        baseline: Run the dense speed baseline over the same frames.
        pictures: Frames kept on each shelf of the gallery.
        open_pipeline: Opens a bundle; by default the pipeline of the runtime.
        progress: Is told about every frame.

    Raises:
        InputMissingError: The data set has no test clips, or a clip is not there.
        DataError: A clip cannot be read, or its ground truth does not fit its frames.
    """
    clips = dataset.require_test()
    opener = open_pipeline or (lambda one: Pipeline(one, threads=threads))
    gallery = Gallery(pictures)
    with ExitStack() as stack:
        pipeline = stack.enter_context(opener(bundle))
        other = None
        if baseline and dataset.train:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="vigil-speed-")))
            speed = build_speed_bundle(dataset.train, frame=bundle.model.frame, root=folder)
            other = stack.enter_context(opener(speed))
        scores = list(
            stream_clips(
                clips,
                pipeline,
                frame_spec=bundle.model.frame,
                gallery=gallery,
                baseline=other,
                progress=progress,
            )
        )
        ...
