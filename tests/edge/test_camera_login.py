"""A camera's login: where it comes from, what wins, and that a real camera takes it."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.camera_servers import CALM, Watch, rtsp_server

from edge.capture.live import LiveCamera
from edge.capture.login import address_with_login
from edge.capture.mjpeg import _login_of
from edge.config import ConfigFileError, config_from_text
from engines.errors import ConfigError, InputMissingError

HARD = "p@ss/w%20#?&ö"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.write_text(f"{HARD}\n", encoding="utf-8")
    return file


def login(address: str = "http://10.0.0.7/x?a=1", **given: object) -> tuple[str | None, str | None]:
    whole = address_with_login(address, **{"camera": "front-door", "environment": {}, **given})  # type: ignore[arg-type]
    bare, user, password = _login_of(whole)
    assert bare == address
    return user, password


def test_without_any_the_address_stays_as_it_is() -> None:
    for address in ("rtsp://u:p@10.0.0.7/x", "0", "/dev/video0", "csi://0", "gst:videotestsrc"):
        assert address_with_login(address, camera="yard", environment={}) == address


def test_the_file_wins_over_the_environment_and_that_over_a_credential(
    secret: Path, tmp_path: Path
) -> None:
    (tmp_path / "camera_front-door_password").write_text("from systemd")
    other = tmp_path / "other"
    other.write_text("from another file\n")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert login(username="u", environment=environment) == ("u", "from systemd")
    environment["VIGIL_CAMERA_FRONT_DOOR_PASSWORD"] = "plain"
    assert login(username="u", environment=environment) == ("u", "plain")
    environment["VIGIL_CAMERA_FRONT_DOOR_PASSWORD_FILE"] = str(other)
    environment["VIGIL_CAMERA_FRONT_DOOR_USERNAME"] = "v"
    assert login(environment=environment) == ("v", "from another file")
    assert login(username="u", password_file=secret, environment=environment) == ("u", HARD)


def test_half_a_login_or_two_of_them_are_mistakes(secret: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no user name"):
        login(password_file=secret)
    with pytest.raises(InputMissingError, match="cannot be read"):
        login(username="u", password_file=tmp_path / "nothing")
    with pytest.raises(ConfigError, match="another one beside it") as caught:
        login("rtsp://a:hunter2@10.0.0.7/x", username="u", password_file=secret)
    assert "hunter2" not in str(caught.value)
    assert HARD not in str(caught.value)


def test_the_configuration_refuses_a_login_where_it_cannot_be_used(tmp_path: Path) -> None:
    for source in ("0", "csi://0", "yard.mp4", "rtsp://a:hunter2@10.0.0.7/x"):
        text = (
            "schema_version: 1\nbundle: b\nstate: s\ncameras:\n"
            f"  yard: {{source: '{source}', username: u}}\n"
        )
        with pytest.raises(ConfigFileError) as caught:
            config_from_text(text, file="gate.yaml", folder=tmp_path)
        assert "gate.yaml:5:" in str(caught.value)
        assert "hunter2" not in str(caught.value)


def test_a_password_is_not_in_what_python_prints(secret: Path) -> None:
    address = address_with_login(
        "rtsp://10.0.0.7/x", camera="yard", username="u", password_file=secret, environment={}
    )
    camera = LiveCamera(address)
    assert "p%40ss" not in repr(camera)
    assert camera.name == "rtsp://***@10.0.0.7/x"
    assert LiveCamera.from_json(camera.to_json()) == camera


def test_an_rtsp_camera_takes_a_password_that_needs_encoding(secret: Path) -> None:
    with rtsp_server("--login", f"viewer:{HARD}") as server:
        address = address_with_login(
            f"rtsp://127.0.0.1:{server.port}/cam",
            camera="yard",
            username="viewer",
            password_file=secret,
            environment={},
        )
        with Watch(address, CALM) as watch:
            watch.more_frames(2)
    assert watch.reasons == {None}
