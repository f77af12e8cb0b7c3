"""The GPU report on an emulated device with a clock that ticks once a mark."""

from __future__ import annotations

import itertools
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest
from click.testing import CliRunner
from support.bundles import tiny_bundle
from support.clips import MemoryClip
from support.cuda_shim import ShimDevice
from support.fake_gpu import FakeTensorRt

import edge.cli.bench as command
import edge.gpu.report as report_module
from edge.cli.main import _run
from edge.gpu.device_tests import TestRun, checkout, run_device_tests
from edge.gpu.report import WARM_UP, ReportPlan, gpu_report
from edge.gpu.timing import TimedDevice
from edge.vision.cuda.device import Buffer, DeviceFacts
from edge.vision.cuda.kernels import kernels
from engines.bundle import Bundle
from engines.errors import DataError, InternalError, UnavailableError
from engines.plan_cache import PlanCache

FRAMES = 4


class FakeGpu(ShimDevice):
    """Marks are ticks of one millisecond; memory is what was asked for and not given back."""

    ticks: Any = None
    room = 1 << 40
    closed = 0

    def mark(self) -> int:
        self.ticks = self.ticks or itertools.count()
        return next(self.ticks)

    def elapsed_ms(self, first: int, second: int) -> float:
        return float(second - first)

    def facts(self) -> DeviceFacts:
        return DeviceFacts("Stand-in", "8.7", "12.6", "12.6", 4096, 4000)

    def empty(self, shape: Any, dtype: Any) -> Buffer:
        self.room -= 1
        if self.room < 0:
            raise UnavailableError("the GPU has 0 of 4096 MiB left", mend="run fewer cameras")
        return super().empty(shape, dtype)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def fake(shim: ShimDevice) -> FakeGpu:
    return FakeGpu(shim.library, name="cuda:0 Stand-in sm_87")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    return tiny_bundle(folder / "bundle", workspace=folder)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("clip")
    for frame in MemoryClip(length=FRAMES + WARM_UP, speed=9).frames:
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.bgr)
    return str(folder)


@pytest.fixture(autouse=True)
def no_plans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("VIGIL_ENGINES", str(tmp_path / "none"))


def test_the_report_holds_all_its_parts(bundle: Bundle, clip: str, fake: FakeGpu) -> None:
    plan = ReportPlan(
        frames=FRAMES, cameras=(1, 3), run_tests=lambda: TestRun(True, "7 passed", ())
    )
    said: list[str] = []
    report = gpu_report(bundle, clip, fake, plan, say=said.append)
    assert json.loads(json.dumps(report)) == report
    assert report["device"]["name"] == "Stand-in"
    assert report["tests"] == {"run": True, "passed": True, "summary": "7 passed", "failed": []}
    assert report["encoder"]["stand_in"] is True
    assert "stands in for the encoder" in report["encoder"]["note"]
    assert set(report["encoder"]["refused"]) == {"tensorrt", "onnxruntime-cuda"}
    assert set(report["kernels"]) <= set(kernels())
    assert {"inverse_search", "refine", "gather_motion", "log_joint_diagonal"} <= set(
        report["kernels"]
    )
    for one in report["kernels"].values():
        # A tick before and one after: each launch takes one fake millisecond.
        assert one["median_ms"] == 1.0
        assert one["ms_per_frame"] == one["launches_per_frame"]
    assert report["kernels"]["grey_from_bgr"]["launches_per_frame"] == 1.0
    assert report["end_to_end"]["gpu"]["compute"] == fake.name
    assert report["end_to_end"]["cpu"]["compute"] == "cpu"
    assert report["end_to_end"]["gpu"]["frames"] == FRAMES + WARM_UP
    assert [one["cameras"] for one in report["cameras"]] == [1, 3]
    for one in report["cameras"]:
        ratio = one["ms_per_step"] / one["ms_per_camera_frame"]
        assert ratio == pytest.approx(one["cameras"], rel=0.01)
    assert said[0].startswith(fake.name)
    assert fake.closed == 0  # it is the caller's


def test_with_plans_the_engine_itself_is_measured(
    bundle: Bundle, clip: str, fake: FakeGpu, plans: PlanCache, trt: FakeTensorRt
) -> None:
    trt._runs.clear()
    report = gpu_report(bundle, clip, fake, ReportPlan(frames=1, cameras=(2,)))
    assert report["encoder"] == {
        "backend": "tensorrt",
        "refused": {},
        "stand_in": False,
        "note": "",
    }
    assert report["end_to_end"]["gpu"]["backend"] == "tensorrt"
    assert trt._runs


def test_cameras_that_do_not_fit_are_written_down_and_one_must(
    bundle: Bundle, clip: str, fake: FakeGpu
) -> None:
    plan = ReportPlan(frames=1, cameras=(1, 64))
    whole = gpu_report(bundle, clip, fake, ReportPlan(frames=1, cameras=(1,)))
    assert whole["tests"]["run"] is False
    needed = (1 << 40) - fake.room
    fake.room = needed + 50
    report = gpu_report(bundle, clip, fake, plan)
    assert "ms_per_step" in report["cameras"][0]
    assert "MiB left" in report["cameras"][1]["failed"]
    fake.room = 100
    with pytest.raises(UnavailableError, match="MiB left"):
        gpu_report(bundle, clip, fake, plan)


def test_a_clip_of_three_frames_is_too_short(bundle: Bundle, fake: FakeGpu, tmp_path: Path) -> None:
    for frame in MemoryClip(length=WARM_UP).frames:
        cv2.imwrite(str(tmp_path / f"{frame.index}.png"), frame.bgr)
    with pytest.raises(DataError, match="more than 3 frames"):
        gpu_report(bundle, str(tmp_path), fake, ReportPlan())


def test_marks_stand_around_a_launch_only_while_timing(fake: FakeGpu) -> None:
    timed = TimedDevice(fake)
    grey = timed.empty((4, 4), "uint8")
    picture = timed.empty((4, 4, 3), "uint8")
    for timing in (False, True, True):
        timed.timing = timing
        timed.launch("grey_from_bgr", 1, 256, picture, grey, 16)
    times = timed.times()
    assert times["grey_from_bgr"].launches == 2
    assert times["grey_from_bgr"].total_ms == 2.0
    assert timed.times() == {}


def call(bundle: Bundle, clip: str, file: Path) -> Any:
    arguments = [bundle.root, "--source", clip, "--frames", 1, "--gpu-report", file]
    return CliRunner().invoke(command.bench_command, [str(one) for one in arguments])


def test_the_command_writes_the_file_and_fails_if_the_tests_did(
    bundle: Bundle, clip: str, fake: FakeGpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "open_device", lambda: fake)
    monkeypatch.setattr(
        command, "run_device_tests", lambda _: TestRun(False, "1 failed", ("FAILED a",))
    )
    monkeypatch.setattr(report_module, "CAMERAS", (1,))
    result = call(bundle, clip, tmp_path / "report.json")
    assert isinstance(result.exception, InternalError), result.output
    assert "1 failed" in str(result.exception)
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["tests"]["failed"] == ["FAILED a"]
    assert "stands in for the encoder" in result.stderr
    assert fake.closed == 1


def test_without_a_gpu_the_code_is_69_and_the_mend_is_said(
    bundle: Bundle, clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "report.json"
    code = _run(["bench", str(bundle.root), "--source", clip, "--gpu-report", str(file)])
    said = capsys.readouterr().err
    if file.exists():
        pytest.skip("this machine has a GPU")
    assert code == 69
    assert "mend:" in said
    assert "Traceback" not in said


def test_the_tests_run_in_a_process_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import os\n"
        "def test_good(): assert os.environ['VIGIL_TEST_GPU'] == '1'\n"
        "def test_bad(): assert False\n"
    )
    run = run_device_tests(tmp_path, ("test_it.py",))
    assert not run.passed
    assert "1 failed, 1 passed" in run.summary
    assert [line.split(" - ")[0] for line in run.failed] == ["FAILED test_it.py::test_bad"]
    assert "not done after" in run_device_tests(tmp_path, ("test_it.py",), limit_s=0.01).summary
    assert sys.executable
    root = checkout()
    assert root is not None
    assert (root / "pyproject.toml").is_file()
