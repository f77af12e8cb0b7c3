"""The whole pipeline with its array work on the device, against the CPU, on the shipped bundles."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from support.bundles import tiny_bundle
from support.clips import MemoryClip

from calibration.parity import rank_correlation
from edge.compute import HOST, Compute
from edge.frames import EnergyMap, Frame, ScoreMap
from edge.gpu.compute import GpuCompute
from edge.gpu.observer import DeviceObservation
from edge.pipeline import Pipeline, StreamPipeline
from edge.vision.cuda.device import Device
from edge.vision.observe import Observer
from engines.bundle import Arrays, Bundle, load_bundle
from engines.errors import InternalError
from engines.model_spec import FrameSpec, GateSpec, HeadSpec, InputSpec, StreamSpec

REFERENCE = Path(__file__).parents[3] / "engines" / "reference"
# A wall with two squares that walk, at 10 frames a second; the picture must be reduced first.
CLIP = MemoryClip(length=7, speed=7, width=480, height=320).frames
# Relative, beside 1e-3 nats: float32 sums in another order, and flows that differ in last bits.
TOLERANCE = 1e-3
FRAME, GATE = FrameSpec(width=168, height=112), GateSpec()
REST = {"statistics": "none.npz", "weight": 0.5}


def on(device: Device) -> GpuCompute:
    return GpuCompute(device, stand_in=True, owned=False)


def scores(
    bundle: Bundle, frames: Sequence[Frame], compute: GpuCompute | str
) -> tuple[list[ScoreMap], Pipeline]:
    with Pipeline(bundle, threads=1, compute=compute) as pipeline:
        view = pipeline.new_view()
        return [pipeline.score(view, frame) for frame in frames], pipeline


def assert_same(found: ScoreMap, expected: ScoreMap) -> int:
    """Returns the number of cells that were compared."""
    cells = 0
    assert found.warm_up == expected.warm_up
    for name, want in expected.streams.items():
        got = found.streams[name]
        np.testing.assert_array_equal(got.energy.active, want.energy.active)
        assert (got.energy.fresh, got.known) == (want.energy.fresh, want.known)
        active = want.energy.active
        np.testing.assert_allclose(
            got.energy.energy[active], want.energy.energy[active], rtol=TOLERANCE, atol=1e-3
        )
        cells += int(active.sum())
    return cells


@pytest.mark.parametrize("name", ["ucsd_ped2_fast", "ucsd_ped2", "ucsd_ped2_paper"])
def test_a_shipped_bundle_scores_as_on_the_cpu(device: Device, name: str) -> None:
    bundle = load_bundle(REFERENCE / name)
    expected, _ = scores(bundle, CLIP, "cpu")
    found, pipeline = scores(bundle, CLIP, on(device))
    cells = [assert_same(a, b) for a, b in zip(found, expected, strict=True)]
    assert sum(cells) > 50
    a, b = (np.array([one.score for one in maps]) for maps in (found, expected))
    assert np.unique(b).size >= len(CLIP) - 2
    assert rank_correlation(a, b) >= 0.999
    assert pipeline.compute == device.name
    assert set(pipeline.places.values()) == {device.name}


class Watched:
    """A device that counts what crosses between host and device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self.down: list[tuple[tuple[int, ...], str]] = []
        self.up: list[tuple[int, ...]] = []

    def __getattr__(self, name: str) -> object:
        return getattr(self._device, name)

    def download(self, buffer: object) -> np.ndarray:
        result = self._device.download(buffer)  # type: ignore[arg-type]
        self.down.append((result.shape, result.dtype.name))
        return result

    def upload(self, array: np.ndarray, into: object = None) -> object:
        self.up.append(array.shape)
        return self._device.upload(array, into=into)  # type: ignore[arg-type]


class OnDeviceAlone:
    """A `DeviceEncoder` that leaves its rows where they are; the latents are made up."""

    largest = 40

    def __init__(self, device: Device, side: int) -> None:
        self._input = device.empty((self.largest, 3, side, side), np.float32)
        self._latents = device.upload(
            np.random.default_rng(0).normal(size=(self.largest, 4)).astype(np.float32)
        )

    def input(self, count: int) -> object:
        return self._input.rows(0, count)

    def run(self, count: int) -> object:
        return self._latents.rows(0, count)


def test_no_picture_patch_or_latent_comes_back(device: Device, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", workspace=tmp_path)
    watched = Watched(device)
    compute = GpuCompute(watched, stand_in=True, owned=False)  # type: ignore[arg-type]
    encoder = OnDeviceAlone(device, 28)
    compute._encoder = lambda _, backend: encoder if backend else None  # type: ignore[assignment, method-assign, return-value]
    clip = MemoryClip(length=6, speed=9).frames
    with Pipeline(bundle, threads=1, compute=compute) as pipeline:
        view = pipeline.new_view()
        pipeline.score(view, clip[0])
        watched.up.clear()
        watched.down.clear()
        energies = [pipeline.energies([(view, frame)])[0] for frame in clip[1:]]
    assert watched.up.count(clip[0].bgr.shape) == len(clip) - 1  # each frame once
    cells = {(int(one.active.sum()),) for maps in energies for one in maps.values()}
    grids = {one.active.shape for maps in energies for one in maps.values()}
    for shape, kind in watched.down:
        gram = len(shape) == 2 and shape[0] == 5  # window of five flows
        assert (kind == "float64" and shape in cells) or shape in grids or gram, (shape, kind)


def test_many_views_share_a_batch_in_pieces(device: Device, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", workspace=tmp_path)
    clips = [MemoryClip(length=5, seed=seed, speed=9).frames for seed in range(3)]

    def run(compute: GpuCompute | str) -> list[list[ScoreMap]]:
        with Pipeline(bundle, threads=1, compute=compute) as pipeline:
            views = [pipeline.new_view() for _ in clips]
            result = [
                pipeline.step(list(zip(views, now, strict=True)))
                for now in zip(*clips, strict=True)
            ]
            views[0].reset()
            result.append(pipeline.step([(views[0], clips[0][0])]))
            return result

    for one, other in zip(run(on(device)), run("cpu"), strict=True):
        for found, expected in zip(one, other, strict=True):
            assert_same(found, expected)


def test_a_stream_without_a_twin_runs_beside_and_is_named(
    device: Device, capsys: pytest.CaptureFixture[str]
) -> None:
    head = HeadSpec(kind="identity")
    specs = (
        StreamSpec(name="speed", input=InputSpec(kind="speed"), head=head, **REST),
        StreamSpec(
            name="way",
            input=InputSpec(kind="direction", options={"time_constant_s": 0.2}),
            head=HeadSpec(kind="place"),
            **REST,
        ),
    )
    table = np.random.default_rng(0).normal(size=(14, 21, 8))
    arrays: dict[str, Arrays] = {"speed": {}, "way": {"log_density": table}}

    def energies(compute: Compute) -> tuple[list[dict[str, EnergyMap]], StreamPipeline]:
        runners = [compute.runner(spec, None, arrays[spec.name]) for spec in specs]
        pipeline = StreamPipeline(frame=FRAME, gate=GATE, runners=runners, compute=compute)
        view = pipeline.new_view()
        assert view.inputs["way"].shape == table.shape[:2]
        clip = MemoryClip(length=6, speed=9).frames
        return [pipeline.energies([(view, frame)])[0] for frame in clip], pipeline

    expected, _ = energies(HOST)
    capsys.readouterr()
    found, pipeline = energies(on(device))
    assert pipeline.places == {"speed": device.name, "way": "cpu"}
    said = "".join(capsys.readouterr())
    assert "stream_runs_on_cpu" in said
    assert "input kind direction has no CUDA twin" in said
    seen = 0
    for got, want in zip(found, expected, strict=True):
        for name, one in want.items():
            np.testing.assert_array_equal(got[name].active, one.active)
            np.testing.assert_allclose(got[name].energy, one.energy, rtol=1e-3, atol=1e-2)
            seen += int(one.active.sum()) if name == "way" else 0
    assert seen > 5


def test_arrays_are_fetched_when_they_are_asked_for(device: Device) -> None:
    frame, gate = FRAME, GATE
    here = on(device).observer(frame, gate)
    there = Observer(frame, gate)
    small = MemoryClip(length=2, width=120, height=80).frames  # enlarged on the host
    for picture in [*MemoryClip(length=3, width=200, height=112).frames, *small]:
        a, b = here.observe(picture), there.observe(picture)
        assert isinstance(a, DeviceObservation)
        assert (a.index, a.time_s, a.dt_s, a.has_flow) == (b.index, b.time_s, b.dt_s, b.has_flow)
        for name in ("bgr", "gray", "moved"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name))
        if b.flow is not None and b.coarse_flow is not None:
            np.testing.assert_allclose(a.flow, b.flow, atol=1e-2)
            np.testing.assert_allclose(a.coarse_flow, b.coarse_flow, atol=1e-2)
        else:
            assert a.flow is a.coarse_flow is None


def test_an_observation_of_the_cpu_is_refused(device: Device) -> None:
    frame, gate = FRAME, GATE
    seen = [Observer(frame, gate).observe(one) for one in MemoryClip(length=1).frames]
    given = on(device).input(InputSpec(kind="appearance"), frame, gate)
    with pytest.raises(InternalError, match="an observation of the CPU"):
        given.observe(seen[0])
