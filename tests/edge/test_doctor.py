"""`vigil doctor`: each fault is found, named, and comes with what mends it."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.broker import free_port, running_broker
from support.bundles import tiny_bundle
from support.clock import ManualClock
from support.recordings import write_recording

from edge.cli.doctor import doctor
from edge.config import Config, load_config
from edge.doctor import host
from edge.doctor.check import Finding, attempt
from edge.doctor.detector import check_gpu
from edge.doctor.host import check_clock, check_disk, check_secrets, check_state
from edge.doctor.reach import check_broker, check_camera, check_outbox
from edge.publish.outbox_file import locked


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("material")
    tiny_bundle(folder / "bundle", workspace=folder)
    write_recording(folder / "clip", frames=12, anomaly=(0, 0))
    return folder


@pytest.fixture
def configure(material: Path, tmp_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        values = {
            "bundle": material / "bundle",
            "state": tmp_path / "state",
            "mqtt": f"{{url: 'mqtt://127.0.0.1:{free_port()}'}}",
            "cameras": f"{{yard: {{source: '{material / 'clip'}'}}}}",
            **changes,
        }
        file = tmp_path / "gate.yaml"
        lines = [f"{key}: {value}" for key, value in values.items()]
        file.write_text("\n".join(["schema_version: 1", *lines]) + "\n")
        return file

    return write


def findings_of(file: Path, *more: str) -> tuple[int, dict[str, dict[str, str]]]:
    result = CliRunner().invoke(doctor, [str(file), "--json", *more])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    report = json.loads(result.stdout)
    assert report["failed"] == sum(one["grade"] == "fail" for one in report["findings"])
    return result.exit_code, {one["check"]: one for one in report["findings"]}


def mended(finding: Finding, grade: str) -> Finding:
    assert finding.grade == grade, finding
    assert finding.mend, finding
    return finding


@pytest.mark.broker
def test_a_device_that_is_well_passes_and_is_left_as_it_was(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    with running_broker(tmp_path) as broker:
        code, found = findings_of(configure(mqtt=f"{{url: '{broker.url}'}}"))
    assert code == 0, found
    assert found["broker"]["grade"] == "ok"
    assert "sent it back" in found["broker"]["found"]
    assert found["networks"]["found"].startswith("golden answers reproduced (appearance")
    assert "168x112 at 10 frames" in found["camera yard"]["found"]
    assert [name for name, one in found.items() if one["grade"] == "fail"] == []
    # What root's doctor leaves there, the daemon's user cannot open.
    assert "will be made" in found["state"]["found"]
    assert not (tmp_path / "state").exists()


def test_every_finding_that_is_not_well_says_what_mends_it(configure: Callable[..., Path]) -> None:
    file = configure(
        bundle="nothing", cameras="{yard: {source: nowhere}, spare: {source: 0, enabled: false}}"
    )
    code, found = findings_of(file)
    assert code == 1
    grades = {name: one["grade"] for name, one in found.items()}
    assert grades["config"] == "ok"
    for name in ("bundle", "networks", "broker", "camera yard"):
        assert grades[name] == "fail", found[name]
    assert grades["camera spare"] == "skip"
    assert all(one["mend"] for one in found.values() if one["grade"] in ("warn", "fail"))


def test_people_read_lines(configure: Callable[..., Path]) -> None:
    result = CliRunner().invoke(doctor, [str(configure(bundle="nothing")), "--no-cameras"])
    assert result.exit_code == 1
    lines = result.stdout.splitlines()
    assert any(line.startswith("fail  bundle: there is no such bundle folder") for line in lines)
    assert lines[-1].endswith("checks")
    assert any("skip  cameras" in line for line in lines)


def test_all_faults_of_a_configuration_are_findings(tmp_path: Path) -> None:
    file = tmp_path / "gate.yaml"
    file.write_text("schema_version: 1\nbundel: x\nstate: s\ncameras: {Yard: {source: 0}}\n")
    result = CliRunner().invoke(doctor, [str(file)])
    assert result.exit_code == 1
    assert result.stdout.count("fail  config") == 3
    assert "did you mean `bundle`?" in result.stdout
    assert CliRunner().invoke(doctor, [str(tmp_path / "absent.yaml")]).exit_code == 1


def test_a_bundle_that_was_changed_is_found(
    configure: Callable[..., Path], material: Path, tmp_path: Path
) -> None:
    broken = tiny_bundle(tmp_path / "broken", workspace=tmp_path)
    network = next((broken.root / "networks").iterdir())
    data = bytearray(network.read_bytes())
    data[len(data) // 2] ^= 1
    network.write_bytes(data)
    _, found = findings_of(configure(bundle=broken.root), "--no-cameras")
    assert "has hash" in found["bundle"]["found"]
    assert found["bundle"]["grade"] == found["networks"]["grade"] == "fail"


def test_the_state_folder_is_tried_and_the_daemon_s_lock_respected(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(configure())
    config.state.mkdir()
    assert check_state(config).grade == "ok"
    assert list(config.state.iterdir()) == []
    with locked(config.state / "outbox.sqlite3"):
        finding = check_state(config)
    assert (finding.grade, "a daemon uses it now" in finding.found) == ("ok", True)
    (tmp_path / "file").write_text("")
    blocked = load_config(configure(state=tmp_path / "file" / "state"))
    assert "install -d" in mended(check_state(blocked), "fail").mend


def test_a_full_slow_or_network_disk_is_found(
    configure: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = load_config(configure())
    usage = type("Usage", (), {"free": 100 * 2**20})
    monkeypatch.setattr(host.shutil, "disk_usage", lambda _path: usage)
    assert "100 MiB free" in mended(check_disk(config), "fail").found
    usage.free = 50 * 2**30
    monkeypatch.setattr(host, "_slowest_fsync_s", lambda _folder: 0.2)
    assert "200 ms" in mended(check_disk(config), "warn").found
    monkeypatch.setattr(host, "_slowest_fsync_s", lambda _folder: 0.002)
    assert check_disk(config).grade == "ok"
    monkeypatch.setattr(host, "file_system", lambda _folder: "nfs4")
    assert "network file system" in mended(check_disk(config), "fail").found


def test_a_check_that_may_not_look_says_so_and_the_others_go_on() -> None:
    def look() -> Finding:
        raise PermissionError(13, "Permission denied", "/var/lib/vigil/gate")

    finding = mended(attempt("outbox", look), "fail")
    assert "Permission denied [/var/lib/vigil/gate]" in finding.found
    assert "sudo -u vigil" in finding.mend


def test_a_clock_that_is_not_set_is_found() -> None:
    clock = ManualClock()
    assert check_clock(clock).grade == "ok"
    clock.synced = "unsynced"
    assert "not synchronised" in mended(check_clock(clock), "warn").found
    assert "1970" in mended(check_clock(ManualClock("1970-01-01T00:01:00+00:00")), "fail").found


def test_secrets_must_be_there_and_ours_alone(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(configure(mqtt="{username: v, password_file: secret}"))
    assert "is not there" in mended(check_secrets(config), "fail").found
    secret = tmp_path / "secret"
    secret.write_text("hunter2")
    secret.chmod(0o644)
    finding = mended(check_secrets(config), "warn")
    assert "chmod 0600" in finding.mend
    assert "hunter2" not in finding.found
    secret.chmod(0o600)
    assert check_secrets(config).grade == "ok"
    others = load_config(
        configure(
            mqtt="{username: v, password_file: secret}",
            page="{token_file: token}",
            cameras="{yard: {source: 'rtsp://h/1', username: v, password_file: gone}}",
        )
    )
    (tmp_path / "token").write_text("0123456789abcdef")
    (tmp_path / "token").chmod(0o644)
    finding = mended(check_secrets(others), "fail")  # all of them at once
    assert "cameras.yard.password_file is not there" in finding.found
    assert "page.token_file is open to others" in finding.found
    assert "mqtt" not in finding.found
    assert check_secrets(load_config(configure())).grade == "ok"


def test_a_gpu_is_looked_for_only_where_there_is_one_or_one_is_wanted(
    configure: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(configure())
    devices = tmp_path / "dev"
    devices.mkdir()
    assert check_gpu(config, devices=devices).grade == "skip"
    wanted = config.model_copy(update={"backend": "tensorrt"})
    assert "gpu.conf" in mended(check_gpu(wanted, devices=devices), "fail").mend
    cuda = config.model_copy(update={"compute": "cuda"})
    assert "compute cuda is asked for" in mended(check_gpu(cuda, devices=devices), "fail").found
    node = devices / "nvidia0"
    node.write_bytes(b"")
    node.chmod(0)
    if os.geteuid() != 0:  # root may open everything
        assert "usermod" in mended(check_gpu(config, devices=devices), "warn").mend
    node.chmod(0o666)
    assert check_gpu(config, devices=devices).grade in ("warn", "ok")


@pytest.mark.broker
def test_a_broker_is_asked_for_an_answer(configure: Callable[..., Path], tmp_path: Path) -> None:
    def config_for(port: int, more: str = "") -> Config:
        return load_config(configure(mqtt=f"{{url: 'mqtt://127.0.0.1:{port}'{more}}}"))

    assert "cannot be reached" in mended(check_broker(config_for(free_port())), "fail").found
    passwords, rights = tmp_path / "passwords", tmp_path / "rights"
    passwords.write_text("")
    rights.write_text("topic write vigil/vigil/#\n")  # may publish, may not read
    with running_broker(tmp_path, extra=f"allow_anonymous true\nacl_file {rights}") as broker:
        finding = mended(check_broker(config_for(broker.port)), "warn")
        assert "did not send it back" in finding.found
    rights.write_text("topic read vigil/#\n")
    with running_broker(tmp_path, extra=f"allow_anonymous true\nacl_file {rights}") as broker:
        finding = mended(check_broker(config_for(broker.port)), "fail")
        assert "refused with code 0x87" in finding.found
    with running_broker(
        tmp_path, extra=f"allow_anonymous false\npassword_file {passwords}"
    ) as broker:
        mended(check_broker(config_for(broker.port)), "fail")
    with running_broker(tmp_path) as broker:
        assert check_broker(config_for(broker.port)).grade == "ok"
        assert check_broker(config_for(broker.port, ", protocol: 3.1.1")).grade == "ok"
        broker.freeze()
        assert "no answer within" in mended(check_broker(config_for(broker.port)), "fail").found


def test_a_camera_that_is_not_there_is_found_by_its_own_words(
    configure: Callable[..., Path],
) -> None:
    source = f"http://user:hunter2@127.0.0.1:{free_port()}/stream"
    config = load_config(configure(cameras=f"{{yard: {{source: '{source}'}}}}"))
    finding = mended(check_camera("yard", config.cameras["yard"], seconds=0.5), "fail")
    assert "hunter2" not in finding.found + finding.mend
    assert "127.0.0.1" in finding.found


def test_a_damaged_or_full_outbox_is_seen_from_outside(configure: Callable[..., Path]) -> None:
    config = load_config(configure(outbox="{max_size: 1MiB}"))
    config.state.mkdir()
    assert check_outbox(config).grade == "ok"
    (config.state / "outbox.sqlite3").write_bytes(b"x" * 2**20)
    assert "used" in mended(check_outbox(config), "warn").found
    (config.state / "outbox.sqlite3.damaged-1").write_bytes(b"")
    assert "put aside" in mended(check_outbox(config), "warn").found
