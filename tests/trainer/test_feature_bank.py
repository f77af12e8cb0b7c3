"""Features of windows and of the same windows mirrored, against the network asked directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.bundles import open_network, write_projection
from support.clips import MemoryClip

from engines.model_spec import FrameSpec, GateSpec, InputSpec
from trainer.collect import observe_clip
from trainer.cross_fit import cross_fit
from trainer.feature_bank import ClipFeatures, collect_features
from trainer.footage_points import point_groups
from trainer.mixture_choice import Mixture, fitter
from trainer.progress import SilentTraining

FRAME = FrameSpec(width=168, height=112)
SPEC = InputSpec(kind="appearance", stride=14)


def bank(tmp_path: Path, clip: MemoryClip, *, mirrored: bool) -> ClipFeatures:
    (found,) = collect_features(
        [clip],
        SPEC,
        open_network(tmp_path / "network.onnx"),
        network=tmp_path / "network.onnx",
        frame=FRAME,
        gate=GateSpec(),
        frames=100,
        mirrored=mirrored,
        folder=tmp_path / str(mirrored),
        progress=SilentTraining(),
    )
    return found


def test_mirrored_windows_are_looked_at_too(tmp_path: Path) -> None:
    write_projection(tmp_path / "network.onnx", seed=0)
    clip = MemoryClip(length=8)
    found = bank(tmp_path, clip, mirrored=True)
    network = open_network(tmp_path / "network.onnx")
    windows = np.concatenate(
        [
            cells[""].gather()
            for _, cells, _ in observe_clip(clip, {"": SPEC}, frame=FRAME, gate=GateSpec())
        ]
    )
    flipped = np.flip(windows, axis=3).copy()
    assert len(windows) == len(found.rows) == len(found.columns) > 0
    # Kept in half precision.
    np.testing.assert_allclose(found.features, network.infer(windows), rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(found.mirrored, network.infer(flipped), rtol=1e-3, atol=1e-3)
    assert not np.allclose(found.features, found.mirrored, rtol=1e-2)


def test_without_them_there_are_none_and_the_rest_is_the_same(tmp_path: Path) -> None:
    write_projection(tmp_path / "network.onnx", seed=0)
    plain = bank(tmp_path, MemoryClip(length=8), mirrored=False)
    both = bank(tmp_path, MemoryClip(length=8), mirrored=True)
    assert plain.mirrored.shape == (0, plain.features.shape[1])
    np.testing.assert_array_equal(plain.features, both.features)


def test_sampled_frames_are_looked_at_however_seldom_the_device_looks(tmp_path: Path) -> None:
    """Every second frame is sampled, every third one is due on the device: few are both."""
    write_projection(tmp_path / "network.onnx", seed=0)
    spec = InputSpec(
        kind="window", patch=28, stride=14, options={"top": 28.0, "bottom": 28.0, "every_s": 0.1}
    )
    clip = MemoryClip(length=25, fps=25.0)
    found = collect_features(
        [clip],
        spec,
        open_network(tmp_path / "network.onnx"),
        network=tmp_path / "network.onnx",
        frame=FRAME,
        gate=GateSpec(),
        frames=13,
        mirrored=False,
        folder=tmp_path / "bank",
        progress=SilentTraining(),
    )[0]
    always = spec.model_copy(update={"options": {**spec.options, "every_s": 0.0}})
    looks = observe_clip(clip, {"": always}, frame=FRAME, gate=GateSpec())
    wanted = [len(cells[""]) for seen, cells, _ in looks if seen.index % 2 == 0]
    assert len(wanted) == 13
    assert len(found.rows) == sum(wanted)


def some_features(windows: int, seed: int) -> ClipFeatures:
    """As they come of a clip, each mirrored one told from its twin by its second value."""
    place = np.arange(windows)
    own = np.stack([1000.0 * seed + place, np.zeros(windows)], axis=1).astype(np.float32)
    return ClipFeatures(own, own + np.float32([0.0, 1.0]), place, place)


def test_in_a_single_clip_no_fold_knows_the_mirrored_twins_of_another() -> None:
    (points,), step = point_groups([some_features(30, 0)])
    fit = fitter("spherical", seed=0)
    seen: list[set[float]] = []

    def watched(some: np.ndarray, _: np.ndarray) -> Mixture:
        seen.append(set(some[:, 0].tolist()))
        return fit(some, 2)

    crossed = cross_fit([points], watched, folds=3, seed=0)
    assert [len(known) for known in seen] == [20, 20, 20]
    assert set.union(*seen) == set(range(30))
    own = points[::step]
    assert own[:, 0].tolist() == list(range(30))
    assert not own[:, 1].any()
    assert len(crossed.energies[0][::step]) == 30


def test_several_clips_have_their_own_windows_first() -> None:
    clips = [some_features(5, 1), some_features(3, 2)]
    groups, step = point_groups(clips)
    for clip, points in zip(clips, groups, strict=True):
        windows = len(clip.rows)
        np.testing.assert_array_equal(points[::step][:windows], clip.features)
        np.testing.assert_array_equal(points[windows:], clip.mirrored)
