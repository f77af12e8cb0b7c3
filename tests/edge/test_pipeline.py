"""The pipeline as a whole: causal, repeatable, batched over cameras without changing a number."""

from pathlib import Path

import numpy as np
import pytest
from support.bundles import tiny_bundle, tiny_preset
from support.clips import MemoryClip

from edge.inputs import open_input
from edge.pipeline import Pipeline
from engines.bundle import Bundle, BundleFile, encode_arrays, write_bundle
from engines.errors import DataError, UsageError
from engines.model_spec import FrameSpec, GateSpec, InputSpec


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    workspace = tmp_path_factory.mktemp("bundle")
    return tiny_bundle(workspace / "bundle", workspace=workspace)


def run(bundle: Bundle, clip: MemoryClip) -> list[np.ndarray]:
    with Pipeline(bundle, threads=1) as pipeline:
        view = pipeline.new_view()
        return [pipeline.score(view, frame).map for frame in clip.frames]


def test_every_frame_gets_a_score_and_the_first_is_quiet(bundle: Bundle) -> None:
    clip = MemoryClip(length=12, seed=5)
    with Pipeline(bundle, threads=1) as pipeline:
        view = pipeline.new_view()
        results = [pipeline.score(view, frame) for frame in clip.frames]
    assert [r.frame_index for r in results] == list(range(12))
    assert results[0].score == 0.0
    assert all(r.warm_up for r in results[:5])
    assert not results[-1].warm_up
    assert results[-1].score > 0.0
    assert results[-1].map.shape == pipeline.map_shape == (4, 6)
    assert set(pipeline.stage_ms) >= {"observe", "motion.encode", "appearance.head", "score"}
    assert pipeline.backends == {
        "appearance": "onnxruntime-cpu/fp32",
        "motion": "onnxruntime-cpu/fp32",
    }


def test_cameras_in_one_step_get_what_each_would_get_alone(bundle: Bundle) -> None:
    clips = [MemoryClip(length=15, seed=seed, speed=seed) for seed in (1, 4, 9)]
    alone = [run(bundle, clip) for clip in clips]
    with Pipeline(bundle, threads=1) as pipeline:
        views = [pipeline.new_view() for _ in clips]
        for i in range(15):
            work = [(view, clip.frames[i]) for view, clip in zip(views, clips, strict=True)]
            for one, result in zip(alone, pipeline.step(work), strict=True):
                np.testing.assert_allclose(result.map, one[i], atol=1e-5)


def test_nothing_depends_on_a_later_frame(bundle: Bundle) -> None:
    clip = MemoryClip(length=14, seed=3)
    other = MemoryClip(length=14, seed=3)
    other.frames[9:] = MemoryClip(length=14, seed=8).frames[9:]
    for one, two in zip(run(bundle, clip)[:9], run(bundle, other)[:9], strict=True):
        np.testing.assert_array_equal(one, two)


def test_a_reset_view_is_a_new_view(bundle: Bundle) -> None:
    clip = MemoryClip(length=10, seed=3)
    first = run(bundle, clip)
    with Pipeline(bundle, threads=1) as pipeline:
        view = pipeline.new_view()
        for frame in MemoryClip(length=10, seed=8).frames:
            pipeline.score(view, frame)
        view.reset()
        again = [pipeline.score(view, frame).map for frame in clip.frames]
    for one, two in zip(first, again, strict=True):
        np.testing.assert_array_equal(one, two)


def test_something_faster_than_ever_seen_scores_higher(bundle: Bundle) -> None:
    def peak(clip: MemoryClip) -> float:
        with Pipeline(bundle, threads=1) as pipeline:
            view = pipeline.new_view()
            return max(pipeline.score(view, f).streams["motion"].peak for f in clip.frames[:20])

    assert peak(MemoryClip(length=20, seed=7, speed=7)) > peak(MemoryClip(length=20, seed=7))


def test_motion_that_is_not_known_yet_leaves_the_other_stream_alone(
    bundle: Bundle, tmp_path: Path
) -> None:
    """With fewer than two flows motion is unknown, which is not the same as none."""
    fusion = bundle.model.fusion.model_copy(update={"inactive": "zero"})
    files = [
        BundleFile(e.path, e.role, (bundle.root / e.path).read_bytes())
        for e in bundle.manifest.files
        if e.role not in ("model", "alarm")
    ]
    model = bundle.model.model_copy(update={"fusion": fusion})
    zeros = write_bundle(tmp_path / "b", model=model, alarm=None, files=files)
    with Pipeline(zeros, threads=1) as pipeline:
        view = pipeline.new_view()
        results = [pipeline.score(view, frame) for frame in MemoryClip(length=4).frames]
    known = [result.streams["motion"].known for result in results]
    assert known == [False, False, True, True]
    appearance = results[1].streams["appearance"].surprise
    assert appearance.max() > 0.0
    np.testing.assert_allclose(results[1].map, appearance, rtol=1e-6)
    both = [results[2].streams[name].surprise for name in ("appearance", "motion")]
    np.testing.assert_allclose(results[2].map, sum(both) / 2.0, rtol=1e-6)


@pytest.mark.parametrize("window", [1, 2.5])
def test_a_window_that_could_never_hold_two_flows_is_refused(window: float) -> None:
    spec = InputSpec(kind="motion", options={"window": window})
    with pytest.raises(DataError, match="window must be a whole number of 2 or more"):
        open_input(spec, frame=FrameSpec(width=168, height=112), gate=GateSpec())


def test_broken_statistics_are_found_before_any_network_is_opened(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened would have to be closed again: a device, its memory, its threads."""
    file = bundle.model.streams[0].statistics
    files = [
        BundleFile(
            e.path,
            e.role,
            encode_arrays({"nothing": np.zeros(1)})
            if e.path == file
            else (bundle.root / e.path).read_bytes(),
        )
        for e in bundle.manifest.files
        if e.role not in ("model", "alarm")
    ]
    broken = write_bundle(tmp_path / "b", model=bundle.model, alarm=None, files=files)
    monkeypatch.setattr("edge.pipeline.open_parts", lambda *_, **__: pytest.fail("opened"))
    with pytest.raises(DataError, match="smallest_energy"):
        Pipeline(broken)


def test_unknown_backend_is_named(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="abacus"):
        Pipeline(bundle, backend="abacus")


def test_statistics_of_another_grid_are_refused(bundle: Bundle, tmp_path: Path) -> None:
    files = [
        BundleFile(e.path, e.role, (bundle.root / e.path).read_bytes())
        for e in bundle.manifest.files
        if e.role not in ("model", "alarm")
    ]
    streams = tuple(
        s.model_copy(update={"input": s.input.model_copy(update={"stride": 14})})
        for s in bundle.model.streams
    )
    model = bundle.model.model_copy(update={"streams": streams})
    broken = write_bundle(tmp_path / "b", model=model, alarm=None, files=files)
    with pytest.raises(DataError, match="statistics of stream appearance"):
        Pipeline(broken)


def test_a_network_that_gives_other_numbers_here_never_starts(
    bundle: Bundle, tmp_path: Path
) -> None:
    other = tiny_bundle(tmp_path / "other", workspace=tmp_path, preset=tiny_preset(seed=0))
    files = []
    for entry in bundle.manifest.files:
        if entry.role in ("model", "alarm"):
            continue
        # The motion network of the bundle in the place of its appearance network.
        name = "networks/motion.fp32.onnx" if "appearance.fp32" in entry.path else entry.path
        files.append(BundleFile(entry.path, entry.role, (other.root / name).read_bytes()))
    broken = write_bundle(tmp_path / "b", model=bundle.model, alarm=None, files=files)
    with pytest.raises(DataError, match="outputs differ"):
        Pipeline(broken)


def test_a_network_file_that_is_no_network_is_refused(bundle: Bundle, tmp_path: Path) -> None:
    files = [
        BundleFile(
            e.path,
            e.role,
            b"no onnx" if e.role == "network" else (bundle.root / e.path).read_bytes(),
        )
        for e in bundle.manifest.files
        if e.role not in ("model", "alarm")
    ]
    broken = write_bundle(tmp_path / "b", model=bundle.model, alarm=None, files=files)
    with pytest.raises(DataError, match="cannot load"):
        Pipeline(broken)


def test_a_stream_without_a_network_runs_beside_the_others(tmp_path: Path) -> None:
    streams = [
        {"name": "appearance", "kind": "appearance", "weight": 0.5},
        {
            "name": "speed",
            "kind": "speed",
            "encoder": "none",
            "statistics": "neighbourhood",
            "weight": 0.5,
        },
    ]
    mixed = tiny_bundle(tmp_path / "mixed", workspace=tmp_path, preset=tiny_preset(streams=streams))
    assert [s.network is None for s in mixed.model.streams] == [False, True]
    with Pipeline(mixed, threads=1) as pipeline:
        view = pipeline.new_view()
        clip = MemoryClip(length=20, seed=7, speed=9)
        results = [pipeline.score(view, frame) for frame in clip.frames]
    assert pipeline.map_shape == (14, 21)
    assert list(pipeline.backends) == ["appearance"]
    # Three times the speed of everything that the statistics saw.
    assert max(r.streams["speed"].peak for r in results) > 3.0
