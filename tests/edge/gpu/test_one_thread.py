"""On a device everything but decoding stays in the caller's thread, and no score changes."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from support.bundles import tiny_bundle
from support.clips import MemoryClip
from support.cuda_shim import ShimDevice

from edge.compute import HOST
from edge.frames import Frame
from edge.gpu.compute import GpuCompute
from edge.pipeline import Pipeline
from edge.vision.cuda.device import Argument, Buffer
from engines.bundle import Bundle
from engines.errors import DataError

CLIP = MemoryClip(length=12, speed=9).frames


class NotingDevice(ShimDevice):
    """Notes the thread of every call, as a context of CUDA would check it."""

    callers: set[int]

    def empty(self, shape: Sequence[int], dtype: Any) -> Buffer:
        self.callers.add(threading.get_ident())
        return super().empty(shape, dtype)

    def upload(self, array: np.ndarray, into: Buffer | None = None) -> Buffer:
        self.callers.add(threading.get_ident())
        return super().upload(array, into)

    def download(self, buffer: Buffer) -> np.ndarray:
        self.callers.add(threading.get_ident())
        return super().download(buffer)

    def launch(self, name: str, grid: int, block: int, *arguments: Argument) -> None:
        self.callers.add(threading.get_ident())
        super().launch(name, grid, block, *arguments)


@pytest.fixture
def noting(shim: ShimDevice) -> NotingDevice:
    device = NotingDevice(shim.library)
    device.callers = set()
    return device


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return tiny_bundle(folder / "bundle", workspace=folder)


def opened(bundle: Bundle, device: ShimDevice) -> Pipeline:
    compute = GpuCompute(device, stand_in=True, owned=False)
    return Pipeline(bundle, threads=1, compute=compute, backend="onnxruntime-cpu")


def test_a_recording_is_read_ahead_and_worked_on_here(bundle: Bundle, noting: NotingDevice) -> None:
    readers: set[int] = set()

    def frames() -> Iterator[Frame]:
        for frame in CLIP:
            readers.add(threading.get_ident())
            yield frame

    with opened(bundle, noting) as pipeline:
        view = pipeline.new_view()
        expected = [pipeline.score(view, frame) for frame in CLIP]
        found = list(pipeline.score_all(pipeline.new_view(), frames()))
        assert pipeline.stage_ms["observe"] > 0.0
    assert noting.callers == {threading.get_ident()}
    assert len(readers) == 1
    assert readers.isdisjoint(noting.callers)
    assert [frame.index for frame, _ in found] == [frame.index for frame in CLIP]
    for (_, one), want in zip(found, expected, strict=True):
        assert one.score == want.score
        np.testing.assert_array_equal(one.map, want.map)


def test_an_error_of_the_recording_comes_in_its_place(bundle: Bundle, noting: NotingDevice) -> None:
    def frames() -> Iterator[Frame]:
        yield from CLIP[:4]
        raise DataError("cut short")

    scored: list[int] = []
    with opened(bundle, noting) as pipeline, pytest.raises(DataError, match="cut short"):
        scored.extend(frame.index for frame, _ in pipeline.score_all(pipeline.new_view(), frames()))
    assert scored == [0, 1, 2, 3]


def test_cameras_are_observed_one_after_the_other(bundle: Bundle, noting: NotingDevice) -> None:
    with opened(bundle, noting) as pipeline:
        views = [pipeline.new_view() for _ in range(3)]
        for frame in CLIP[:4]:
            pipeline.step([(view, frame) for view in views])
    assert noting.callers == {threading.get_ident()}


def test_on_the_cpu_cameras_are_observed_in_other_threads(bundle: Bundle) -> None:
    """The counterpart: without it the tests above would pass with no threads at all."""
    callers: set[int] = set()
    with Pipeline(bundle, threads=1, compute=HOST) as pipeline:
        views = [pipeline.new_view() for _ in range(3)]
        for view in views:
            observe = view.observer.observe

            def noted(frame: Frame, observe: Any = observe) -> Any:
                callers.add(threading.get_ident())
                return observe(frame)

            view.observer.observe = noted  # type: ignore[method-assign]
        pipeline.step([(view, CLIP[0]) for view in views])
        together = set(callers)
        callers.clear()
        list(pipeline.score_all(views[0], CLIP[1:]))
    assert together
    assert len(callers) == 1
    assert threading.get_ident() not in together | callers
