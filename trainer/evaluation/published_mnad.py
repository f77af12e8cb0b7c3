"""MNAD's frame scores as its paper takes them: for comparison with published numbers only.

    S_t = w minmax(PSNR_t) + (1 - w) (1 - minmax(D_t))          (high is normal)

with the smallest and largest value of the WHOLE test clip, so that no score is known before the
clip ends, and every clip is forced to hold a 0 and a 1. The first frames of a clip are left out,
all others of all clips go into one ROC. The memory may be written with test frames that look
regular (E_t below a limit) and is carried from one clip to the next, as in the authors' program.

Nothing of this can run live; the figures of a device come from `edge.pipeline`.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engines.errors import InputMissingError
from engines.model_spec import GateSpec
from trainer.checkpoint import load_state
from trainer.collect import observe_clip
from trainer.datasets.clip import Clip, Dataset
from trainer.evaluation.clip_progress import ClipProgress, SilentProgress
from trainer.evaluation.clip_truth import labels_of
from trainer.evaluation.metrics_frame import auc
from trainer.models.mnad import Mnad
from trainer.preset import Preset, load_preset
from trainer.preset_sections import StreamPreset
from trainer.run_directory import PRESET_NAME
from trainer.train_clip_stream import open_clip_model
from trainer.training_loop import CHECKPOINT_NAME

REGULAR_BELOW = {"prediction": 0.01, "reconstruction": 0.015}
"""Largest E_t of a frame that the memory may be written with, by variant; the authors'."""
ENCODER = "mnad"


@dataclass(frozen=True)
class FrameMeasures:
    """Two numbers a frame, float64 (n,), and the index of each frame in its clip, int64 (n,).

    `psnr` in dB for values in [0, 1]; `distance`: mean squared difference per value of the queries
    to their nearest items.
    """

    index: NDArray[np.int64]
    psnr: NDArray[np.float64]
    distance: NDArray[np.float64]


@dataclass(frozen=True)
class PublishedMnad:
    """Frame AUC over all test clips, 0 .. 1, and what it is over.

    Attributes:
        auc: With per-clip min-max.
        psnr_auc: Of the prediction error alone, as it is: nothing normalised, so a device has it.
        distance_auc: Of the distance to the nearest item alone, as it is.
        frames: Frames in the ROC.
        left_out: First frames of clips, which have no full clip behind them.
        updated: Frames that the memory was written with; None: writing was off.
    """

    auc: float
    psnr_auc: float
    distance_auc: float
    frames: int
    left_out: int
    updated: int | None


def anomaly_scores(measures: FrameMeasures, weight: float) -> NDArray[np.float64]:
    """1 - S_t of one whole clip, float64 (n,), in [0, 1]; high is anomalous."""
    regular = weight * _unit(measures.psnr) + (1.0 - weight) * (1.0 - _unit(measures.distance))
    return np.asarray(1.0 - regular)


def regular_score(error: Tensor) -> float:
    """E_t = sum(w e) / sum(w) with w = 1 - exp(-e), e: squared errors of values in [0, 1]."""
    weight = 1.0 - torch.exp(-error)
    total = float(weight.sum())
    return float((weight * error).sum()) / total if total > 0.0 else 0.0


@torch.no_grad()
def measure_clip(
    model: Mnad, clips: Iterator[tuple[int, Tensor]], *, update_below: float | None
) -> tuple[FrameMeasures, int]:
    """The two numbers of each frame of one test clip, and how many frames were written.

    Args:
        model: In evaluation mode; its memory changes if `update_below` is given.
        clips: Frame index and its clip, 1 x (frames x channels) x H x W in [0, 1].
        update_below: Largest E_t of a frame that the memory is written with; None: it is not.
    """
    index, psnr, distance = [], [], []
    written = 0
    for number, clip in clips:
        seen, target = model.split(clip)
        frame, queries, recall = model(seen)
        error = (0.5 * (frame - target)).square()  # of values in [0, 1]
        index.append(number)
        psnr.append(-10.0 * np.log10(max(float(error.mean()), 1e-10)))
        distance.append(float(recall.nearest.mean()) / queries.shape[1])
        if update_below is not None and regular_score(error) < update_below:
            model.memory.write(queries)
            written += 1
    return FrameMeasures(np.array(index, np.int64), np.array(psnr), np.array(distance)), written


def published_mnad(
    run: Path, dataset: Dataset, *, update: bool = True, progress: ClipProgress | None = None
) -> PublishedMnad:
    """Frame AUC of a trained run by the paper's protocol.

    Args:
        run: Run directory of `vigil train`.
        dataset: Its test clips are scored.
        update: Write the memory while testing, as the paper does.
        progress: Told about every frame.

    Raises:
        InputMissingError: The run has no such stream or is not trained, or there are no test clips.
        DataError: A clip, or its ground truth, cannot be read.
    """
    progress = progress or SilentProgress()
    preset, stream, model = load_mnad(run)
    limit = REGULAR_BELOW[preset.mnad.variant] if update else None
    scores: list[NDArray[np.float64]] = []
    plain: list[NDArray[np.float64]] = []
    labels: list[NDArray[np.bool_]] = []
    left_out = written = 0
    tests = dataset.require_test()
    for number, clip in enumerate(tests, start=1):
        progress.begin(clip.name, number=number, of=len(tests), frames=clip.frame_count)
        walk = _Walk(preset, stream, clip, progress)
        measures, more = measure_clip(model, iter(walk), update_below=limit)
        progress.end()
        truth = labels_of(clip, walk.frames)
        if truth is None or not len(measures.index):
            continue
        known = measures.index < len(truth)
        scores.append(anomaly_scores(measures, preset.mnad.error_weight)[known])
        plain.append(np.stack([-measures.psnr, measures.distance])[:, known])
        labels.append(truth[measures.index[known]])
        left_out += walk.left_out
        written += more
    truths = np.concatenate(labels)
    psnr_auc, distance_auc = (auc(truths, values) for values in np.concatenate(plain, 1))
    return PublishedMnad(
        auc=auc(truths, np.concatenate(scores)),
        psnr_auc=psnr_auc,
        distance_auc=distance_auc,
        frames=sum(map(len, scores)),
        left_out=left_out,
        updated=written if update else None,
    )


def load_mnad(run: Path) -> tuple[Preset, StreamPreset, Mnad]:
    """The recipe, the stream and the trained model of a run, in evaluation mode.

    Raises:
        InputMissingError: There is no such run, stream or checkpoint.
    """
    if not (run / PRESET_NAME).is_file():
        raise InputMissingError("no run directory of vigil train", where=str(run))
    preset = load_preset(str(run / PRESET_NAME))
    streams = [stream for stream in preset.streams if stream.encoder == ENCODER]
    if not streams:
        raise InputMissingError("the run has no stream with a memory", where=str(run))
    state = load_state(run / "streams" / streams[0].name / CHECKPOINT_NAME)
    if state is None or state.model is None:
        raise InputMissingError("the stream was not trained", where=str(run), mend="train it")
    model = open_clip_model(preset, streams[0], seed=preset.seed).model
    assert isinstance(model, Mnad)
    model.load_state_dict(state.model if state.stage == "done" else state.best or state.model)
    return preset, streams[0], copy.deepcopy(model).eval()


class _Walk:
    """One test clip: every frame with a full clip behind it, whether it moves or not."""

    def __init__(
        self, preset: Preset, stream: StreamPreset, clip: Clip, progress: ClipProgress
    ) -> None:
        self._preset, self._stream, self._clip = preset, stream, clip
        self._progress = progress
        self.frames = self.left_out = 0

    def __iter__(self) -> Iterator[tuple[int, Tensor]]:
        walk = observe_clip(
            self._clip,
            {"": self._stream.test_input()},
            frame=self._preset.frame,
            gate=GateSpec(enabled=False),
        )
        for _, cells, _ in walk:
            number = self.frames
            self.frames += 1
            self._progress.frame()
            if cells[""].warm_up:
                self.left_out += 1
                continue
            yield number, torch.from_numpy(cells[""].gather())


def _unit(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Smallest 0, largest 1; all 0 where they are the same."""
    low, high = float(values.min()), float(values.max())
    return (values - low) / (high - low) if high > low else np.zeros_like(values)
