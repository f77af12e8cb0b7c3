"""What FP16 and INT8 cost: the same test clips in every precision that a bundle holds."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration.parity import rank_correlation
from edge.frames import Frame, ScoreMap
from edge.pipeline import Pipeline
from edge.view import View
from engines.backends.choose import AUTO, PRECISIONS
from engines.bundle import Bundle
from engines.errors import DataError
from engines.model_spec import Precision
from trainer.datasets.clip import Dataset
from trainer.evaluation.clip_progress import ClipProgress, SilentProgress
from trainer.evaluation.evaluate import evaluate_bundle
from trainer.evaluation.result import Evaluation

REFERENCE: Final[Precision] = "fp32"

Energies = dict[str, list[NDArray[np.float64]]]
"""By stream, for every frame: energies of its active cells, float64 (n,)."""
OpenProgress = Callable[[], AbstractContextManager[ClipProgress]]


@dataclass(frozen=True)
class PrecisionRow:
    """Figures of a bundle in one precision; AUC and EER as fractions.

    Attributes:
        precision: Of all networks.
        backends: What ran them, by stream.
        frame_auc: Frame level.
        frame_eer: Frame level.
        pixel_auc: Pixel level; None without masks.
        pixel_eer: Pixel level.
        rank: Spearman's rank correlation of the energies of all active cells of all test frames
            with those in FP32, by stream with a network; None in FP32 itself.
        ms_per_frame: Milliseconds of scoring a frame, reading not included.
    """

    precision: Precision
    backends: dict[str, str]
    frame_auc: float | None
    frame_eer: float | None
    pixel_auc: float | None
    pixel_eer: float | None
    rank: dict[str, float] | None
    ms_per_frame: float

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def compare_precisions(
    bundle: Bundle,
    dataset: Dataset,
    *,
    threads: int = 0,
    progress: OpenProgress = lambda: nullcontext(SilentProgress()),
) -> list[PrecisionRow]:
    """Evaluate the bundle in FP32, and in each other precision that all its networks have.

    Raises:
        DataError: No network, no FP32, a file that does not pass its gate, or a clip that cannot
            be read.
        InputMissingError: The data set has no test clips.
    """
    networks = [stream.network for stream in bundle.model.streams if stream.network is not None]
    held = [p for p in PRECISIONS if networks and all(p in one.files for one in networks)]
    if REFERENCE not in held:
        raise DataError(
            "the bundle has no network in fp32 to compare with"
            if networks
            else "the bundle has no network, so there is no precision to compare",
            where=str(bundle.root),
        )
    order: list[Precision] = [REFERENCE, *(p for p in held if p != REFERENCE)]
    for precision in order:
        # What its gate refuses is told now, not when the clips have been scored in the others.
        Pipeline(bundle, backend=f"{AUTO}/{precision}", threads=threads).close()
    rows = []
    reference: Energies = {}
    for precision in order:
        energies: Energies = {}
        found = _evaluate(bundle, dataset, precision, energies, threads, progress)
        reference = reference or energies
        ranks = {name: _rank(energies[name], reference[name]) for name in found.speed.backends}
        rows.append(_row(precision, found, None if precision == REFERENCE else ranks))
    return rows


def _evaluate(
    bundle: Bundle,
    dataset: Dataset,
    precision: Precision,
    energies: Energies,
    threads: int,
    progress: OpenProgress,
) -> Evaluation:
    with progress() as watch:
        return evaluate_bundle(
            bundle,
            dataset,
            threads=threads,
            baseline=False,
            pictures=0,
            open_pipeline=lambda one: _Recording(
                one, energies, backend=f"{AUTO}/{precision}", threads=threads
            ),
            progress=watch,
        )


class _Recording(Pipeline):
    """A pipeline that keeps the energies of what it scores."""

    def __init__(self, bundle: Bundle, energies: Energies, *, backend: str, threads: int) -> None:
        super().__init__(bundle, backend=backend, threads=threads)
        self._energies_of = energies

    def score(self, view: View, frame: Frame) -> ScoreMap:
        scored = super().score(view, frame)
        for name, stream in scored.streams.items():
            found = stream.energy
            self._energies_of.setdefault(name, []).append(found.energy[found.active])
        return scored


def _rank(found: list[NDArray[np.float64]], expected: list[NDArray[np.float64]]) -> float:
    return rank_correlation(np.concatenate(found), np.concatenate(expected))


def _row(precision: Precision, found: Evaluation, rank: dict[str, float] | None) -> PrecisionRow:
    frame, pixel, speed = found.detector.frame, found.detector.pixel, found.speed
    return PrecisionRow(
        precision=precision,
        backends=speed.backends,
        frame_auc=frame.auc,
        frame_eer=frame.eer,
        pixel_auc=pixel.auc,
        pixel_eer=pixel.eer,
        rank=rank,
        ms_per_frame=1000.0 * speed.score_s / max(speed.frames, 1),
    )
