"""From the features of clips to the points that are learned from, and back to the footage."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from trainer.feature_bank import ClipFeatures
from trainer.feature_points import Points
from trainer.normal_clip import NormalClip
from trainer.stream_parts import Samples, Unseen

Learned = TypeVar("Learned")


def point_groups(filled: Sequence[ClipFeatures]) -> tuple[list[Points], int]:
    """What the mixtures are fitted on: a clip's features, and those of its mirrored windows.

    A single clip is cut in contiguous blocks that are judged by what was learned of the others;
    there each window stands beside its mirrored one, so that no block knows the twins of another.

    Returns:
        Float32 (n, J) a clip; and a step: of every `step`-th point the first ones, as many as the
        clip has windows, are those of the footage itself.
    """
    if len(filled) == 1 and len(filled[0].mirrored):
        only = filled[0]
        twins = np.stack([only.features, only.mirrored], axis=1)
        return [twins.reshape(-1, only.features.shape[1])], 2
    return [np.concatenate([one.features, one.mirrored]) for one in filled], 1


def by_clip(
    clips: Sequence[NormalClip],
    bank: Sequence[ClipFeatures],
    filled: Sequence[ClipFeatures],
    learned: Sequence[Learned | None],
    unseen: Callable[[Learned], Unseen],
) -> dict[str, Unseen]:
    """What knows nothing of a clip, by its name; clips of one fold share it.

    Args:
        clips: All of them.
        bank: Their features.
        filled: Those of `bank` that have any.
        learned: What was learned without each of `filled`; None: nothing was.
        unseen: Makes the parts of a stream of it.
    """
    made = {id(one): unseen(one) for one in learned if one is not None}
    of = {
        id(one): made[id(found)]
        for one, found in zip(filled, learned, strict=True)
        if found is not None
    }
    return {clip.name: of[id(one)] for clip, one in zip(clips, bank, strict=True) if id(one) in of}


def samples_of(
    filled: Sequence[ClipFeatures], energies: Sequence[NDArray[np.float64]], step: int
) -> Samples:
    """Energies of the footage itself, with their places: mirrored windows are no footage.

    Args:
        filled: Clips with features.
        energies: float64 (n,) each, of the points of `point_groups`.
        step: Of `point_groups`.
    """
    own = [found[::step][: len(one.rows)] for one, found in zip(filled, energies, strict=True)]
    return (
        np.concatenate(own),
        np.concatenate([one.rows for one in filled]),
        np.concatenate([one.columns for one in filled]),
    )
