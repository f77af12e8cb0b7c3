"""Collecting patches: the sample is even and random, and holds what the runtime would see."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.clips import MemoryClip

from edge.inputs import open_input
from edge.vision.observe import Observer
from engines.errors import DataError
from engines.model_spec import FrameSpec, GateSpec, InputSpec
from trainer.collect import Reservoir, collect_patches, measure_scale, observe_clip
from trainer.patch_store import encode_patches

FRAME = FrameSpec(width=168, height=112, fps=10.0)
GATE = GateSpec()
MOTION = {"representation": "mean", "window": 5}
INPUTS = {
    "appearance": InputSpec(kind="appearance", patch=28, stride=7),
    "motion": InputSpec(kind="motion", patch=28, stride=7, options={**MOTION, "scale": 4.0}),
}


def clips(n: int = 3, length: int = 12) -> list[MemoryClip]:
    return [MemoryClip(name=f"clip{i}", length=length, seed=i) for i in range(n)]


def still(name: str = "still") -> MemoryClip:
    return MemoryClip(name=name, length=12, speed=0)


def test_a_reservoir_is_a_uniform_sample_of_a_stream() -> None:
    """Each of 60 items, offered in uneven portions, is kept with probability 12 / 60."""
    hits = np.zeros(60)
    for trial in range(3000):
        reservoir = Reservoir(12, np.random.default_rng(trial))
        slots = np.full(12, -1)
        begin = 0
        for portion in (1, 7, 0, 20, 2, 30):
            which, places = reservoir.offer(portion)
            assert len(set(places.tolist())) == len(places)
            slots[places] = begin + which
            begin += portion
        assert len(set(slots.tolist())) == 12
        hits[slots] += 1
    # 3000 draws with p = 0.2: the deviation of each count is 22.
    assert np.abs(hits - 600).max() < 5 * 22
    assert hits.sum() == 3000 * 12


def test_a_reservoir_keeps_all_while_there_is_room() -> None:
    which, slots = Reservoir(10, np.random.default_rng(0)).offer(6)
    assert which.tolist() == slots.tolist() == list(range(6))


def collect(folder: Path, footage: list[MemoryClip], budget: int = 300, seed: int = 0) -> dict:
    return collect_patches(
        footage, INPUTS, frame=FRAME, gate=GATE, budget=budget, folder=folder, seed=seed
    )


def test_every_clip_gets_its_share(tmp_path: Path) -> None:
    stores = collect(tmp_path, clips(3))
    for store in stores.values():
        assert store.count == 300
        assert store.notes["per_clip"] == [100, 100, 100]
        assert store.notes["frames"] == 36


def test_what_a_still_clip_leaves_goes_to_the_others(tmp_path: Path) -> None:
    stores = collect(tmp_path, [still(), *clips(2)])
    assert stores["appearance"].notes["per_clip"] == [0, 150, 150]


def test_patches_are_those_of_the_runtime(tmp_path: Path) -> None:
    """With a budget above the number of active cells the store holds exactly all of them."""
    clip = clips(1)[0]
    stores = collect(tmp_path, [clip], budget=1_000_000)
    for name, spec in INPUTS.items():
        observer = Observer(FRAME, GATE)
        source = open_input(spec, frame=FRAME, gate=GATE)
        expected = [
            encode_patches(source.observe(observer.observe(frame)).gather())
            for frame in clip.frames
        ]
        every = np.concatenate(expected)
        assert stores[name].count == len(every) > 100
        np.testing.assert_array_equal(stores[name].read(np.arange(len(every))), every)


def test_the_gate_off_takes_still_patches_too(tmp_path: Path) -> None:
    stores = collect_patches(
        [still()],
        {"appearance": INPUTS["appearance"]},
        frame=FRAME,
        gate=GateSpec(enabled=False),
        budget=100,
        folder=tmp_path,
        seed=0,
    )
    assert stores["appearance"].count == 100


def test_footage_without_movement_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing moves") as caught:
        collect(tmp_path, [still("parking"), still("lot")])
    assert "24 frames of 2 clip" in caught.value.what
    assert "parking" in str(caught.value.where)
    assert "gate.threshold" in str(caught.value.mend)
    assert not (tmp_path / "appearance" / "store.json").exists()


def test_same_seed_same_patches(tmp_path: Path) -> None:
    stores = [collect(tmp_path / str(i), clips(2), seed=seed) for i, seed in enumerate((0, 0, 1))]
    read = [store["motion"].read(np.arange(300)) for store in stores]
    np.testing.assert_array_equal(read[0], read[1])
    assert (read[0] != read[2]).any()


def test_a_finished_store_is_taken_as_it_is(tmp_path: Path) -> None:
    collect(tmp_path, clips(2))
    stamp = (tmp_path / "motion" / "patches.npy").stat().st_mtime_ns
    collect(tmp_path, clips(2))
    assert (tmp_path / "motion" / "patches.npy").stat().st_mtime_ns == stamp
    collect(tmp_path, clips(2), budget=301)
    assert (tmp_path / "motion" / "patches.npy").stat().st_mtime_ns != stamp


def test_scale_is_the_magnitude_that_fast_cells_reach() -> None:
    """With the plain mean of the flow the scale is near the speed of the squares, in pixels."""
    spec = InputSpec(kind="motion", patch=28, stride=28, options=MOTION)
    scales = [
        measure_scale(
            [MemoryClip(name="a", length=40, speed=speed)], spec, frame=FRAME, gate=GATE, seed=0
        )
        for speed in (2, 4)
    ]
    assert 1.2 < scales[0] < 4.0
    assert 2.4 < scales[1] < 8.0
    assert scales[1] > 1.4 * scales[0]


def test_scale_of_a_clip_shorter_than_the_window_uses_what_there_is() -> None:
    spec = InputSpec(kind="motion", patch=28, stride=28, options={**MOTION, "window": 50})
    footage = [MemoryClip(length=12, speed=3)]
    assert measure_scale(footage, spec, frame=FRAME, gate=GATE, seed=0) > 0.5


def test_scale_of_still_footage_is_an_error() -> None:
    spec = InputSpec(kind="motion", patch=28, stride=28, options=MOTION)
    with pytest.raises(DataError, match="nothing moves"):
        measure_scale([still()], spec, frame=FRAME, gate=GATE, seed=0)


def test_a_section_is_walked_from_an_empty_window() -> None:
    walk = observe_clip(clips(1)[0], INPUTS, frame=FRAME, gate=GATE, section=(4, 9))
    steps = [
        (observation.index, observation.flow is None, cells["motion"].warm_up)
        for observation, cells, _ in walk
    ]
    assert [index for index, _, _ in steps] == [4, 5, 6, 7, 8]
    assert [first for _, first, _ in steps] == [True, False, False, False, False]
    assert all(warm_up for _, _, warm_up in steps)
