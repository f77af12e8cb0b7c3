"""Which machine a bundle runs on, with real plans of a stand-in of TensorRT; and what goes wrong.

The kernels run through the shim on host memory, the engine through ONNX Runtime on the same memory:
the whole of the product's own path but the hardware.
"""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
from support.clips import MemoryClip
from support.cuda_shim import ShimDevice
from support.fake_gpu import FakeCuda, FakeTensorRt
from support.quantisable_bundle import quantisable_bundle

from edge.cli.main import _run
from edge.config import config_from_text
from edge.frames import ScoreMap
from edge.gpu import choose
from edge.gpu.compute import GpuCompute
from edge.gpu.runner import DeviceRunner
from edge.launch import detector_of
from edge.pipeline import Pipeline
from edge.vision.cuda import nvrtc, pycuda_device
from edge.vision.cuda.device import Buffer
from edge.vision.cuda.nvrtc import open_nvrtc
from engines.backends.choose import open_backend
from engines.backends.onnxruntime_cuda import PROVIDER
from engines.backends.tensorrt import runner
from engines.backends.tensorrt.library import Library
from engines.backends.tensorrt.runner import TensorRtBackend
from engines.bundle import Bundle
from engines.errors import ConfigError, DataError, TemporaryError, UnavailableError, UsageError
from engines.plan_cache import PlanCache

CLIP = MemoryClip(length=6, seed=8, speed=9).frames


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return quantisable_bundle(folder / "bundle", workspace=folder)


@pytest.fixture
def opened(shim: ShimDevice, monkeypatch: pytest.MonkeyPatch) -> list[ShimDevice]:
    """Devices that the program opened where it would open a GPU."""
    devices: list[ShimDevice] = []

    def open_device() -> ShimDevice:
        devices.append(ShimDevice(shim.library))
        return devices[-1]

    monkeypatch.setattr(choose, "open_device", open_device)
    return devices


def scores(pipeline: Pipeline) -> list[ScoreMap]:
    view = pipeline.new_view()
    return [pipeline.score(view, frame) for frame in CLIP]


def test_the_gpu_is_taken_where_all_plans_are_and_scores_the_same(
    bundle: Bundle, opened: list[ShimDevice], plans: PlanCache, trt: FakeTensorRt
) -> None:
    with Pipeline(bundle, threads=1, compute="cpu", backend="onnxruntime-cpu") as pipeline:
        assert pipeline.compute == "cpu"
        expected = scores(pipeline)
    assert not opened
    with Pipeline(bundle, threads=1) as pipeline:
        assert [type(one) for one in pipeline._runners] == [DeviceRunner] * 2
        assert pipeline.compute == "cpu-shim"
        assert set(pipeline.backends.values()) == {"tensorrt/fp32"}
        backend = pipeline._runners[0].backend
        assert isinstance(backend, TensorRtBackend)
        assert backend.engine is not None
        assert backend.engine.stream == opened[0].stream  # one stream orders kernels and engine
        trt._runs.clear()
        found = scores(pipeline)
    assert len(opened) == 1
    assert trt._runs  # the engine ran, not ONNX Runtime
    for a, b in zip(found, expected, strict=True):
        for name, one in b.streams.items():
            np.testing.assert_allclose(
                a.streams[name].energy.energy, one.energy.energy, rtol=1e-3, atol=1e-3
            )
        assert a.score == pytest.approx(b.score, rel=1e-2, abs=1e-2)


def test_two_views_are_more_than_the_plan_takes_at_once(
    bundle: Bundle, opened: list[ShimDevice], plans: PlanCache, trt: FakeTensorRt
) -> None:
    """The plans are for 24 patches; with the gate off 48 come, and the order stays."""
    gate = bundle.model.gate.model_copy(update={"enabled": False})
    model = bundle.model.model_copy(update={"gate": gate})
    ungated = Bundle(bundle.root, bundle.manifest, model, bundle.alarm)

    def run(pipeline: Pipeline) -> np.ndarray:
        views = [pipeline.new_view() for _ in range(2)]
        pair = list(zip(views, (CLIP[0], CLIP[4]), strict=True))
        return np.array([maps["appearance"].energy for maps in pipeline.energies(pair)])

    with Pipeline(ungated, threads=1, compute="cpu", backend="onnxruntime-cpu") as pipeline:
        expected = run(pipeline)
    with Pipeline(ungated, threads=1) as pipeline:
        trt._runs.clear()
        found = run(pipeline)
        assert trt._runs == [24, 24]
    assert not np.allclose(expected[0], expected[1])
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_without_plans_auto_stays_on_the_cpu_and_opens_nothing(
    bundle: Bundle, opened: list[ShimDevice], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VIGIL_ENGINES", str(tmp_path / "none"))
    with Pipeline(bundle, threads=1) as pipeline:
        assert pipeline.compute == "cpu"
    assert not opened


def test_cuda_by_name_without_plans_brings_the_cells_to_the_host_and_says_so(
    bundle: Bundle,
    opened: list[ShimDevice],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("VIGIL_ENGINES", str(tmp_path / "none"))
    with Pipeline(bundle, threads=1, compute="cuda") as pipeline:
        assert pipeline.compute == "cpu-shim"
        assert set(pipeline.backends.values()) == {"onnxruntime-cpu/fp32"}
        assert any(one.streams["motion"].energy.active.any() for one in scores(pipeline))
    said = "".join(capsys.readouterr())
    assert "its network runs on onnxruntime-cpu: its cells come to the host" in said


def test_plans_of_another_machine_leave_all_of_it_to_the_cpu(
    bundle: Bundle,
    opened: list[ShimDevice],
    plans: PlanCache,
    trt: FakeTensorRt,
    library: Library,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    newer = Library("tensorrt", trt, (10, 16, 0, 1), library.logger, library.messages)
    monkeypatch.setattr(runner, "open_library", lambda _: newer)
    with Pipeline(bundle, threads=1) as pipeline:
        assert pipeline.compute == "cpu"
        assert set(pipeline.backends.values()) == {"onnxruntime-cpu/fp32"}
    assert "gpu_skipped" in "".join(capsys.readouterr())


def test_a_plan_that_fails_parity_starts_nothing(
    bundle: Bundle,
    opened: list[ShimDevice],
    plans: PlanCache,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest = TensorRtBackend.infer
    monkeypatch.setattr(
        TensorRtBackend, "infer", lambda self, batch: honest(self, batch)[:, ::-1].copy()
    )
    with pytest.raises(DataError, match="outputs differ"):
        Pipeline(bundle, threads=1)


def test_an_unknown_name_lists_the_known(bundle: Bundle) -> None:
    with pytest.raises(UsageError, match="no compute 'tpu'") as error:
        Pipeline(bundle, compute="tpu")
    assert error.value.mend == "choose one of auto, cpu, cuda"


def test_events_name_the_gpu(bundle: Bundle, opened: list[ShimDevice], plans: PlanCache) -> None:
    with Pipeline(bundle, threads=1) as pipeline:
        model = detector_of(bundle, pipeline.backends, compute=pipeline.compute).model
    assert (model.compute, model.backend, model.precision) == ("cpu-shim", "tensorrt", "fp32")


# What goes wrong


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (
            UnavailableError("pycuda cannot load the NVIDIA driver: libcuda.so.1", mend="install"),
            "cannot load the NVIDIA driver",
        ),
        (UnavailableError("NVRTC is not installed", mend="install NVRTC"), "NVRTC"),
    ],
)
def test_a_missing_part_is_an_error_by_name_and_a_warning_in_auto(
    bundle: Bundle,
    plans: PlanCache,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fault: UnavailableError,
    message: str,
) -> None:
    def fail() -> None:
        raise fault

    monkeypatch.setattr(choose, "open_device", fail)
    with pytest.raises(UnavailableError, match=message) as caught:
        Pipeline(bundle, compute="cuda")
    assert caught.value.exit_code == 69
    assert caught.value.mend
    with Pipeline(bundle, threads=1) as pipeline:
        assert pipeline.compute == "cpu"
    said = "".join(capsys.readouterr())
    assert "gpu_skipped" in said
    assert message in said


def test_this_machine_says_what_it_lacks(bundle: Bundle) -> None:
    """No stand-in at all: whatever of pycuda and driver is missing here is named."""
    with contextlib.suppress(UnavailableError):
        pycuda_device.open_device().close()
        pytest.skip("this machine has a GPU")
    with pytest.raises(UnavailableError, match=r"pycuda|driver|NVRTC") as caught:
        Pipeline(bundle, compute="cuda")
    assert caught.value.mend


@pytest.mark.parametrize("command", ["run", "bench"])
def test_the_command_line_says_it_with_code_69(
    bundle: Bundle,
    command: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def fail() -> None:
        raise UnavailableError("the NVIDIA driver does not start", mend="check nvidia-smi")

    monkeypatch.setattr(choose, "open_device", fail)
    named = {
        "run": ["--bundle", str(bundle.root), "--state", str(tmp_path)],
        "bench": [str(bundle.root)],
    }
    code = _run([command, *named[command], "--source", str(tmp_path), "--compute", "cuda"])
    said = capsys.readouterr().err
    assert code == 69
    assert "the NVIDIA driver does not start" in said
    assert "mend:  check nvidia-smi" in said
    assert "Traceback" not in said


def test_nvrtc_that_is_missing_is_named_with_its_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(nvrtc, "installed", list)
    monkeypatch.setattr(nvrtc.ctypes.util, "find_library", lambda _: None)
    with pytest.raises(UnavailableError, match="NVRTC") as caught:
        open_nvrtc()
    assert "nvidia-cuda-nvrtc" in str(caught.value.mend)


def test_an_engine_that_does_not_fit_into_device_memory_is_told_and_freed(
    bundle: Bundle, opened: list[ShimDevice], plans: PlanCache, cuda: FakeCuda
) -> None:
    cuda.lib.fake_set_limit(200_000)  # the first engine needs 226 kB for its input alone
    with pytest.raises(TemporaryError, match="out of device memory") as caught:
        Pipeline(bundle, threads=1)
    assert "fewer cameras" in str(caught.value.mend)
    cuda.lib.fake_set_limit(1 << 30)


class SmallDevice(ShimDevice):
    """Has room for so many bytes, counted as they are asked for."""

    left = 1 << 40

    def empty(self, shape: object, dtype: object) -> Buffer:
        buffer = super().empty(shape, dtype)  # type: ignore[arg-type]
        self.left -= buffer.nbytes
        if self.left < 0:
            raise UnavailableError(
                "the GPU has 0 of 8 MiB left", where=self.name, mend="run fewer cameras"
            )
        return buffer


def test_one_camera_too_many_is_told_and_the_others_go_on(bundle: Bundle, shim: ShimDevice) -> None:
    device = SmallDevice(shim.library)
    with Pipeline(bundle, threads=1, compute=GpuCompute(device, stand_in=True)) as pipeline:
        views = [pipeline.new_view() for _ in range(2)]
        expected = pipeline.score(views[0], CLIP[0])
        device.left = 100_000  # a camera of 168 x 112 px needs more
        with pytest.raises(UnavailableError, match="of 8 MiB left") as caught:
            pipeline.score(views[1], CLIP[0])
        assert caught.value.mend == "run fewer cameras"
        assert caught.value.exit_code == 69
        device.left = 1 << 40
        views[0].reset()
        assert pipeline.score(views[0], CLIP[0]).score == expected.score


def test_a_stand_in_without_its_cuda_provider_is_refused(bundle: Bundle) -> None:
    if PROVIDER in ort.get_available_providers():
        pytest.skip("this ONNX Runtime has CUDA")
    network = bundle.model.streams[0].network
    assert network is not None
    with pytest.raises(UnavailableError, match="no CUDA provider") as caught:
        open_backend(bundle, network, name="onnxruntime-cuda")
    assert "onnxruntime-gpu" in str(caught.value.mend)


# The configuration


def test_the_configuration_takes_a_compute_and_refuses_an_unknown_one(tmp_path: Path) -> None:
    text = "schema_version: 1\nbundle: b\nstate: s\ncameras: {yard: {source: a.mp4}}\n"
    assert config_from_text(text, file="c", folder=tmp_path).compute == "auto"
    cuda = config_from_text(text + "compute: cuda\n", file="c", folder=tmp_path)
    assert cuda.compute == "cuda"
    with pytest.raises(ConfigError, match="compute"):
        config_from_text(text + "compute: tpu\n", file="c", folder=tmp_path)
