"""The dense speed baseline: a bundle like any other, that knows what is fast here."""

from pathlib import Path

import pytest
from support.clips import MemoryClip

from edge.pipeline import Pipeline
from engines.errors import DataError
from engines.model_spec import FrameSpec
from trainer.evaluation.speed_baseline import build_speed_bundle

FRAME = FrameSpec(width=168, height=112)


def peak(bundle_root: Path, clip: MemoryClip, normal: list[MemoryClip]) -> float:
    with Pipeline(build_speed_bundle(normal, frame=FRAME, root=bundle_root)) as pipeline:
        assert pipeline.backends == {}
        view = pipeline.new_view()
        return max(pipeline.score(view, frame).score for frame in clip.frames)


def test_normal_speed_is_quiet_and_three_times_it_is_loud(tmp_path: Path) -> None:
    normal = [MemoryClip(name=f"n{seed}", length=40, seed=seed) for seed in range(3)]
    usual = peak(tmp_path / "a", MemoryClip(length=20, seed=9), normal)
    fast = peak(tmp_path / "b", MemoryClip(length=12, seed=9, speed=9), normal)
    assert fast > usual + 2.0


def test_footage_without_motion_is_refused(tmp_path: Path) -> None:
    still = MemoryClip(length=10, speed=0)
    with pytest.raises(DataError, match="nothing moves"):
        build_speed_bundle([still], frame=FRAME, root=tmp_path / "b")
