"""Frame metrics against scikit-learn, brute force and worked examples."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score, roc_curve

from engines.errors import DataError
from trainer.evaluation.metrics_frame import auc, eer, macro, roc


@st.composite
def labelled(draw: st.DrawFn) -> tuple[NDArray[np.bool_], NDArray[np.float64]]:
    """Both classes, with many equal scores."""
    size = draw(st.integers(2, 60))
    labels = draw(st.lists(st.booleans(), min_size=size, max_size=size))
    scores = draw(st.lists(st.integers(0, 8), min_size=size, max_size=size))
    labels[0], labels[1] = True, False
    return np.array(labels), np.array(scores, dtype=np.float64)


def test_by_hand() -> None:
    # Anomalous 3 and 1, normal 2 and 0: of four pairs three are in order.
    labels, scores = np.array([True, True, False, False]), np.array([3.0, 1.0, 2.0, 0.0])
    found = roc(labels, scores)
    assert found.false_positive.tolist() == [0.0, 0.0, 0.5, 0.5, 1.0]
    assert found.true_positive.tolist() == [0.0, 0.5, 0.5, 1.0, 1.0]
    assert found.thresholds.tolist() == [np.inf, 3.0, 2.0, 1.0, 0.0]
    assert found.auc == 0.75
    assert found.eer == 0.5


def test_the_eer_lies_between_two_points_of_the_curve() -> None:
    # Points (0, 0), (0, 1/2), (2/3, 1), (1, 1): on the middle line f = 1 - (1/2 + 3/4 f) at 2/7.
    labels = np.array([True, True, False, False, False])
    scores = np.array([9.0, 5.0, 5.0, 5.0, 1.0])
    assert eer(labels, scores) == pytest.approx(2 / 7)


@pytest.mark.parametrize(
    ("scores", "area", "rate"),
    [([2.0, 1.0], 1.0, 0.0), ([1.0, 2.0], 0.0, 1.0), ([1.0, 1.0], 0.5, 0.5)],
    ids=["perfect", "upside down", "all equal"],
)
def test_extremes(scores: list[float], area: float, rate: float) -> None:
    labels = np.array([True, False])
    assert auc(labels, np.array(scores)) == area
    assert eer(labels, np.array(scores)) == rate


@settings(deadline=None)
@given(labelled())
def test_area_is_scikit_learn_s(data: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    assert auc(*data) == pytest.approx(roc_auc_score(*data))


@settings(deadline=None)
@given(labelled())
def test_area_counts_pairs_with_ties_half(
    data: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    labels, scores = data
    high, low = scores[labels][:, None], scores[~labels][None, :]
    assert auc(*data) == pytest.approx(((high > low) + 0.5 * (high == low)).mean())


@settings(deadline=None)
@given(labelled())
def test_the_curve_is_scikit_learn_s(data: tuple[NDArray[np.bool_], NDArray[np.float64]]) -> None:
    found = roc(*data)
    false_positive, true_positive, thresholds = roc_curve(*data, drop_intermediate=False)
    assert found.false_positive == pytest.approx(false_positive)
    assert found.true_positive == pytest.approx(true_positive)
    assert found.thresholds.tolist() == thresholds.tolist()


@settings(deadline=None)
@given(labelled())
def test_the_curve_is_the_sweep_over_thresholds(
    data: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    labels, scores = data
    found = roc(labels, scores)
    points = zip(found.thresholds, found.false_positive, found.true_positive, strict=True)
    for threshold, false_positive, true_positive in points:
        assert false_positive == np.mean(scores[~labels] >= threshold)
        assert true_positive == np.mean(scores[labels] >= threshold)


@settings(deadline=None)
@given(labelled())
def test_the_eer_is_where_the_interpolated_curve_crosses(
    data: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    found = roc(*data)
    rate = found.eer
    assert 0.0 <= rate <= 1.0
    # The point (rate, 1 - rate) lies on one of the segments.
    ends = np.stack([found.false_positive, found.true_positive], axis=1)
    a, b = ends[:-1], ends[1:]
    point = np.array([rate, 1.0 - rate])
    along = np.clip(((point - a) * (b - a)).sum(1) / ((b - a) ** 2).sum(1), 0.0, 1.0)
    distance = np.linalg.norm(a + along[:, None] * (b - a) - point, axis=1)
    assert distance.min() < 1e-12


@settings(deadline=None)
@given(labelled(), st.randoms(use_true_random=False))
def test_order_and_rising_maps_of_the_score_change_nothing(
    data: tuple[NDArray[np.bool_], NDArray[np.float64]], random: object
) -> None:
    labels, scores = data
    order = list(range(labels.size))
    random.shuffle(order)
    other = roc(labels[order], np.exp(scores[order]))
    assert (other.auc, other.eer) == (auc(labels, scores), eer(labels, scores))


@given(labelled())
@settings(deadline=None, max_examples=30)
def test_turning_labels_and_scores_over_mirrors_the_curve(
    data: tuple[NDArray[np.bool_], NDArray[np.float64]],
) -> None:
    labels, scores = data
    assert auc(labels, -scores) == pytest.approx(1.0 - auc(labels, scores))
    assert eer(~labels, -scores) == pytest.approx(eer(labels, scores))


def test_float32_scores_are_taken() -> None:
    assert auc(np.array([True, False]), np.array([2, 1], dtype=np.float32)) == 1.0


def test_macro_is_the_mean_over_clips_with_both_classes() -> None:
    clips = [
        (np.array([True, False]), np.array([2.0, 1.0])),
        (np.array([True, False]), np.array([1.0, 1.0])),
        (np.array([False, False]), np.array([5.0, 6.0])),
        (np.array([True]), np.array([5.0])),
    ]
    found = macro(clips)
    assert (found.auc, found.clips) == (0.75, 2)


def test_macro_without_such_a_clip_is_none() -> None:
    assert macro([]).auc is None
    found = macro([(np.array([False]), np.array([1.0]))])
    assert (found.auc, found.clips) == (None, 0)


@pytest.mark.parametrize(
    ("labels", "scores", "message"),
    [
        ([True, True], [1.0, 2.0], "found 0 and 2"),
        ([False], [1.0], "found 1 and 0"),
        ([], [], "bool"),
        ([True, False], [1.0, np.nan], "1 of 2 scores"),
        ([True, False], [1.0], "bool"),
        ([1, 0], [1.0, 2.0], "bool"),
    ],
)
def test_what_has_no_roc_is_refused(labels: list[bool], scores: list[float], message: str) -> None:
    with pytest.raises(DataError, match=message):
        roc(np.array(labels), np.array(scores))
