"""A whole frame on the device: the streams of the presets' bundles against the CPU pipeline."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.clips import MemoryClip

import edge.vision.observe
from edge.frames import EnergyMap, Frame
from edge.pipeline import Pipeline
from edge.vision.cuda.cells import GridCells, WindowCells
from edge.vision.cuda.device import Buffer, Device
from edge.vision.cuda.energy import MixtureEnergy
from edge.vision.cuda.flow import DenseFlow
from edge.vision.cuda.flow_window import FlowWindow
from edge.vision.cuda.observe import Coarse, Pictures, moved_on_device
from edge.vision.cuda.steady_flow import SteadyFlow, largest_nearby
from edge.vision.dynamic_flow import window_weights
from edge.vision.gate import CellGate
from edge.vision.patches import Grid
from edge.vision.windows import WindowGrid
from engines.backends.choose import open_backend
from engines.bundle import Bundle, load_bundle
from engines.model_spec import InputSpec

REFERENCE = Path(__file__).parents[4] / "engines" / "reference"
FLOOR = 5.0
TIME_CONSTANT_S = 0.28
SHARE = 0.08
SIZE = (280, 420)
# A wall with two squares that walk, at 10 frames a second.
CLIP = MemoryClip(length=5, speed=6, width=420, height=280).frames


def option(spec: InputSpec, key: str) -> float:
    return float(spec.options[key])


class FrameOnDevice:
    """What the streams share: picture, grey, flow, moved pixels; nothing leaves the device."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._pictures = Pictures(device, SIZE, SIZE)
        self._dense = DenseFlow(device)
        self._grey: Buffer | None = None
        self.flow: Buffer | None = None
        self.moved: Buffer | None = None

    def take(self, frame: Frame) -> None:
        self.bgr = self._pictures.resize(self._device.upload(frame.bgr))
        previous, self._grey = self._grey, self._pictures.grey(self.bgr)
        self.grey = self._grey
        if previous is not None:
            self.flow = self._dense.calc_on_device(previous, self._grey)
            self.moved = moved_on_device(self._device, previous, self._grey, 15)


def energies(bundle: Bundle) -> Iterator[dict[str, EnergyMap]]:
    """Of the CPU pipeline, frame by frame, by stream."""
    with Pipeline(bundle, threads=1) as pipeline:
        view = pipeline.new_view()
        for frame in CLIP:
            yield pipeline.energies([(view, frame)])[0]


def assert_energies(expected: EnergyMap, rows: np.ndarray, columns: np.ndarray, values: np.ndarray,
                    tolerance: float) -> None:  # fmt: skip
    active = np.zeros_like(expected.active)
    active[rows, columns] = True
    np.testing.assert_array_equal(active, expected.active)
    np.testing.assert_allclose(values, expected.energy[rows, columns], rtol=tolerance, atol=1e-3)


@pytest.mark.parametrize("name", ["ucsd_ped2_fast", "ucsd_ped2"])
def test_window_and_speed_streams(device: Device, name: str) -> None:
    bundle = load_bundle(REFERENCE / name)
    spec = next(s for s in bundle.model.streams if s.name == "appearance")
    assert spec.network is not None
    assert spec.head.file is not None
    backend = open_backend(bundle, spec.network, threads=1)
    head = MixtureEnergy(device, bundle.arrays(spec.head.file))
    windows = WindowCells(
        device,
        WindowGrid(
            height=SIZE[0], width=SIZE[1], stride=spec.input.stride, side=spec.input.patch,
            top=option(spec.input, "top"), bottom=option(spec.input, "bottom"),
        ),
    )  # fmt: skip
    frame_on_device, coarse = FrameOnDevice(device), Coarse(device, *SIZE)
    steady = SteadyFlow(
        device, height=SIZE[0], width=SIZE[1], time_constant_s=TIME_CONSTANT_S, floor=FLOOR
    )
    looked = 0
    for frame, expected in zip(CLIP, energies(bundle), strict=True):
        frame_on_device.take(frame)
        if frame_on_device.flow is None:
            continue
        steady.update(coarse.run(frame_on_device.flow), 0.1)

        rows, columns = np.nonzero(steady.share_moving(windows.shape) > SHARE)
        grey = bool(spec.input.options.get("grey"))
        picture = frame_on_device.grey if grey else frame_on_device.bgr
        batch = device.download(windows.gather(picture, rows, columns))
        values = head.energy(backend.infer(batch)) if len(rows) else np.zeros(0)
        assert_energies(expected["appearance"], rows, columns, values, tolerance=1e-4)

        speed = device.download(largest_nearby(device, steady.speed))
        rows, columns = np.nonzero(speed > FLOOR)
        assert_energies(expected["motion"], rows, columns, speed[rows, columns], tolerance=1e-4)
        looked += len(rows)
    assert looked > 100


def test_motion_patches_of_the_paper(device: Device) -> None:
    bundle = load_bundle(REFERENCE / "ucsd_ped2_paper")
    grid = Grid(*SIZE, 28, 28)
    cells, gate = GridCells(device, grid), CellGate(grid, min_pixels=4, memory=20)
    spec = next(s for s in bundle.model.streams if s.name == "motion")
    assert spec.network is not None
    assert spec.head.file is not None
    backend = open_backend(bundle, spec.network, threads=1)
    head = MixtureEnergy(device, bundle.arrays(spec.head.file))
    frame_on_device = FrameOnDevice(device)
    window = FlowWindow(device, length=20, height=SIZE[0], width=SIZE[1])
    looked = 0
    for frame, expected in zip(CLIP, energies(bundle), strict=True):
        frame_on_device.take(frame)
        if frame_on_device.flow is None or frame_on_device.moved is None:
            continue
        active = gate.update(device.download(frame_on_device.moved).astype(np.bool_))
        window.push_on_device(frame_on_device.flow)
        if len(window) < 2:
            continue
        weights = window_weights("ranksvm", window.gram, c=option(spec.input, "c"),
                                 values=SIZE[0] * SIZE[1] * 2)  # fmt: skip
        rows, columns = np.nonzero(active)
        scale = option(spec.input, "scale")
        field = window.motion_field(weights, weights)
        batch = device.download(cells.gather_motion(field, rows, columns, scale=scale))
        values = head.energy(backend.infer(batch))
        assert_energies(expected["motion"], rows, columns, values, tolerance=1e-3)
        looked += len(rows)
    assert looked > 20


def test_frame_scores_of_the_two_flows_rank_alike(
    device: Device, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(REFERENCE / "ucsd_ped2_fast")

    def scores() -> np.ndarray:
        with Pipeline(bundle, threads=1) as pipeline:
            view = pipeline.new_view()
            return np.array([pipeline.score(view, frame).score for frame in CLIP])

    expected = scores()
    monkeypatch.setattr(edge.vision.observe, "DenseFlow", lambda: DenseFlow(device))
    ranks = [values.argsort().argsort() for values in (expected, scores())]
    assert np.unique(expected).size >= 4
    assert np.corrcoef(*ranks)[0, 1] >= 0.999
