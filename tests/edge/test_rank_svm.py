"""The ranking SVM of Eq. (4) against an explicit solver, and against known closed forms."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.svm import LinearSVC

from edge.vision.dynamic_flow import (
    arp_weights,
    mean_operator,
    rank_svm_weights,
    window_weights,
)
from edge.vision.flow_window import FlowWindow
from edge.vision.rank_svm import solve_rank_svm


def smooth_flows(seed: int, n: int = 20, values: int = 60) -> np.ndarray:
    """Random smooth sequences, n x values."""
    rng = np.random.default_rng(seed)
    t = np.linspace(0, 1, n)[:, None]
    parts = [rng.normal(size=values) * np.sin(2 * np.pi * (f * t + rng.random())) for f in range(4)]
    return np.sum(parts, axis=0) + 0.1 * rng.normal(size=(n, values))


def scaled_means(flows: np.ndarray) -> np.ndarray:
    """Time-varying means at unit mean squared pair distance, as the solver's caller scales them."""
    means = mean_operator(len(flows)) @ flows
    i, j = np.triu_indices(len(flows), k=1)
    return means / np.sqrt(((means[i] - means[j]) ** 2).sum(axis=1).mean())


@pytest.mark.parametrize("c", [0.01, 1.0, 100.0])
@pytest.mark.parametrize("seed", range(4))
def test_direction_equals_that_of_an_explicit_linear_svc(seed: int, c: float) -> None:
    means = scaled_means(smooth_flows(seed))
    i, j = np.triu_indices(len(means), k=1)
    pairs = means[j] - means[i]
    # Eq. (4) has no factor 1/2 before the norm: half of it is LinearSVC's objective with C / 2.
    # Every pair appears with both signs (and half the cost), since LinearSVC wants two classes.
    svc = LinearSVC(C=c / 4, loss="hinge", fit_intercept=False, tol=1e-10, max_iter=2_000_000)
    svc.fit(np.vstack([pairs, -pairs]), np.repeat([1, -1], len(pairs)))
    explicit = svc.coef_[0]
    streamed = solve_rank_svm(means @ means.T, c).beta @ means
    cosine = explicit @ streamed / np.linalg.norm(explicit) / np.linalg.norm(streamed)
    assert 1 - cosine < 1e-3
    assert np.linalg.norm(streamed) == pytest.approx(np.linalg.norm(explicit), rel=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n=st.integers(2, 30),
    values=st.integers(1, 40),
    log_c=st.floats(-3, 4),
)
def test_duality_gap_is_closed_whatever_the_data(
    seed: int, n: int, values: int, log_c: float
) -> None:
    means = scaled_means(smooth_flows(seed, n=n, values=values))
    solution = solve_rank_svm(means @ means.T, 10.0**log_c)
    assert abs(solution.relative_gap) <= 1e-6
    assert abs(solution.beta.sum()) < 1e-8 * max(1.0, np.abs(solution.beta).max())


def test_small_c_gives_the_closed_form() -> None:
    means = scaled_means(smooth_flows(7))
    n = len(means)
    first_step = (2 * np.arange(1, n + 1) - n - 1) @ means
    i, j = np.triu_indices(n, k=1)
    c0 = 2 / ((means[j] - means[i]) @ first_step).max()
    beta = solve_rank_svm(means @ means.T, c0 / 2, tolerance=1e-12).beta
    np.testing.assert_allclose(beta @ means, c0 / 4 * first_step, rtol=1e-4)


def test_perfectly_ordered_data_are_ranked_in_order() -> None:
    flows = np.outer(np.arange(1.0, 21.0), np.ones(5))
    means = scaled_means(flows)
    scores = means @ (solve_rank_svm(means @ means.T, 10.0).beta @ means)
    assert (np.diff(scores) > 0).all()


def test_closed_form_weights_are_the_harmonic_numbers() -> None:
    n = 20
    explicit = [sum((2 * k - n - 1) / k for k in range(t, n + 1)) for t in range(1, n + 1)]
    np.testing.assert_allclose(arp_weights(n), explicit, atol=1e-12)
    from_means = mean_operator(n).T @ (2.0 * np.arange(1, n + 1) - n - 1)
    np.testing.assert_allclose(arp_weights(n), from_means, atol=1e-12)


@pytest.mark.parametrize("representation", ["ranksvm", "arp", "arp_raw"])
def test_weights_sum_to_zero_so_constant_motion_vanishes(representation: str) -> None:
    flows = smooth_flows(3) * 16
    alpha = window_weights(representation, flows @ flows.T, c=1.0, values=flows.shape[1])
    assert abs(alpha.sum()) < 1e-9 * np.abs(alpha).max()


def test_reversal_flips_the_raw_closed_form_and_not_the_other() -> None:
    np.testing.assert_allclose(
        window_weights("arp_raw", np.eye(20), c=1.0, values=1)[::-1],
        -window_weights("arp_raw", np.eye(20), c=1.0, values=1),
    )
    assert not np.allclose(arp_weights(20)[::-1], -arp_weights(20))


def test_twice_the_motion_gives_twice_the_dynamic_flow() -> None:
    flows = smooth_flows(5) * 16
    gram = flows @ flows.T
    once = rank_svm_weights(gram, c=1.0, values=flows.shape[1]) @ flows
    twice = rank_svm_weights(4 * gram, c=1.0, values=flows.shape[1]) @ (2 * flows)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-6)


def test_no_motion_gives_no_dynamic_flow() -> None:
    flows = np.tile(smooth_flows(5)[:1], (20, 1))
    assert not rank_svm_weights(flows @ flows.T, c=1.0, values=flows.shape[1]).any()


def test_streaming_gram_equals_the_batch_gram_at_every_frame() -> None:
    rng = np.random.default_rng(0)
    length, height, width = 6, 31, 45
    window = FlowWindow(length=length, height=height, width=width)
    for clip in range(2):
        window.reset()
        kept: list[np.ndarray] = []
        for _ in range(15):
            flow = rng.normal(scale=4, size=(height, width, 2)).astype(np.float32)
            window.push(flow)
            steps = np.clip(np.rint(flow.astype(np.float64) * 16), -128, 127).ravel()
            kept = [*kept, steps][-length:]
            batch = np.array(kept) @ np.array(kept).T
            # Whole numbers: equal to the last bit, not merely close.
            np.testing.assert_array_equal(window.gram, batch)
            weights = rng.normal(size=len(kept))
            expected = (weights @ np.array(kept) / 16).reshape(height, width, 2)
            np.testing.assert_allclose(window.weighted_sum(weights), expected, atol=2e-4)
        assert window.full
        assert clip in (0, 1)


def test_streaming_gram_stays_exact_at_the_largest_values() -> None:
    window = FlowWindow(length=3, height=280, width=420)
    for sign in (-1, 1, -1):
        window.push(np.full((280, 420, 2), sign * 8.0, np.float32))
    values = 280 * 420 * 2
    low, high = -128, 127
    assert window.gram[0, 0] == values * low * low
    assert window.gram[0, 1] == values * low * high
