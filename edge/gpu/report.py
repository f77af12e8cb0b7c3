"""`vigil bench --gpu-report`: all that only a GPU can tell, in one JSON file.

NOT YET VERIFIED ON HARDWARE: its logic is tested on an emulated device with an emulated clock.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from edge.bench import bench
from edge.capture.source import open_source
from edge.frames import Frame
from edge.gpu.compute import GpuCompute
from edge.gpu.device_tests import TestRun
from edge.gpu.timing import TimedDevice
from edge.pipeline import Pipeline
from edge.vision.cuda.device import MeasuredDevice
from engines.backends.choose import ONNXRUNTIME_CUDA, open_backend
from engines.backends.cuda_driver import tegra_release
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.backends.tensorrt.library import TENSORRT
from engines.bundle import Bundle
from engines.errors import DataError, TemporaryError, UnavailableError

FORMAT: Final = 1
CAMERAS: Final = (1, 4, 16, 64)
WARM_UP: Final = 3
_PACKAGES: Final = ("vigil", "numpy", "onnxruntime", "onnxruntime-gpu", "pycuda", "tensorrt")
_DRIVER: Final = Path("/proc/driver/nvidia/version")
_STAND_IN: Final = (
    "TensorRT does not run this bundle here: {name} stands in for the encoder, through the "
    "host's memory; encode times and all that contains them are not those of the product"
)

Say = Callable[[str], None]


@dataclass(frozen=True)
class ReportPlan:
    """What is measured.

    Attributes:
        frames: Frames of each measurement, without the first `WARM_UP`.
        cameras: Numbers of cameras of the sweep; None: `CAMERAS`.
        run_tests: Runs the GPU's tests; None leaves them out.
    """

    frames: int = 60
    cameras: tuple[int, ...] | None = None
    run_tests: Callable[[], TestRun] | None = None


def gpu_report(
    bundle: Bundle,
    source: str,
    device: MeasuredDevice,
    plan: ReportPlan,
    *,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Measure and describe; takes minutes.

    Args:
        bundle: The bundle to measure with.
        source: A recording, as `edge.capture.source.open_source` takes it.
        device: Open, and left open.
        plan: What is measured.
        say: Told what is being done.

    Raises:
        DataError: The recording has too few frames.
        UnavailableError: Out of device memory with one camera.
    """
    encoder = _encoder_of(bundle)
    frames = _frames(source, plan.frames + WARM_UP)
    say(f"{device.name}: encoder {encoder.backend}")
    compute = GpuCompute(device, stand_in=encoder.stand_in, owned=False)
    report: dict[str, Any] = {
        "format": FORMAT,
        "made": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "device": asdict(device.facts()),
        "system": _system(),
        "bundle": {"name": bundle.model.name, "digest": bundle.digest},
        "encoder": encoder.to_json(),
    }
    if plan.run_tests is None:
        report["tests"] = {"run": False, "reason": "no folder of tests beside this installation"}
    else:
        say("running the GPU's tests")
        tests = plan.run_tests()
        report["tests"] = {"run": True, **asdict(tests), "failed": list(tests.failed)}
    say("timing the kernels")
    report["kernels"] = _kernels(bundle, frames, device, encoder)
    say("end to end, on the GPU and on the CPU")
    report["end_to_end"] = {
        "gpu": bench(
            bundle, source, frames=len(frames), backend=encoder.backend, compute=compute
        ).to_json(),
        "cpu": bench(bundle, source, frames=len(frames), compute="cpu").to_json(),
    }
    report["cameras"] = []
    for count in plan.cameras or CAMERAS:
        say(f"{count} cameras")
        report["cameras"].append(_sweep_or_failure(bundle, frames, device, encoder, count))
    return report


@dataclass(frozen=True)
class _Encoder:
    """What runs the networks, and why nothing better does."""

    backend: str
    refused: dict[str, str]

    @property
    def stand_in(self) -> bool:
        return self.backend != TENSORRT

    def to_json(self) -> dict[str, Any]:
        note = _STAND_IN.format(name=self.backend) if self.stand_in else ""
        return {**asdict(self), "stand_in": self.stand_in, "note": note}


def _encoder_of(bundle: Bundle) -> _Encoder:
    """TensorRT where all networks open with it, else what stands in for it."""
    refused = {}
    for name in (TENSORRT, ONNXRUNTIME_CUDA):
        try:
            for stream in bundle.model.streams:
                if stream.network is not None:
                    open_backend(bundle, stream.network, name=name).close()
        except UnavailableError as error:
            refused[name] = str(error)
        else:
            return _Encoder(name, refused)
    return _Encoder(OnnxRuntimeCpu.name, refused)


def _frames(source: str, count: int) -> list[Frame]:
    with open_source(source) as opened:
        frames = list(islice(opened, count))
    if len(frames) <= WARM_UP:
        raise DataError(
            f"a report needs more than {WARM_UP} frames, the source gave {len(frames)}",
            where=source,
        )
    return frames


def _system() -> dict[str, Any]:
    versions: dict[str, str | None] = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    try:
        driver = _DRIVER.read_text(encoding="utf-8", errors="replace").splitlines()[0]
    except (OSError, IndexError):
        driver = ""
    return {
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "driver": driver,
        "l4t": tegra_release(),
        "packages": versions,
    }


def _kernels(
    bundle: Bundle, frames: Sequence[Frame], device: MeasuredDevice, encoder: _Encoder
) -> dict[str, Any]:
    """Each kernel's launches per frame and milliseconds, one camera."""
    timed = TimedDevice(device)
    compute = GpuCompute(timed, stand_in=encoder.stand_in, owned=False)
    with Pipeline(bundle, backend=encoder.backend, compute=compute) as pipeline:
        view = pipeline.new_view()
        for number, frame in enumerate(frames):
            timed.timing = number >= WARM_UP
            pipeline.score(view, frame)
    count = len(frames) - WARM_UP
    return {
        name: {
            "launches_per_frame": round(one.launches / count, 3),
            "median_ms": round(one.median_ms, 5),
            "ms_per_frame": round(one.total_ms / count, 5),
        }
        for name, one in timed.times().items()
    }


def _sweep_or_failure(
    bundle: Bundle, frames: Sequence[Frame], device: MeasuredDevice, encoder: _Encoder, count: int
) -> dict[str, Any]:
    try:
        return _sweep(bundle, frames, device, encoder, count)
    except (UnavailableError, TemporaryError) as error:
        if count == 1:
            raise
        return {"cameras": count, "failed": str(error)}


def _sweep(
    bundle: Bundle, frames: Sequence[Frame], device: MeasuredDevice, encoder: _Encoder, count: int
) -> dict[str, Any]:
    """So many cameras in one step; each shows the clip, begun at another frame."""
    before = device.facts().free_mib
    compute = GpuCompute(device, stand_in=encoder.stand_in, owned=False)
    with Pipeline(bundle, backend=encoder.backend, compute=compute) as pipeline:
        views = [pipeline.new_view() for _ in range(count)]
        started = 0.0
        for number, moment in enumerate(frames):
            if number == WARM_UP:
                pipeline.stage_ms.clear()
                started = time.perf_counter()
            pictures = (frames[(number + one) % len(frames)].bgr for one in range(count))
            pipeline.step(
                [
                    (view, Frame(moment.index, moment.time_s, bgr))
                    for view, bgr in zip(views, pictures, strict=True)
                ]
            )
        seconds = time.perf_counter() - started
        used = before - device.facts().free_mib
        steps = len(frames) - WARM_UP
        return {
            "cameras": count,
            "ms_per_step": round(seconds * 1e3 / steps, 4),
            "ms_per_camera_frame": round(seconds * 1e3 / steps / count, 4),
            "frames_per_second": round(steps * count / seconds, 2),
            "memory_mib": used,
            "stages_ms_per_step": {
                name: round(ms / steps, 4) for name, ms in pipeline.stage_ms.items()
            },
        }
