"""Cameras over real servers: killed, hung, frozen, resized, garbage, dripping, refusing."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
from support.broker import wait_until
from support.camera_servers import (
    CALM,
    HASTY,
    CameraServer,
    Watch,
    mjpeg_server,
    need_gstreamer,
    rtsp_server,
)

from edge.capture.frame_ring import MAX_PIXELS


@pytest.fixture(scope="module")
def shared() -> Iterator[CameraServer]:
    with mjpeg_server() as server:
        yield server


@pytest.fixture
def own() -> Iterator[CameraServer]:
    with mjpeg_server() as server:
        yield server


def at(server: CameraServer, path: str) -> str:
    return f"http://127.0.0.1:{server.port}/{path}"


def rtsp(server: CameraServer) -> str:
    return f"rtsp://127.0.0.1:{server.port}/cam"


class TestMjpeg:
    def test_frames_come_live_and_in_order(self, shared: CameraServer) -> None:
        with Watch(at(shared, "live"), CALM) as watch:
            watch.more_frames(20)
        assert watch.states == ["connecting", "live"]
        times = [frame.time_s for frame in watch.frames]
        indices = [frame.index for frame in watch.frames]
        assert times == sorted(times)
        assert indices == sorted(set(indices))
        assert watch.frames[0].bgr.shape == (120, 160, 3)
        assert watch.supervisor.fps == pytest.approx(19.0, abs=9.0)

    def test_a_camera_that_appears_late_is_found(self, own: CameraServer) -> None:
        own.kill()
        with Watch(at(own, "live")) as watch:
            watch.until(lambda: watch.states.count("backoff") >= 3)
            own.start()
            watch.more_frames()
        assert watch.states[-1] == "live"

    def test_a_killed_source_is_lost_and_comes_back(self, own: CameraServer) -> None:
        with Watch(at(own, "live")) as watch:
            watch.more_frames()
            own.kill()
            watch.state("backoff")
            own.start()
            watch.more_frames()
        assert watch.reasons == {None, "capture_failed"}

    def test_a_hung_source_is_stale_then_lost_and_comes_back(self, own: CameraServer) -> None:
        with Watch(at(own, "live")) as watch:
            watch.more_frames()
            own.hang()
            watch.state("stale", 10.0)
            watch.state("lost", 10.0)
            own.go_on()
            watch.more_frames()

    def test_a_short_hang_is_only_stale(self, own: CameraServer) -> None:
        with Watch(at(own, "live"), replace(HASTY, lost_s=30.0)) as watch:
            watch.more_frames()
            own.hang()
            watch.state("stale", 10.0)
            epoch = watch.supervisor.epoch
            own.go_on()
            watch.more_frames()
        assert watch.states[:4] == ["connecting", "live", "stale", "live"]
        assert len(watch.processes) == 1
        assert watch.supervisor.epoch > epoch

    def test_a_frozen_picture_is_a_state_of_its_own(self, shared: CameraServer) -> None:
        with Watch(at(shared, "frozen"), CALM) as watch:
            watch.state("frozen")
            count = len(watch.frames)
            time.sleep(1.0)
            watch.until(lambda: True)
        assert len(watch.frames) <= count + 1
        assert watch.states[-1] == "frozen"
        assert len(watch.processes) == 2  # one attempt to free it, no more for a while

    def test_a_new_size_in_mid_stream_goes_on(self, shared: CameraServer) -> None:
        with Watch(at(shared, "resize"), CALM) as watch:
            watch.until(lambda: len({frame.bgr.shape for frame in watch.frames}) == 3)
        assert watch.states == ["connecting", "live"]
        assert {frame.bgr.shape[:2] for frame in watch.frames} == {(120, 160), (60, 80), (60, 160)}

    def test_garbage_between_pictures_is_counted_and_skipped(self, shared: CameraServer) -> None:
        with Watch(at(shared, "garbage"), CALM) as watch:
            watch.more_frames(12)
        assert watch.states == ["connecting", "live"]
        assert watch.supervisor.skipped >= 6
        assert {frame.bgr.shape for frame in watch.frames} == {(120, 160, 3)}

    def test_noise_alone_is_no_camera(self, shared: CameraServer) -> None:
        with Watch(at(shared, "noise"), replace(HASTY, connect_s=4.0)) as watch:
            watch.until(lambda: bool(watch.processes))
            time.sleep(3.0)
            memory = psutil.Process(watch.processes[0].pid).memory_info().rss
            watch.state("lost")
        assert watch.frames == []
        assert memory < 200 * 2**20

    def test_a_slow_drip_is_lost(self, shared: CameraServer) -> None:
        with Watch(at(shared, "drip")) as watch:
            watch.more_frames(1)
            watch.state("lost")
        assert "no_frames" in watch.reasons

    def test_silence_after_the_connection_is_lost(self, shared: CameraServer) -> None:
        with Watch(at(shared, "silent"), replace(HASTY, connect_s=1.0)) as watch:
            watch.until(lambda: watch.states.count("lost") == 2)
        assert watch.reasons >= {"open_timeout"}

    def test_a_picture_of_monstrous_size_is_skipped(self, shared: CameraServer) -> None:
        with Watch(at(shared, "huge"), replace(HASTY, connect_s=4.0)) as watch:
            watch.until(lambda: bool(watch.processes))
            time.sleep(3.0)
            memory = psutil.Process(watch.processes[0].pid).memory_info().rss
            watch.state("lost")
        assert watch.frames == []
        assert memory < MAX_PIXELS * 3 * 3

    @pytest.mark.parametrize(("path", "reason"), [("redirect", 302), ("nothing", 404)])
    def test_another_answer_is_told(
        self, shared: CameraServer, path: str, reason: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Watch(at(shared, path)) as watch:
            watch.state("backoff")
        assert f"The camera answers {reason}" in "".join(capsys.readouterr())

    def test_a_refused_login_is_tried_once_and_shows_nowhere(
        self, own: CameraServer, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with Watch(f"http://viewer:hunter2@127.0.0.1:{own.port}/secret") as watch:
            watch.state("quarantined")
            time.sleep(0.5)
            command = psutil.Process().children(recursive=True)
            assert not any("hunter2" in " ".join(child.cmdline()) for child in command)
        assert own.said().count("asked") == 2  # without a login, and with it
        assert "hunter2" not in "".join(capfd.readouterr())
        assert len(watch.processes) == 1


class TestRtsp:
    def test_killed_and_hung_and_back(self) -> None:
        with rtsp_server() as server, Watch(rtsp(server)) as watch:
            watch.more_frames()
            server.hang()
            watch.state("stale")
            watch.state("lost")
            server.kill()
            server.start()
            watch.more_frames()
            assert "no_frames" in watch.reasons
            server.kill()
            watch.state("backoff")

    def test_frozen(self) -> None:
        with rtsp_server("--frozen") as server, Watch(rtsp(server), CALM) as watch:
            watch.state("frozen")

    def test_a_new_size_in_mid_stream_goes_on(self) -> None:
        sizes = "320x240,160x120,320x120"
        with rtsp_server("--sizes", sizes) as server, Watch(rtsp(server), CALM) as watch:
            watch.until(lambda: len({f.bgr.shape for f in watch.frames}) == 3)
        assert len(watch.processes) == 1

    def test_a_refused_login_is_quarantined_and_the_right_one_is_not(
        self, capfd: pytest.CaptureFixture[str]
    ) -> None:
        with rtsp_server("--login", "viewer:hunter2") as server:
            wrong = f"rtsp://viewer:wrong-hunter@127.0.0.1:{server.port}/cam"
            with Watch(wrong) as watch:
                watch.state("quarantined")
            right = f"rtsp://viewer:hunter2@127.0.0.1:{server.port}/cam"
            with Watch(right) as watch:
                watch.more_frames()
        written = "".join(capfd.readouterr())
        assert "401" in written
        assert "hunter" not in written


SILENT = """
import time
from edge.capture.gstreamer import GstreamerSource
source = GstreamerSource("videotestsrc is-live=true ! identity sleep-time=60000000")
with source:
    print(source._process.pid, flush=True)
    time.sleep(60)
"""


def is_over(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.status() == psutil.STATUS_ZOMBIE
    return True


class TestGstreamer:
    def test_a_pipeline_is_a_camera(self) -> None:
        need_gstreamer()
        pipeline = "videotestsrc is-live=true pattern=ball ! video/x-raw,width=320,height=240"
        with Watch(f"gst:{pipeline},framerate=15/1") as watch:
            watch.more_frames(10)
            children = psutil.Process(watch.processes[0].pid).children()
            assert [child.name() for child in children] == ["gst-launch-1.0"]
        assert watch.frames[0].bgr.shape == (240, 320, 3)
        _, alive = psutil.wait_procs(children, timeout=3)
        assert all(child.status() == psutil.STATUS_ZOMBIE for child in alive)

    def test_a_silent_pipeline_ends_with_the_process_that_reads_it(self) -> None:
        """One that writes would end by itself, at its closed pipe."""
        need_gstreamer()
        reader = subprocess.Popen([sys.executable, "-c", SILENT], stdout=subprocess.PIPE, text=True)
        assert reader.stdout is not None
        pipeline = psutil.Process(int(reader.stdout.readline()))
        try:
            wait_until(lambda: pipeline.name() == "gst-launch-1.0")
            reader.kill()
            wait_until(lambda: is_over(pipeline), timeout_s=5)
        finally:
            reader.kill()
            reader.communicate()
            with contextlib.suppress(psutil.NoSuchProcess):
                pipeline.kill()

    def test_colours_are_right(self) -> None:
        need_gstreamer()
        red = "videotestsrc is-live=true pattern=red ! video/x-raw,width=320,height=240"
        with Watch(f"gst:{red}") as watch:
            watch.more_frames(1)
        blue, green, red_level = watch.frames[0].bgr.reshape(-1, 3).mean(axis=0)
        assert red_level > 230
        assert max(blue, green) < 25

    def test_what_gstreamer_lacks_is_told(self, capsys: pytest.CaptureFixture[str]) -> None:
        need_gstreamer()
        with Watch("csi://0") as watch:
            watch.state("backoff")
        assert 'no element "nvarguscamerasrc"' in "".join(capsys.readouterr())


class TestChildren:
    def test_a_capture_process_that_hangs_is_killed(self, shared: CameraServer) -> None:
        with Watch(at(shared, "live")) as watch:
            watch.more_frames()
            os.kill(watch.processes[0].pid, signal.SIGSTOP)
            watch.state("lost")
            watch.more_frames()
        assert len(watch.processes) >= 2

    def test_a_capture_process_that_crashes_is_replaced(
        self, shared: CameraServer, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with Watch(at(shared, "live")) as watch:
            watch.more_frames()
            os.kill(watch.processes[0].pid, signal.SIGSEGV)
            watch.state("backoff")
            watch.more_frames()
        assert "signal 11" in "".join(capsys.readouterr())

    @pytest.mark.slow
    @pytest.mark.timeout(600)  # fifty processes: 20 s, and many times that on a busy machine
    def test_fifty_reconnects_leave_nothing_behind(self, shared: CameraServer) -> None:
        me = psutil.Process()
        hurry = replace(HASTY, backoff_min_s=0.001, backoff_max_s=0.002)
        with Watch(at(shared, "short"), hurry) as watch:
            watch.until(lambda: watch.states.count("lost") >= 8)
            before = me.memory_info().rss, me.num_fds(), threading.active_count()
            watch.until(lambda: watch.states.count("lost") >= 50, 500)
            after = me.memory_info().rss, me.num_fds(), threading.active_count()
            alive = [p for p in watch.processes if Path(f"/proc/{p.pid}").exists()]
        assert len(alive) <= 1
        assert after[0] - before[0] < 8 * 2**20
        # One process may just be starting (ring, sockets, pipes); a leak would be of 42.
        assert after[1] <= before[1] + 8
        assert after[2] == before[2]
