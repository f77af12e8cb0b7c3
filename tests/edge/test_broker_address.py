"""Addresses, logins and topics: no password on command lines or in messages."""

from pathlib import Path

import pytest

from edge.publish.address import BrokerAddress, Login, Topics, find_login
from engines.errors import ConfigError, InputMissingError, UsageError, VigilError


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mqtt://host", BrokerAddress("host", 1883)),
        ("host:1999", BrokerAddress("host", 1999)),
        ("mqtts://host", BrokerAddress("host", 8883, tls=True)),
        ("mqtt://bob%40x@10.0.0.1:2000/", BrokerAddress("10.0.0.1", 2000, username="bob@x")),
        ("mqtt://[::1]:1883", BrokerAddress("::1", 1883)),
    ],
)
def test_addresses(url: str, expected: BrokerAddress) -> None:
    assert BrokerAddress.parse(url) == expected
    assert BrokerAddress.parse(str(expected)).port == expected.port


@pytest.mark.parametrize(
    "url",
    [
        "mqtt://bob:hunter2@host",
        "mqtts://:hunter2@host:1",
        "mqtt://bob:hunter2@host:badport",
        "mqtt://bob:hunter2@[host",
        "http://host",
        "mqtt://",
        "mqtt://host:99999",
        "mqtt://host/topic",
        "mqtt://host?password=hunter2",
    ],
)
def test_wrong_addresses_are_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(UsageError) as caught:
        BrokerAddress.parse(url)
    assert "hunter2" not in str(caught.value)
    assert caught.value.mend


def test_the_login_comes_from_the_first_place_that_has_one(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("from file\n")
    other = tmp_path / "other"
    other.write_text("from the other file")
    environment = {
        "VIGIL_MQTT_USERNAME": "env",
        "VIGIL_MQTT_PASSWORD": "from env",
        "VIGIL_MQTT_PASSWORD_FILE": str(other),
    }
    plain, named = BrokerAddress("host", 1883), BrokerAddress("host", 1883, username="url")
    assert find_login(plain, environment={}) == Login(None, None)
    assert find_login(
        named, username="config", password_file=secret, environment=environment
    ) == Login("config", "from file")
    assert find_login(named, environment=environment) == Login("url", "from the other file")
    del environment["VIGIL_MQTT_PASSWORD_FILE"]
    assert find_login(plain, environment=environment) == Login("env", "from env")


def test_a_login_that_cannot_work_is_told_without_the_password(tmp_path: Path) -> None:
    address = BrokerAddress("host", 1883)
    with pytest.raises(ConfigError, match="no user name") as caught:
        find_login(address, environment={"VIGIL_MQTT_PASSWORD": "hunter2"})
    assert "hunter2" not in str(caught.value)
    with pytest.raises(InputMissingError):
        find_login(address, username="x", password_file=tmp_path / "none", environment={})
    assert "hunter2" not in repr(Login("bob", "hunter2"))
    assert issubclass(InputMissingError, VigilError)


def test_topics_have_no_empty_level() -> None:
    topics = Topics("gate-01", prefix="site/vigil")
    assert topics.event == "site/vigil/gate-01/event"
    assert topics.camera_alarm("yard") == "site/vigil/gate-01/camera/yard/alarm"
    for device, prefix in (("", "vigil"), ("a/b", "vigil"), ("a", "x//y"), ("a", "")):
        with pytest.raises(AssertionError):
            Topics(device, prefix=prefix)


def test_a_credential_of_the_service_manager_is_the_last_resort(tmp_path: Path) -> None:
    (tmp_path / "mqtt_password").write_text("from-systemd\n")
    address = BrokerAddress.parse("mqtt://bob@h")
    environment = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert find_login(address, environment=environment).password == "from-systemd"
    given = {**environment, "VIGIL_MQTT_PASSWORD": "given"}
    assert find_login(address, environment=given).password == "given"
    empty = {"CREDENTIALS_DIRECTORY": str(tmp_path / "none")}
    assert find_login(address, environment=empty).password is None
