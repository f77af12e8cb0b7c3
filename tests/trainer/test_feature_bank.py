"""Features of windows and of the same windows mirrored, against the network asked directly."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.bundles import open_network, write_projection
from support.clips import MemoryClip

from engines.model_spec import FrameSpec, GateSpec, InputSpec
from trainer.collect import observe_clip
from trainer.feature_bank import ClipFeatures, collect_features
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
