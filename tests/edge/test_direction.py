"""Direction of what travels: which cells have one, which it is, and what a place says of it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.clips import MemoryClip

from edge.inputs import Cells, StreamInput, open_input
from edge.scoring.heads import Head, open_head
from edge.vision.observe import COARSE_PX, Observation, Observer
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, HeadSpec, InputSpec

FRAME = FrameSpec(width=120, height=80)
ROWS, COLUMNS = FRAME.height // COARSE_PX, FRAME.width // COARSE_PX


def open_direction(frame: FrameSpec = FRAME, **options: float) -> StreamInput:
    return open_input(InputSpec(kind="direction", options=options), frame=frame, gate=GateSpec())


def observations(flows: list[np.ndarray], fps: float) -> Iterator[Observation]:
    """A first frame without a flow, then one for each flow; px per second in."""
    for index, flow in enumerate([None, *flows]):
        yield Observation(
            index=index,
            time_s=index / fps,
            dt_s=1.0 / fps if index else 0.0,
            bgr=np.zeros((FRAME.height, FRAME.width, 3), np.uint8),
            gray=np.zeros((FRAME.height, FRAME.width), np.uint8),
            flow=None,
            coarse_flow=None if flow is None else (flow / fps).astype(np.float32),
            previous=None,
            threshold=15,
        )


def uniform(u: float, v: float, seconds: float, fps: float = 10.0) -> list[np.ndarray]:
    return [np.full((ROWS, COLUMNS, 2), (u, v), np.float32)] * round(seconds * fps)


def watch(flows: list[np.ndarray], fps: float = 10.0, **options: float) -> list[Cells]:
    stream = open_direction(**options)
    return [stream.observe(one) for one in observations(flows, fps)]


def apart(one: np.ndarray, two: np.ndarray) -> np.ndarray:
    """Turns between angles, at most a half."""
    return np.abs((one - two + 0.5) % 1.0 - 0.5)


@pytest.mark.parametrize(
    ("u", "v", "turns"),
    [(20, 0, 0.0), (15, 15, 0.125), (0, 20, 0.25), (-20, 0, 0.5), (0, -20, 0.75), (20, -1e-9, 0)],
)
def test_an_angle_is_in_turns_from_the_right_downwards(u: float, v: float, turns: float) -> None:
    cells = watch(uniform(u, v, 1.0))[-1]
    features = cells.gather()
    assert cells.shape == (10, 15)
    assert features.shape == (150, 3)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features[:, 0], cells.rows)
    np.testing.assert_array_equal(features[:, 1], cells.columns)
    np.testing.assert_allclose(features[:, 2], turns, atol=1e-6)
    assert (features[:, 2] < 1.0).all()


def test_the_grid_is_that_of_the_speed() -> None:
    frame = FrameSpec(width=420, height=280)
    speed = open_input(InputSpec(kind="speed"), frame=frame, gate=GateSpec())
    assert open_direction(frame).shape == speed.shape == (35, 53)


def test_nothing_is_known_until_one_time_constant_has_passed() -> None:
    for fps in (5.0, 10.0, 30.0):
        seen = watch(uniform(20, 0, 1.0, fps), fps, time_constant_s=0.4)
        first = round(0.4 * fps)
        assert [cells.fresh for cells in seen] == [n >= first for n in range(len(seen))]
        assert [cells.warm_up for cells in seen] == [n < first for n in range(len(seen))]
        assert [len(cells) > 0 for cells in seen] == [n >= first for n in range(len(seen))]


def test_after_a_reset_nothing_is_known() -> None:
    stream = open_direction()
    for one in observations(uniform(20, 0, 1.0), 10.0):
        cells = stream.observe(one)
    assert len(cells)
    stream.reset()
    again = [stream.observe(one) for one in observations(uniform(-20, 0, 0.5), 10.0)]
    assert not any(map(len, again[:-1]))
    np.testing.assert_allclose(again[-1].gather()[:, 2], 0.5)


def test_what_is_slow_has_no_direction() -> None:
    assert not len(watch(uniform(4, 0, 1.0))[-1])
    assert len(watch(uniform(4, 0, 1.0), floor=3.0)[-1])


@pytest.mark.parametrize("fps", [10.0, 30.0])
def test_noise_and_trembling_have_no_direction(fps: float) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.normal(0, 30, (ROWS, COLUMNS, 2)) for _ in range(round(3 * fps))]
    assert not any(map(len, watch(noise, fps)))
    swing = [np.full((ROWS, COLUMNS, 2), (40.0 * (-1) ** n, 0)) for n in range(round(3 * fps))]
    assert not any(map(len, watch(swing, fps)))


def test_between_two_that_pass_each_other_there_is_no_direction() -> None:
    flow = np.zeros((ROWS, COLUMNS, 2))
    flow[:9, :, 0], flow[9:, :, 0] = 20.0, -20.0  # the border runs through row 4 of the grid
    features = watch([flow] * 10)[-1].gather()
    assert set(features[:, 0]) == {0, 1, 2, 3, 5, 6, 7, 8, 9}
    np.testing.assert_allclose(features[features[:, 0] < 4, 2], 0.0, atol=1e-6)
    np.testing.assert_allclose(features[features[:, 0] > 4, 2], 0.5, atol=1e-6)


def travelling(fps: float, seconds: float) -> list[np.ndarray]:
    """A thing of 24 px that goes right and down at 26 px per second, and what stays."""
    y, x = (np.mgrid[0:ROWS, 0:COLUMNS] + 0.5) * COARSE_PX
    flows = []
    for n in range(round(seconds * fps)):
        left, top = 5 + 24.0 * n / fps, 10 + 10.0 * n / fps
        on = (x >= left) & (x < left + 24) & (y >= top) & (y < top + 24)
        flows.append(on[..., None] * np.array([24.0, 10.0]))
    return flows


def test_the_same_motion_is_the_same_at_any_frame_rate() -> None:
    slow = watch(travelling(10.0, 2.0), 10.0)[-1].gather()
    fast = watch(travelling(30.0, 2.0), 30.0)[-1].gather()
    places = [{tuple(one) for one in of[:, :2].astype(int).tolist()} for of in (slow, fast)]
    assert len(places[0] & places[1]) >= 0.8 * len(places[0] | places[1])
    turns = np.arctan2(10, 24) / (2 * np.pi)
    for features in (slow, fast):
        assert apart(features[:, 2], turns).max() < 0.02


def test_squares_that_go_right_are_seen_to_go_right() -> None:
    frame = FrameSpec(width=168, height=112)
    observer, stream = Observer(frame, GateSpec()), open_direction(frame)
    clip = MemoryClip(length=25, seed=1)
    features = [stream.observe(observer.observe(one)).gather() for one in clip.frames][-1]
    assert len(features) >= 8
    assert np.median(apart(features[:, 2], 0.0)) < 0.03


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(DataError, match="at most 1"):
        open_direction(coherence=1.5)
    with pytest.raises(DataError, match="positive"):
        open_direction(floor=0)
    with pytest.raises(DataError, match="flor"):
        open_direction(flor=3)


def place_head(density: np.ndarray) -> Head:
    arrays: dict[str, np.ndarray] = {"log_density": np.log(density).astype(np.float32)}
    return open_head(HeadSpec(kind="place", file="heads/a.npz"), arrays)


def test_energy_is_minus_the_log_of_the_density_at_the_place() -> None:
    density = np.ones((2, 3, 8))
    density[1, 2] = [4, 2, 0.5, 0.25, 0.25, 0.25, 0.5, 0.25]
    head = place_head(density)
    features = np.array(
        [[1, 2, 0], [1, 2, 1 / 16], [1, 2, 1 / 8], [1, 2, 15 / 16], [1, 2, 1], [0, 2, 0]],
        np.float32,
    )
    expected = -np.log([4, 3, 2, (4 + 0.25) / 2, 4, 1])
    np.testing.assert_allclose(head.energy(features), expected, atol=1e-6)
    assert head.energy(np.zeros((0, 3), np.float32)).shape == (0,)


@given(seed=st.integers(0, 999), turns=st.floats(0, 1))
@settings(max_examples=60, deadline=None)
def test_energy_has_no_jump_anywhere_on_the_circle(seed: int, turns: float) -> None:
    density = np.random.default_rng(seed).dirichlet(np.ones(12), (1, 1)) * 12 + 0.1
    features = np.array([[0, 0, turns], [0, 0, (turns + 1e-4) % 1.0]], np.float32)
    one, two = place_head(density).energy(features)
    # Steepest: from 0.1 to 12.1 within a bin.
    assert abs(one - two) < 1e-4 * 12 * 12 / 0.1 + 1e-3


@pytest.mark.parametrize(
    "arrays",
    [
        {},
        {"log_density": np.zeros((2, 2, 8)), "more": np.zeros(1)},
        {"log_density": np.zeros((2, 8))},
        {"log_density": np.zeros((0, 2, 8))},
        {"log_density": np.zeros((2, 2, 2))},
        {"log_density": np.full((2, 2, 8), np.nan)},
        {"log_density": np.full((2, 2, 8), -1e4)},
    ],
)
def test_arrays_that_are_no_table_are_refused(arrays: dict[str, np.ndarray]) -> None:
    with pytest.raises(DataError, match="log_density"):
        open_head(HeadSpec(kind="place"), arrays)


def test_features_that_do_not_fit_are_refused() -> None:
    head = place_head(np.ones((2, 3, 8)))
    with pytest.raises(DataError, match="N x 3"):
        head.energy(np.zeros((4, 2), np.float32))
    for row, column in ((2, 0), (0, 3), (-1, 0)):
        with pytest.raises(DataError, match="outside"):
            head.energy(np.array([[row, column, 0]], np.float32))
