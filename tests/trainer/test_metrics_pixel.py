"""The pixel criterion against the literal 40 % rule at every threshold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from engines.errors import DataError
from trainer.evaluation.metrics_frame import roc
from trainer.evaluation.metrics_pixel import cell_pixels, pixel_scores


def spread(scores: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """The map in the mask's resolution, pixel by pixel."""
    rows, columns = scores.shape
    return np.array(
        [
            [scores[rows * r // height, columns * c // width] for c in range(width)]
            for r in range(height)
        ]
    )


def detected(scores: NDArray[np.float64], mask: NDArray[np.bool_] | None, tau: float) -> bool:
    """The criterion as it is written."""
    if mask is None or not mask.any():
        return bool((scores > tau).any())
    hit = spread(scores, *mask.shape) > tau
    return 5 * int((hit & mask).sum()) >= 2 * int(mask.sum())


@st.composite
def frames(draw: st.DrawFn) -> tuple[NDArray[np.float64], NDArray[np.bool_] | None]:
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    scores = random.integers(0, 5, (rows, columns)).astype(np.float64)
    if draw(st.booleans()):
        return scores, None
    height, width = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    return scores, random.random((height, width)) < draw(st.floats(0.0, 1.0))


@given(frames())
@settings(deadline=None, max_examples=200)
def test_one_number_says_what_the_40_percent_rule_says_at_all_thresholds(
    frame: tuple[NDArray[np.float64], NDArray[np.bool_] | None],
) -> None:
    scores, mask = frame
    found = pixel_scores(scores, mask)
    for tau in np.arange(-1.0, 6.0, 0.5):
        assert (found > tau) == detected(scores, mask, tau)


def test_a_roc_of_the_scores_is_the_criterion_s_roc() -> None:
    random = np.random.default_rng(0)
    maps = random.random((40, 5, 6))
    masks = [random.random((17, 23)) < 0.1 if i % 2 else None for i in range(40)]
    labels = np.array([mask is not None for mask in masks])
    curve = roc(labels, np.array([pixel_scores(m, k) for m, k in zip(maps, masks, strict=True)]))
    for i in range(1, curve.thresholds.size):
        tau = np.nextafter(curve.thresholds[i], -np.inf)
        hits = np.array([detected(m, k, tau) for m, k in zip(maps, masks, strict=True)])
        assert curve.true_positive[i] == hits[labels].mean()
        assert curve.false_positive[i] == hits[~labels].mean()


def test_by_hand() -> None:
    scores = np.array([[4.0, 3.0], [2.0, 1.0]])
    mask = np.zeros((4, 4), dtype=bool)
    mask[0, 0] = mask[0, 2] = mask[2, 0] = mask[2, 1] = mask[3, 3] = True
    # Five pixels under cells 4, 3, 2, 2, 1: two of them are 40 %, so the second largest decides.
    assert pixel_scores(scores, mask) == 3.0
    mask[3, 2] = True  # six pixels: 40 % is 2.4, three are needed
    assert pixel_scores(scores, mask) == 2.0


def test_a_detection_beside_the_object_does_not_count() -> None:
    scores = np.zeros((10, 15))
    scores[0, 0] = 9.0
    mask = np.zeros((240, 360), dtype=bool)
    mask[200:220, 300:320] = True
    assert pixel_scores(scores, mask) == 0.0
    assert pixel_scores(scores, None) == 9.0


def test_an_empty_mask_is_a_normal_frame() -> None:
    scores = np.arange(6.0).reshape(2, 3)
    assert pixel_scores(scores, np.zeros((4, 4), dtype=bool)) == 5.0


@pytest.mark.parametrize("pixels", range(1, 60))
def test_the_rank_is_exact_where_floating_point_would_not_be(pixels: int) -> None:
    """Pixels in a row under distinct values: the ceil(2 n / 5)-th largest, in whole numbers."""
    scores = np.arange(pixels, 0.0, -1.0)[None, :]
    mask = np.ones((1, pixels), dtype=bool)
    rank = (2 * pixels + 4) // 5
    assert pixel_scores(scores, mask) == pixels - rank + 1


def test_every_pixel_falls_into_the_cell_of_the_formula() -> None:
    mask = np.ones((238, 158), dtype=bool)  # Ped1, not divisible by the grid
    expected = np.zeros((10, 15), dtype=int)
    for r in range(238):
        for c in range(158):
            expected[10 * r // 238, 15 * c // 158] += 1
    assert cell_pixels(mask, 10, 15).tolist() == expected.tolist()


@given(frames(), st.floats(0.5, 3.0))
@settings(deadline=None, max_examples=50)
def test_a_rising_map_of_the_scores_goes_through(
    frame: tuple[NDArray[np.float64], NDArray[np.bool_] | None], factor: float
) -> None:
    scores, mask = frame
    assert pixel_scores(scores * factor + 1, mask) == pixel_scores(scores, mask) * factor + 1


@pytest.mark.parametrize(
    ("scores", "mask"),
    [
        (np.array([[np.nan]]), None),
        (np.zeros(3), None),
        (np.empty((0, 3)), None),
        (np.zeros((2, 2)), np.zeros((2, 2))),
        (np.zeros((2, 2)), np.zeros(4, dtype=bool)),
    ],
)
def test_broken_maps_and_masks_are_refused(
    scores: NDArray[np.float64], mask: NDArray[np.bool_] | None
) -> None:
    with pytest.raises(DataError):
        pixel_scores(scores, mask)
