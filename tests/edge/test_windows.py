"""Windows of an object's size: where they lie, what they show, when they are looked at."""

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.frames import Frame
from edge.inputs import open_input
from edge.inputs.windows import unit_planes
from edge.vision.observe import Observer
from edge.vision.windows import WindowGrid
from engines.errors import DataError, UsageError
from engines.model_spec import FrameSpec, GateSpec, InputSpec

FRAME = FrameSpec(width=120, height=80)


def ramp(height: int = 80, width: int = 120) -> np.ndarray:
    """Red is x, green is y: what is cut says where it came from."""
    y, x = np.mgrid[0:height, 0:width]
    return np.dstack([np.zeros_like(x), y, x]).astype(np.uint8)


def spec(**options: float) -> InputSpec:
    return InputSpec(kind="window", patch=16, stride=20, options=dict(options))


def square_clip(count: int, speed: int, fps: float = 10.0) -> list[Frame]:
    background = np.random.default_rng(0).integers(60, 120, (80, 120), dtype=np.uint8)
    background = cv2.GaussianBlur(background, (0, 0), 2.0)
    thing = np.random.default_rng(1).integers(0, 256, (16, 16), dtype=np.uint8)
    frames = []
    for i in range(count):
        picture = background.copy()
        left = 10 + speed * i
        picture[30:46, left : left + 16] = thing
        frames.append(Frame(i, i / fps, np.repeat(picture[..., None], 3, axis=2)))
    return frames


@given(
    top=st.floats(8, 60),
    bottom=st.floats(8, 60),
    row=st.integers(0, 3),
    column=st.integers(0, 5),
    side=st.sampled_from([8, 16, 33]),
)
@settings(max_examples=60, deadline=None)
def test_a_window_shows_its_surroundings_at_its_size(
    top: float, bottom: float, row: int, column: int, side: int
) -> None:
    grid = WindowGrid(80, 120, 20, top, bottom, side)
    cut = grid.gather(ramp(), np.array([row]), np.array([column]))[0].astype(float)
    size = grid.size(np.array([row]))[0]
    assert size == pytest.approx(top + (bottom - top) * (row + 0.5) * 20 / 80)
    offsets = ((np.arange(side) + 0.5) / side - 0.5) * size
    x = np.clip((column + 0.5) * 20 - 0.5 + offsets, 0, 119)
    y = np.clip((row + 0.5) * 20 - 0.5 + offsets, 0, 79)
    np.testing.assert_allclose(cut[..., 2], np.broadcast_to(x, (side, side)), atol=0.75)
    np.testing.assert_allclose(cut[..., 1], np.broadcast_to(y[:, None], (side, side)), atol=0.75)


def test_many_windows_are_the_same_as_one_by_one() -> None:
    grid = WindowGrid(280, 420, 10, 20, 50, 96)  # 28 x 42 windows: several stacks
    image = np.random.default_rng(0).integers(0, 256, (280, 420), dtype=np.uint8)
    rows, columns = (a.ravel() for a in np.mgrid[0:28, 0:42])
    together = grid.gather(image, rows, columns)
    for i in (0, 332, 333, 334, 1175):
        one = grid.gather(image, rows[i : i + 1], columns[i : i + 1])
        np.testing.assert_array_equal(together[i], one[0])


def test_the_first_frame_is_looked_at_everywhere_and_then_only_what_travels() -> None:
    observer = Observer(FRAME, GateSpec())
    stream = open_input(spec(top=30, bottom=30), frame=FRAME, gate=GateSpec())
    seen = [stream.observe(observer.observe(frame)) for frame in square_clip(8, speed=4)]
    assert len(seen[0]) == 4 * 6
    assert seen[0].fresh
    last = seen[-1]
    places = set(zip(last.rows.tolist(), last.columns.tolist(), strict=True))
    assert {(1, 2), (2, 2)} <= places  # the thing is at x 38 to 54, y 30 to 46
    assert not {4, 5} & set(last.columns.tolist())
    data = last.gather()
    assert data.shape == (len(last), 3, 16, 16)
    assert data.dtype == np.float32
    assert data.min() >= 0.0
    assert data.max() <= 1.0
    stream.reset()
    observer.reset()
    assert len(stream.observe(observer.observe(square_clip(1, speed=4)[0]))) == 24


def test_what_stands_still_is_left_alone() -> None:
    observer = Observer(FRAME, GateSpec())
    stream = open_input(spec(), frame=FRAME, gate=GateSpec())
    seen = [stream.observe(observer.observe(frame)) for frame in square_clip(5, speed=0)]
    assert [len(cells) for cells in seen] == [24, 0, 0, 0, 0]
    open_gate = open_input(spec(), frame=FRAME, gate=GateSpec(enabled=False))
    observer.reset()
    assert [len(open_gate.observe(observer.observe(f))) for f in square_clip(3, speed=0)] == [
        24,
        24,
        24,
    ]


def test_looks_are_as_often_as_asked_whatever_the_frame_rate() -> None:
    for fps, expected in ((10.0, 2), (30.0, 6), (4.0, 1)):
        observer = Observer(FRAME, GateSpec())
        stream = open_input(spec(every_s=0.2), frame=FRAME, gate=GateSpec())
        fresh = [
            stream.observe(observer.observe(f)).fresh for f in square_clip(19, speed=2, fps=fps)
        ]
        assert np.flatnonzero(fresh).tolist() == list(range(0, 19, expected))


def test_one_channel_if_asked() -> None:
    observer = Observer(FRAME, GateSpec())
    stream = open_input(spec(grey=True), frame=FRAME, gate=GateSpec())
    assert stream.observe(observer.observe(square_clip(1, 0)[0])).gather().shape == (24, 1, 16, 16)


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(UsageError, match="too small"):
        WindowGrid(80, 120, 20, 2.0, 30.0, 16)
    with pytest.raises(UsageError, match="do not fit"):
        WindowGrid(80, 120, 100, 20.0, 30.0, 16)
    with pytest.raises(DataError, match="every_s"):
        open_input(spec(every_s=-1), frame=FRAME, gate=GateSpec())


@pytest.mark.parametrize("channels", [1, 3])
def test_planes_are_rgb_in_the_unit_range_and_contiguous(channels: int) -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (5, 8, 8, channels), dtype=np.uint8)
    planes = unit_planes(pictures)
    assert planes.dtype == np.float32
    assert planes.flags.c_contiguous
    for n in range(5):
        for c in range(channels):
            expected = pictures[n, :, :, channels - 1 - c] / 255.0
            np.testing.assert_allclose(planes[n, c], expected, rtol=1e-6)
    assert unit_planes(pictures[:0]).shape == (0, channels, 8, 8)
