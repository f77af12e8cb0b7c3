"""Detectors whose paper states a protocol of its own that can be followed: figures by it.

For comparison with published numbers only; what such a protocol needs (a whole clip before its
first score, say) no device has.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from trainer.datasets.clip import Dataset
from trainer.evaluation.clip_progress import ClipProgress
from trainer.evaluation.published_mnad import published_mnad
from trainer.preset import Preset

PROTOCOLS: Final[Mapping[str, Callable[[Path, Dataset, ClipProgress], float]]] = {
    "mnad": lambda run, dataset, progress: published_mnad(run, dataset, progress=progress).auc,
}
"""By the encoder of a preset's only stream: run directory, data set -> frame AUC, 0 .. 1."""


def paper_protocol_auc(
    run: Path, preset: Preset, dataset: Dataset, progress: ClipProgress
) -> float | None:
    """Frame AUC by the protocol of the detector's paper; None: it has none.

    Args:
        run: Run directory, trained.
        preset: What was trained there.
        dataset: Its test clips are scored.
        progress: Told about every frame.

    Raises:
        InputMissingError: The run is not trained, or there are no test clips.
        DataError: A clip, or its ground truth, cannot be read.
    """
    protocol = PROTOCOLS.get(preset.streams[0].encoder)
    if protocol is None or len(preset.streams) > 1:
        return None
    return protocol(run, dataset, progress)
