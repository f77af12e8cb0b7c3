"""`vigil run` as a person runs it: a real process, a real bundle, a real broker, no torch."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from click.testing import CliRunner
from support.broker import Broker, Subscriber, free_port, running_broker, wait_until
from support.bundles import tiny_bundle
from support.recordings import write_recording

from edge.cli.main import vigil as program
from edge.cli.run import run
from edge.events.event import load_schema
from engines.errors import ConfigError, UsageError

# Refuses what a device does not have, then runs the command line.
WITHOUT_TRAINING = """
import sys
REFUSED = {"torch", "sklearn", "scipy", "matplotlib", "rich", "onnx", "onnxscript", "trainer"}
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in REFUSED:
            raise ModuleNotFoundError(f"{name} is not on a device", name=name)
sys.meta_path.insert(0, Refuse())
from edge.cli.main import main
try:
    main(sys.argv[1:])
finally:
    assert not REFUSED & {name.partition(".")[0] for name in sys.modules}
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle, and a recording with one anomaly from frame 40 to 54 (4.0 to 5.4 s)."""
    folder = tmp_path_factory.mktemp("material")
    tiny_bundle(folder / "bundle", workspace=folder)
    write_recording(folder / "clip")
    return folder


def start(*arguments: str, **environment: str) -> "subprocess.Popen[str]":
    clean = {key: value for key, value in os.environ.items() if not key.startswith("VIGIL_MQTT")}
    return subprocess.Popen(
        [sys.executable, "-c", WITHOUT_TRAINING, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**clean, "OMP_NUM_THREADS": "1", **environment},
    )


def vigil(*arguments: str, **environment: str) -> tuple[int, str, str]:
    process = start(*arguments, **environment)
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return process.returncode, out, err


def first_try(material: Path, state: Path, url: str, *more: str) -> list[str]:
    return [
        "run",
        *("--bundle", str(material / "bundle"), "--source", str(material / "clip")),
        *("--mqtt", url, "--state", str(state), "--threads", "1", *more),
    ]


def config(folder: Path, material: Path, broker: Broker, **changes: Any) -> Path:
    values = {"source": str(material / "clip"), "mqtt": "", "camera": "", **changes}
    file = folder / "gate.yaml"
    file.write_text(
        f"schema_version: 1\ndevice: gate-01\nbundle: {material / 'bundle'}\nstate: state\n"
        f"threads: 1\nmqtt: {{url: '{broker.url}', reconnect_max: 100ms{values['mqtt']}}}\n"
        f"cameras: {{yard: {{source: {values['source']}{values['camera']}}}}}\n"
    )
    return file


@pytest.mark.broker
def test_a_first_try_publishes_the_anomaly_without_torch(material: Path, tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        more = ("--device", "desk", "--camera", "clip", "--snapshots", str(tmp_path / "shots"))
        code, out, err = vigil(*first_try(material, tmp_path / "s", broker.url, *more, "--json"))
        wait_until(lambda: subscriber.last("vigil/desk/status") == "offline")
        events = subscriber.events()
    assert code == 0, err
    for event in events:
        jsonschema.validate(event, load_schema())
    (begin,) = [event for event in events if event["phase"] == "start"]
    assert begin["camera"] == "clip"
    assert 4.0 <= begin["started_position_s"] <= 5.5
    assert events[-1]["phase"] == "end"
    assert (tmp_path / "shots" / Path(begin["snapshot"]["path"]).name).is_file()
    summary = json.loads(out)
    assert (summary["frames"], summary["events"], summary["outbox_left"]) == (90, 1, 0)
    assert summary["delivered"] == len(events)
    assert "90 frames in" in err


def test_an_absent_broker_is_told_and_everything_is_kept(material: Path, tmp_path: Path) -> None:
    with running_broker(tmp_path) as broker:
        broker.kill()
        file = config(tmp_path, material, broker, mqtt=", flush: 200ms")
        code, _, err = vigil("run", str(file))
        assert code == 75, err
        assert "could not be reached; 2 messages are kept and go out at the next run" in err
        assert "mend:" in err
        broker.start()
        with Subscriber(broker.port) as subscriber:
            code, _, err = vigil("run", str(file))
            assert code == 0, err
            wait_until(lambda: len(subscriber.events()) == 4)
            assert [event["seq"] for event in subscriber.events()] == [1, 2, 3, 4]


@pytest.mark.broker
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(material: Path, tmp_path: Path, number: signal.Signals) -> None:
    with running_broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        file = config(tmp_path, material, broker, camera=", realtime: true")
        process = start("run", str(file))
        wait_until(lambda: subscriber.last("vigil/gate-01/status") == "online")
        process.send_signal(number)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        wait_until(lambda: subscriber.last("vigil/gate-01/status") == "offline")
        camera = json.loads(subscriber.last("vigil/gate-01/camera/yard/state") or "{}")
        assert camera["state"] == "disabled"


@pytest.mark.broker
def test_a_killed_daemon_sends_the_missing_end_at_its_next_start(
    material: Path, tmp_path: Path
) -> None:
    with running_broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        # So slow that the event stays open until the process is killed.
        process = start("run", str(config(tmp_path, material, broker, camera=", realtime: true")))
        wait_until(lambda: [e["phase"] for e in subscriber.events()] == ["start"], timeout_s=20)
        process.kill()
        process.communicate()
        wait_until(lambda: subscriber.last("vigil/gate-01/status") == "offline")  # the will
        code, _, err = vigil("run", str(config(tmp_path, material, broker)))
        assert code == 0, err
        wait_until(lambda: len(subscriber.events()) == 4)
        first, end = subscriber.events()[:2]
    assert (end["id"], end["reason"], end["rev"]) == (first["id"], "daemon_restart", 2)
    assert [e["seq"] for e in subscriber.events()] == [1, 2, 3, 4]


@pytest.mark.broker
def test_the_password_shows_nowhere(material: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("hunter2-file\n")
    with running_broker(tmp_path) as broker:
        for environment in (
            {"VIGIL_MQTT_USERNAME": "vigil", "VIGIL_MQTT_PASSWORD": "hunter2-env"},
            {"VIGIL_MQTT_USERNAME": "vigil", "VIGIL_MQTT_PASSWORD_FILE": str(secret)},
        ):
            code, out, err = vigil(*first_try(material, tmp_path / "s", broker.url), **environment)
            assert code == 0, err
            assert "hunter2" not in out + err
    code, out, err = vigil(*first_try(material, tmp_path / "s", "mqtt://bob:hunter2@localhost"))
    assert code == 64
    assert "hunter2" not in out + err
    assert "VIGIL_MQTT_PASSWORD" in err


def test_a_wrong_configuration_is_told_whole_with_code_78(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("schema_version: 1\nbundel: x\nstate: s\ncameras: {Yard: {source: 0}}\n")
    code, _, err = vigil("run", str(file))
    assert code == 78
    assert f"{file}:2:1: bundel: unknown key; did you mean `bundle`?" in err
    assert f"{file}:4:11: cameras.Yard: names are" in err


def test_what_is_missing_is_told_with_its_code(material: Path, tmp_path: Path) -> None:
    url = f"mqtt://127.0.0.1:{free_port()}"
    arguments = first_try(material, tmp_path / "s", url)
    wrong_source = [a.replace("/clip", "/nothing") for a in arguments]
    wrong_bundle = [a.replace("/bundle", "/nothing") for a in arguments]
    for wrong in (wrong_source, wrong_bundle):
        code, _, err = vigil(*wrong)
        assert code == 66, err
        assert "mend:" in err


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(run, arguments)


def test_wrong_use_is_refused_before_anything_starts(tmp_path: Path) -> None:
    assert isinstance(invoke().exception, UsageError)
    assert isinstance(invoke("--bundle", "b").exception, UsageError)
    mixed = invoke("gate.yaml", "--source", "x.avi", "--mqtt", "mqtt://h").exception
    assert isinstance(mixed, UsageError)
    assert "--source, --mqtt" in str(mixed) or "--mqtt, --source" in str(mixed)
    for option in ("--device", "--camera"):
        error = invoke("--bundle", "b", "--source", "x", option, "Gate 1").exception
        assert isinstance(error, UsageError)
        assert error.where == option


def test_check_needs_no_broker_bundle_or_camera(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text(
        "schema_version: 1\nbundle: b\nstate: s\ncameras: {yard: {source: rtsp://10.0.0.1/x}}\n"
    )
    result = invoke(str(file), "--check")
    assert result.exit_code == 0
    assert "no problem found, 1 camera(s)" in result.stderr
    file.write_text("schema_version: 2\n")
    assert isinstance(invoke(str(file), "--check").exception, ConfigError)


def test_examples_of_the_help_stand_on_lines_of_their_own() -> None:
    for command in ("run", "watch", "doctor", "commission"):
        shown = CliRunner().invoke(program, [command, "--help"]).output
        assert "\\b" not in shown
        if "Examples:" in shown:
            assert "  Examples:\n    vigil " in shown


@pytest.mark.parametrize(
    ("arguments", "what", "where", "mend"),
    [
        (("--camera", "Yard"), "a name of a device or camera", "--camera", "such as gate-01"),
        (("--device", "Gate 1"), "a name of a device or camera", "--device", "such as gate-01"),
        (
            ("--source", "ftp://h/x"),
            "Sources of type 'ftp' are not known",
            "--source",
            "use a path",
        ),
        (("--backend", "tensorr"), "there is no backend 'tensorr'", "--backend", "choose one of"),
    ],
)
def test_a_wrong_option_is_named_with_what_mends_it(
    arguments: tuple[str, ...], what: str, where: str, mend: str
) -> None:
    done = CliRunner().invoke(run, ["--bundle", "b", "--source", "clip", *arguments])
    assert isinstance(done.exception, UsageError)
    assert done.exception.what.startswith(what)
    assert done.exception.where == where
    assert mend in (done.exception.mend or "")
