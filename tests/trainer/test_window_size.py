"""The size of what moves, learned from footage."""

import numpy as np
import pytest
from support.clips import MemoryClip

from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec
from trainer.window_size import measure_window_size, size_line

FRAME = FrameSpec(width=168, height=112)


def test_a_straight_line_is_found_through_noise_and_merged_crowds() -> None:
    rng = np.random.default_rng(0)
    centre = rng.uniform(60, 260, 5000)
    size = 10 + 0.2 * centre + rng.normal(0, 3, 5000)
    size[rng.random(5000) < 0.2] *= 2.5  # several people in one region
    line = size_line(np.column_stack([centre, size]), height=280)
    assert line["top"] == pytest.approx(16.0, abs=4.0)
    assert line["bottom"] == pytest.approx(10 + 0.2 * 280, rel=0.15)


def test_things_at_one_height_give_one_size() -> None:
    regions = np.column_stack([np.full(50, 100.0), np.full(50, 33.0)])
    assert size_line(regions, height=280) == {"top": 33.0, "bottom": 33.0}


def test_sizes_stay_in_the_picture() -> None:
    regions = np.column_stack([np.linspace(20, 260, 400), np.linspace(1, 600, 400)])
    line = size_line(regions, height=280)
    assert line["top"] == 16.0
    assert line["bottom"] == 0.75 * 280


def test_measured_on_rendered_footage() -> None:
    clips = [MemoryClip(name=f"n{seed}", length=40, seed=seed) for seed in range(2)]
    line = measure_window_size(clips, frame=FRAME, gate=GateSpec())
    assert 16.0 <= line["top"] <= 84.0
    assert 16.0 <= line["bottom"] <= 84.0


def test_still_footage_has_no_size() -> None:
    with pytest.raises(DataError, match="nothing travels"):
        measure_window_size([MemoryClip(length=10, speed=0)], frame=FRAME, gate=GateSpec())
