"""`vigil commission` as a person uses it, and the daemon that runs what was learned."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs
from support.broker import Subscriber, running_broker, wait_until
from support.bundles import tiny_bundle
from support.clips import MemoryClip
from support.mjpeg import mjpeg_camera
from support.recordings import write_recording

from edge.cli.commission import commission
from edge.clock import SystemClock
from edge.commissioning.figures import count_in_words, span_in_words
from edge.config import Config, load_config
from edge.doctor.detector import check_site
from edge.launch import camera_jobs, detector_of, open_daemon
from edge.trust import open_bundle
from engines.bundle import replace_alarm
from engines.errors import CannotCreateError, RefusedError, UsageError, VigilError

PROGRAM = """
import sys
from edge.cli.commission import commission
from edge.log import configure_logging
configure_logging(as_json=True)
commission(sys.argv[1:])
"""
LITTLE = ("--accept", "little-footage")
LESS = ("--accept", "less-sensitive")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    tiny_bundle(folder / "bundle", workspace=folder)
    write_recording(folder / "normal", frames=160, anomaly=(0, 0))
    write_recording(folder / "clip")
    return folder


@pytest.fixture
def configure(material: Path, tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        values = {
            "bundle": material / "bundle",
            "source": f"'{material / 'normal'}'",
            "mqtt": "mqtt://127.0.0.1:1",
            **changes,
        }
        file = tmp_path / "gate.yaml"
        file.write_text(
            f"schema_version: 1\nbundle: {values['bundle']}\nstate: state\nthreads: 1\n"
            f"mqtt: {{url: '{values['mqtt']}', flush: 5s, reconnect_max: 100ms}}\n"
            f"cameras: {{yard: {{source: {values['source']}}}}}\n"
        )
        return file

    return write


def vigil(file: Path, *arguments: str) -> Any:
    return CliRunner().invoke(commission, [str(file), "yard", *arguments])


def active(file: Path) -> Any:
    result = vigil(file, "--show", "--json")
    assert result.exit_code == 0, result.exception
    return json.loads(result.stdout)["active"]


def test_it_learns_tells_how_sure_it_is_and_waits_to_be_accepted(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    file = configure()
    result = vigil(file, "--for", "14s", "--false-alarms-per-day", "1")
    assert isinstance(result.exception, RefusedError)
    assert result.exception.exit_code == 77
    assert "little-footage" in str(result.exception)
    assert "--accept little-footage" in (result.exception.mend or "")
    for words in ("energies, ", "of 24 cells saw few", "at most", "with 95 % confidence"):
        assert words in result.stdout
    assert "interval     extrapolated" in result.stdout
    assert "statistics   5 s of footage" in result.stdout
    assert "0.00" not in result.stdout.partition("threshold")[0]  # hours of seconds
    assert re.search(r"proven +at most \d\d,\d00 a day", result.stdout)
    assert "yard: learns from 14 s of " in result.stderr
    assert "Ctrl-C changes nothing" in result.stderr
    assert active(file) is None
    assert list((tmp_path / "state/site/yard/0001-moments").glob("*.jpg"))
    # What was learned is not learned again.
    flags = (*LITTLE, *LESS)
    result = vigil(file, *flags)
    assert result.exit_code == 0, result.exception
    assert active(file) == 1
    assert "calibration 1 counts" in vigil(file, "--show").stdout
    assert vigil(file, "--undo").exit_code == 0
    assert active(file) is None
    assert isinstance(vigil(file, "--undo").exception, UsageError)


def test_a_folder_that_cannot_be_written_is_told_before_the_footage(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    (tmp_path / "state").write_text("in the way")
    begin = time.monotonic()
    # Nobody is there to be watched, so a later look would take the camera's patience.
    error = vigil(configure(source="'http://127.0.0.1:1/x'"), "--for", "24h").exception
    assert isinstance(error, CannotCreateError)
    assert str(tmp_path / "state/site/yard") in (error.where or "")
    assert time.monotonic() - begin < 10.0


@pytest.mark.parametrize(
    ("seconds", "words"), [(4.0, "4 s"), (119.0, "119 s"), (720.0, "12 min"), (259200.0, "72 h")]
)
def test_spans_are_told_in_a_unit_that_fits(seconds: float, words: str) -> None:
    assert span_in_words(seconds) == words


@pytest.mark.parametrize(
    ("count", "words"), [(0.25, "0.25"), (24.0, "24"), (999.4, "999"), (32437.0, "32,400")]
)
def test_counts_are_told_without_powers_of_ten(count: float, words: str) -> None:
    assert count_in_words(count) == words


def test_acceptance_of_one_thing_is_none_of_another(configure: Callable[..., Path]) -> None:
    file = configure()
    result = vigil(file, "--for", "14s", "--false-alarms-per-day", "1", *LESS)
    assert isinstance(result.exception, RefusedError)
    assert "less-sensitive" not in result.exception.what
    assert active(file) is None


@pytest.mark.parametrize(
    "arguments",
    [(), ("--for", "10s", "--undo"), ("--undo", "--show"), LITTLE],
)
def test_wrong_use_is_refused_and_nothing_is_written(
    configure: Callable[..., Path], tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    assert isinstance(vigil(configure(), *arguments).exception, UsageError)
    assert not (tmp_path / "state").exists()


def test_a_camera_must_be_one_of_the_configuration(configure: Callable[..., Path]) -> None:
    result = CliRunner().invoke(commission, [str(configure()), "gate", "--show"])
    assert isinstance(result.exception, UsageError)
    assert "yard" in (result.exception.mend or "")
    assert vigil(configure(), "--for", "10").exit_code == 2  # no unit


def job_keys(config: Config) -> list[object]:
    """What a reload compares."""
    bundle = open_bundle(config.bundle, configured=None)
    detector = detector_of(bundle, {"a": "onnxruntime-cpu/fp32"}, compute="cpu")
    return [job.key for job in camera_jobs(config, bundle, detector)]


@pytest.mark.broker
def test_the_daemon_runs_what_was_learned_and_its_events_say_so(
    configure: Callable[..., Path], material: Path, tmp_path: Path
) -> None:
    file = configure()
    assert vigil(file, "--for", "14s", *LITTLE, *LESS).exit_code == 0
    record = json.loads(vigil(file, "--show", "--json").stdout)["record"]
    with running_broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        source = f"'{material / 'clip'}'"
        config = load_config(configure(source=source, mqtt=broker.url))
        with open_daemon(config, clock=SystemClock()) as daemon:
            daemon.run()
        wait_until(lambda: subscriber.last("vigil/vigil/status") == "offline")
        events = subscriber.events()
        learned = job_keys(config)
        assert job_keys(config) == learned  # a reload leaves the camera alone
        vigil(file, "--undo")
        assert job_keys(config) != learned  # and now it does not
        with open_daemon(config, clock=SystemClock()) as daemon:
            daemon.run()
        wait_until(lambda: len(subscriber.events()) > len(events))
        after = subscriber.events()[-1]
    assert events
    assert {event["model"]["name"] for event in events} == {"tiny+site.1"}
    assert events[0]["threshold"] == pytest.approx(record["alarm"]["threshold"], abs=1e-3)
    assert after["model"]["name"] == "tiny"


def test_what_cannot_be_used_is_left_aside_aloud(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    file = configure()
    assert vigil(file, "--for", "14s", *LITTLE, *LESS).exit_code == 0
    assert check_site(load_config(file), "yard").grade == "warn"  # extrapolated
    other = tiny_bundle(tmp_path / "other", workspace=tmp_path)
    assert other.alarm is not None
    other = replace_alarm(other, other.alarm.model_copy(update={"threshold": 9.0}))
    path = tmp_path / "state/site/yard/0001.npz"

    def start(bundle: Path) -> list[str]:
        config = load_config(configure(bundle=bundle))
        with capture_logs() as logs, open_daemon(config, clock=SystemClock()):
            pass
        return [line["event"] for line in logs if line["event"].startswith("site")]

    mine = load_config(file).bundle
    assert start(mine) == ["site_applied"]
    assert start(other.root) == ["site_not_applied"]
    path.write_bytes(path.read_bytes()[:-40])
    assert start(mine) == ["site_not_applied"]
    with pytest.raises(VigilError):
        check_site(load_config(configure()), "yard")


def test_a_live_camera_is_learned_from_and_its_process_is_gone_afterwards(
    configure: Callable[..., Path],
) -> None:
    pictures = [one.bgr for one in MemoryClip(length=60, seed=4).frames]
    with mjpeg_camera(pictures, fps=10.0) as address:
        file = configure(source=f"'{address}'")
        begin = time.monotonic()
        result = vigil(file, "--for", "6s", *LITTLE, *LESS)
        assert result.exit_code == 0, result.exception
        assert time.monotonic() - begin >= 6.0
    record = json.loads(vigil(file, "--show", "--json").stdout)["record"]
    assert (record["width"], record["height"]) == (168, 112)
    assert record["alarm"]["hours"] + record["statistics_hours"] == pytest.approx(6 / 3600, rel=0.3)
    children = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
    assert not [
        child for child in children if "child.py" in Path(f"/proc/{child}/cmdline").read_text()
    ]


def test_breaking_off_changes_nothing(configure: Callable[..., Path], tmp_path: Path) -> None:
    pictures = [one.bgr for one in MemoryClip(length=60, seed=4).frames]
    assert vigil(configure(), "--for", "14s", *LITTLE, *LESS).exit_code == 0
    before = {p.name: p.read_bytes() for p in (tmp_path / "state/site/yard").glob("*.*")}
    with mjpeg_camera(pictures, fps=10.0) as address:
        file = configure(source=f"'{address}'")
        process = subprocess.Popen(
            [
                sys.executable,
                "-c",
                PROGRAM,
                *(str(file), "yard", "--for", "60s"),
            ],
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert process.stderr is not None
        for line in process.stderr:
            if "live" in line:
                break
        time.sleep(0.5)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    after = {p.name: p.read_bytes() for p in (tmp_path / "state/site/yard").glob("*.*")}
    assert after == before
    assert active(file) == 1
