"""The ring buffer, the Gram matrix and the motion image against the CPU's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.vision import flow_window as cpu
from edge.vision.cuda.device import Device
from edge.vision.cuda.flow_window import FlowWindow
from edge.vision.dynamic_flow import motion_field, window_weights


def flows(count: int, height: int, width: int, seed: int = 0) -> list[np.ndarray]:
    """Some beyond the range of a step, some exactly between two steps."""
    values = np.random.default_rng(seed).normal(0.0, 4.0, (count, height, width, 2))
    values[:, 0] = np.round(values[:, 0] * 32.0) / 32.0
    return list(values.astype(np.float32))


@given(
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    length=st.integers(1, 6),
    count=st.integers(0, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=30, deadline=None)
def test_the_gram_matrix_is_the_twins_bit_for_bit(
    device: Device, height: int, width: int, length: int, count: int, seed: int
) -> None:
    ours = FlowWindow(device, length=length, height=height, width=width)
    theirs = cpu.FlowWindow(length=length, height=height, width=width)
    for flow in flows(count, height, width, seed):
        ours.push(flow)
        theirs.push(flow)
        np.testing.assert_array_equal(ours.gram, theirs.gram)
        assert (len(ours), ours.full) == (len(theirs), theirs.full)


def test_the_gram_matrix_at_working_size_is_exact(any_order: Device) -> None:
    ours = FlowWindow(any_order, length=3, height=280, width=420)
    steps = []
    for flow in flows(4, 280, 420):
        ours.push(flow)
        steps.append(cpu.to_steps(flow).ravel().astype(np.int64))
    np.testing.assert_array_equal(ours.gram, np.array(steps[1:]) @ np.array(steps[1:]).T)


def test_the_largest_products_do_not_overflow(device: Device) -> None:
    ours = FlowWindow(device, length=2, height=280, width=420)
    ours.push(np.full((280, 420, 2), -99.0, np.float32))
    assert ours.gram[0, 0] == 128.0**2 * 280 * 420 * 2


@pytest.mark.parametrize("representation", ["ranksvm", "arp", "arp_raw", "mean"])
def test_the_motion_image_is_the_twins(any_order: Device, representation: str) -> None:
    ours = FlowWindow(any_order, length=5, height=20, width=31)
    theirs = cpu.FlowWindow(length=5, height=20, width=31)
    for flow in flows(7, 20, 31):
        ours.push(flow)
        theirs.push(flow)
    weights = window_weights(representation, ours.gram, c=1.0, values=20 * 31 * 2)
    expected = motion_field(theirs, representation, c=1.0, values=20 * 31 * 2)
    field = any_order.download(ours.motion_field(weights, weights))
    # NumPy's matrix product sums in an order of its own.
    np.testing.assert_allclose(field, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        ours.weighted_sum(weights), theirs.weighted_sum(weights), rtol=1e-5, atol=1e-5
    )


def test_mean_and_dynamic_flow_combine_in_one_launch(device: Device) -> None:
    ours = FlowWindow(device, length=4, height=6, width=7)
    theirs = cpu.FlowWindow(length=4, height=6, width=7)
    for flow in flows(4, 6, 7):
        ours.push(flow)
        theirs.push(flow)
    dynamic = window_weights("ranksvm", ours.gram, c=1.0, values=84)
    dynamic = dynamic / (np.abs(dynamic).sum() / 2.0)
    field = device.download(ours.motion_field(np.full(4, 0.25), dynamic))
    expected = motion_field(theirs, "combined", c=1.0, values=84)
    np.testing.assert_allclose(field, expected, rtol=1e-5, atol=1e-5)


def test_a_reset_forgets_everything(device: Device) -> None:
    window = FlowWindow(device, length=3, height=4, width=5)
    clip = flows(5, 4, 5)
    results = []
    for _ in range(2):
        window.reset()
        assert (len(window), window.gram.shape) == (0, (0, 0))
        for flow in clip[:2]:
            window.push(flow)
        results.append(window.gram)
        for flow in clip[2:]:
            window.push(flow)
    np.testing.assert_array_equal(*results)
