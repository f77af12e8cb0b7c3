"""Gate, patches, flow, speed and the motion image on pictures whose answer is known."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.frames import Frame
from edge.inputs import open_input
from edge.vision.carry import Carried
from edge.vision.dynamic_flow import motion_field, to_unit_range
from edge.vision.flow import DenseFlow
from edge.vision.flow_window import FlowWindow
from edge.vision.gate import CellGate
from edge.vision.observe import Observer, coarsen, resize
from edge.vision.patches import Grid
from edge.vision.speed import largest_nearby
from edge.vision.steady_flow import SteadyFlow
from engines.errors import DataError, UsageError
from engines.model_spec import FrameSpec, GateSpec, InputSpec

FRAME = FrameSpec(width=84, height=56)


def textured(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2.0)


def moving_clip(frames: int, shift: tuple[int, int]) -> list[Frame]:
    """A textured picture that moves as a whole by `shift` (x, y) pixels a frame."""
    big = textured(56 + 100, 84 + 100, seed=1)
    result = []
    for i in range(frames):
        x, y = 50 - i * shift[0], 50 - i * shift[1]
        gray = big[y : y + 56, x : x + 84]
        bgr = np.ascontiguousarray(np.repeat(gray[:, :, None], 3, axis=2))
        result.append(Frame(index=i, time_s=i / 10, bgr=bgr))
    return result


def test_flow_finds_a_known_shift_in_pixels_and_its_sign() -> None:
    big = textured(200, 260)
    flow = DenseFlow().calc(big[20:160, 20:220].copy(), big[18:158, 17:217].copy())
    inner = flow[20:-20, 20:-20]
    assert np.abs(inner - (3.0, 2.0)).mean() < 0.1


@given(
    height=st.integers(8, 60),
    width=st.integers(8, 60),
    patch=st.integers(1, 8),
    stride=st.integers(1, 9),
    seed=st.integers(0, 99),
)
@settings(max_examples=60, deadline=None)
def test_gather_and_count_agree_with_plain_slicing(
    height: int, width: int, patch: int, stride: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    grid = Grid(height, width, patch, stride)
    rows, columns = np.indices(grid.shape).reshape(2, -1)
    patches = grid.gather(image, rows, columns)
    counts = grid.count(image[..., 0] > 99)
    for n in rng.integers(0, len(rows), 5):
        top, left = rows[n] * stride, columns[n] * stride
        cell = image[top : top + patch, left : left + patch]
        assert cell.shape == (patch, patch, 3)
        np.testing.assert_array_equal(patches[n], cell.transpose(2, 0, 1))
        assert counts[rows[n], columns[n]] == (cell[..., 0] > 99).sum()


def test_the_papers_grids() -> None:
    assert Grid(280, 420, 28, 28).shape == (10, 15)
    assert Grid(280, 420, 28, 7).shape == (37, 57)


def test_a_patch_larger_than_the_picture_is_refused() -> None:
    with pytest.raises(UsageError, match="does not fit"):
        Grid(20, 40, 28, 7)


def test_gate_needs_enough_pixels_and_remembers_for_its_window() -> None:
    gate = CellGate(Grid(56, 84, 28, 28), min_pixels=4, memory=3)
    still = np.zeros((56, 84), np.bool_)
    few, enough = still.copy(), still.copy()
    few[0, :3] = True
    enough[30, 30:34] = True
    assert not gate.update(few).any()
    assert gate.update(enough).tolist() == [[False] * 3, [False, True, False]]
    assert gate.update(still)[1, 1]
    assert gate.update(still)[1, 1]
    assert not gate.update(still).any()
    gate.update(enough)
    gate.reset()
    assert not gate.update(still).any()


def test_gate_off_keeps_every_cell() -> None:
    gate = CellGate(Grid(56, 84, 28, 28), min_pixels=4, memory=1, enabled=False)
    assert gate.update(np.zeros((56, 84), np.bool_)).all()


def test_constant_motion_is_seen_by_the_mean_and_not_by_the_dynamic_flow() -> None:
    window = FlowWindow(length=5, height=8, width=9)
    for _ in range(5):
        window.push(np.full((8, 9, 2), (2.0, -1.0), np.float32))
    mean = motion_field(window, "mean", c=1.0, values=144)
    dynamic = motion_field(window, "ranksvm", c=1.0, values=144)
    combined = motion_field(window, "combined", c=1.0, values=144)
    assert mean is not None
    assert dynamic is not None
    assert combined is not None
    np.testing.assert_allclose(mean[3, 3], (2.0, -1.0, 5**0.5), atol=1e-5)
    assert not dynamic.any()
    np.testing.assert_allclose(combined[3, 3], (2.0, -1.0, 0.0), atol=1e-5)


def test_accelerating_motion_points_the_dynamic_flow_along_the_change() -> None:
    window = FlowWindow(length=6, height=8, width=9)
    for i in range(6):
        window.push(np.full((8, 9, 2), (0.5 * i, 0.0), np.float32))
    for representation in ("ranksvm", "arp", "arp_raw"):
        field = motion_field(window, representation, c=1.0, values=144)
        assert field is not None
        assert (field[..., 0] > 1.0).all()
        np.testing.assert_allclose(field[..., 2], field[..., 0], rtol=1e-5)


def test_unit_range_maps_zero_to_the_middle_and_clips() -> None:
    field = np.array([[0, 0, 0], [4, -4, 4], [99, -99, 99]], np.float32)
    expected = [[0.5, 0.5, 0], [0.75, 0.25, 0.5], [1, 0, 1]]
    np.testing.assert_allclose(to_unit_range(field, 8.0), expected)


def test_appearance_cells_are_the_picture_in_rgb() -> None:
    observer = Observer(FRAME, GateSpec(enabled=False))
    stream = open_input(InputSpec(kind="appearance"), frame=FRAME, gate=GateSpec(enabled=False))
    bgr = np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8)
    cells = stream.observe(observer.observe(Frame(index=0, time_s=0.0, bgr=bgr)))
    assert stream.shape == (2, 3)
    patches = cells.gather()
    assert patches.dtype == np.float32
    expected = bgr[28:56, 56:84, ::-1].transpose(2, 0, 1) / 255.0
    np.testing.assert_allclose(patches[5], expected, atol=1e-6)
    np.testing.assert_allclose(cells.gather(np.array([5]))[0], expected, atol=1e-6)


def test_motion_stream_has_no_value_before_two_flows_and_warms_up() -> None:
    spec = InputSpec(kind="motion", options={"representation": "mean", "window": 4, "scale": 8.0})
    observer = Observer(FRAME, GateSpec())
    stream = open_input(spec, frame=FRAME, gate=GateSpec())
    seen = [stream.observe(observer.observe(frame)) for frame in moving_clip(8, (2, 1))]
    assert [len(cells) for cells in seen[:2]] == [0, 0]
    assert all(len(cells) == 6 for cells in seen[2:])
    assert [cells.warm_up for cells in seen] == [True] * 4 + [False] * 4
    # u = +2 px a frame of scale 8: 0.5 + 2 / 16, within the accuracy of the flow in the centre.
    assert seen[-1].gather()[1, 0].mean() == pytest.approx(0.625, abs=0.03)


def test_a_reset_forgets_everything() -> None:
    spec = InputSpec(kind="motion", options={"window": 4, "representation": "arp"})
    clip = moving_clip(7, (2, 0))
    observer = Observer(FRAME, GateSpec())
    stream = open_input(spec, frame=FRAME, gate=GateSpec())
    first = [stream.observe(observer.observe(frame)).gather() for frame in clip]
    observer.reset()
    stream.reset()
    again = [stream.observe(observer.observe(frame)).gather() for frame in clip]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_nothing_depends_on_a_later_frame() -> None:
    spec = InputSpec(kind="motion", options={"window": 4})
    clip = moving_clip(8, (1, 1))
    other = [*clip[:6], *moving_clip(8, (3, 0))[6:]]
    results = []
    for frames in (clip, other):
        observer = Observer(FRAME, GateSpec())
        stream = open_input(spec, frame=FRAME, gate=GateSpec())
        results.append([stream.observe(observer.observe(f)).gather() for f in frames][:6])
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


def test_steady_speed_is_in_pixels_per_second_and_follows_the_moving_thing() -> None:
    field = SteadyFlow(height=80, width=240, time_constant_s=0.28)
    for i in range(30):
        flow = np.zeros((80, 240, 2), np.float32)
        flow[40:60, 6 * i : 6 * i + 20, 0] = 6.0  # a thing 20 px wide at 6 px a frame
        field.update(coarsen(flow), dt_s=0.1)
    speed = largest_nearby(field.speed)
    assert speed.shape == (10, 30)
    assert speed.max() == pytest.approx(60.0, rel=0.05)
    assert speed.argmax(axis=1)[6] * 8 == pytest.approx(6 * 29 + 10, abs=16)
    assert speed[0, 0] == 0.0


def test_steady_speed_does_not_depend_on_the_frame_rate() -> None:
    slow = SteadyFlow(height=40, width=40, time_constant_s=0.3)
    fast = SteadyFlow(height=40, width=40, time_constant_s=0.3)
    for _ in range(10):
        slow.update(np.full((10, 10, 2), (1.0, 0.0), np.float32), dt_s=0.1)
    for _ in range(30):
        fast.update(np.full((10, 10, 2), (1.0 / 3, 0.0), np.float32), dt_s=1 / 30)
    assert slow.speed.mean() == pytest.approx(10.0)
    assert slow.speed.mean() == pytest.approx(fast.speed.mean(), rel=1e-3)


def test_trembling_is_no_travel() -> None:
    field = SteadyFlow(height=40, width=40, time_constant_s=0.28)
    for i in range(30):
        field.update(np.full((10, 10, 2), ((-1.0) ** i, 0.0), np.float32), dt_s=0.1)
    assert field.speed.max() < 3.0  # against 10 px per second of each flow alone


def test_a_carried_value_moves_with_the_flow_and_starts_without_a_ramp() -> None:
    carried = Carried((1, 8), time_constant_s=1.0)
    values = np.zeros((1, 8), np.float32)
    values[0, 1] = 4.0
    first = carried.update(values, None, 0.0)
    assert first is not None
    assert first[0, 1] == 4.0
    flow = np.zeros((1, 8, 2), np.float32)
    flow[..., 0] = 1.0
    for _ in range(3):  # nobody looks, the thing goes on
        moved = carried.update(None, flow, 0.1)
    assert moved is not None
    assert moved.argmax() == 4
    assert moved.max() == pytest.approx(4.0)


def test_a_carried_mean_is_the_plain_mean_first_and_then_exponential() -> None:
    carried = Carried((1, 1), time_constant_s=0.5)
    seen = [1.0, 5.0, 3.0]
    still = np.zeros((1, 1, 2), np.float32)
    for i, value in enumerate(seen):
        mean = carried.update(np.full((1, 1), value, np.float32), still, 0.1 * (i > 0))
    assert mean is not None
    assert mean[0, 0] == pytest.approx(3.0)
    for _ in range(100):
        mean = carried.update(np.full((1, 1), 7.0, np.float32), still, 0.1)
    before = 7.0
    mean = carried.update(np.full((1, 1), 0.0, np.float32), still, 0.1)
    assert mean is not None
    assert mean[0, 0] == pytest.approx(before * np.exp(-0.1 / 0.5), rel=1e-3)


def test_unknown_kinds_and_options_are_named() -> None:
    with pytest.raises(DataError, match="telepathy"):
        open_input(InputSpec(kind="telepathy"), frame=FRAME, gate=GateSpec())
    with pytest.raises(DataError, match="windw"):
        open_input(InputSpec(kind="motion", options={"windw": 3}), frame=FRAME, gate=GateSpec())
    with pytest.raises(DataError, match="whole number of 2"):
        open_input(InputSpec(kind="motion", options={"window": 0}), frame=FRAME, gate=GateSpec())
    spec = InputSpec(kind="motion", options={"representation": "sideways"})
    with pytest.raises(DataError, match="sideways"):
        open_input(spec, frame=FRAME, gate=GateSpec())


def test_resize_keeps_the_mean_of_an_area() -> None:
    image = np.random.default_rng(0).integers(0, 256, (240, 360, 3), dtype=np.uint8)
    assert resize(image, 360, 240) is image
    assert resize(image, 180, 120).mean() == pytest.approx(image.mean(), abs=1)
    assert resize(image, 420, 280).shape == (280, 420, 3)


def test_moved_pixels_are_those_that_changed_by_more_than_the_threshold() -> None:
    frame, gate = FrameSpec(width=64, height=48, fps=10.0), GateSpec(threshold=15)
    observer = Observer(frame, gate)
    still = np.full((48, 64, 3), 100, np.uint8)
    changed = still.copy()
    changed[10:20, 30:40] = 116
    changed[30:40, 30:40] = 115
    first = observer.observe(Frame(index=0, time_s=0.0, bgr=still))
    second = observer.observe(Frame(index=1, time_s=0.1, bgr=changed))
    assert not first.moved.any()
    assert first.moved.shape == (48, 64)
    expected = np.zeros((48, 64), np.bool_)
    expected[10:20, 30:40] = True
    np.testing.assert_array_equal(second.moved, expected)
