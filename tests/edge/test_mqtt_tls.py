"""TLS against a real mosquitto: who may talk to whom, and what is told when they may not."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.broker import Broker, Proxy, Subscriber, running_broker, wait_until, without_repeats
from support.certificates import Authority
from support.publishing import line

from edge.cli.watch import watch
from edge.publish.address import BrokerAddress, find_login
from edge.publish.tls import TlsFiles
from engines.errors import ConfigError

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    folder = tmp_path_factory.mktemp("certificates")
    folder.chmod(0o755)
    return Authority(folder)


@pytest.fixture
def broker(tmp_path: Path, authority: Authority) -> Iterator[Broker]:
    """Shows a certificate for 127.0.0.1, and wants one."""
    certificate, key = authority.issue("broker", host="127.0.0.1")
    lines = (
        f"cafile {authority.file}\ncertfile {certificate}\nkeyfile {key}\n"
        "require_certificate true\nuse_identity_as_username true"
    )
    with running_broker(tmp_path, tls=lines) as running:
        yield running


@pytest.mark.parametrize("protocol", ["5", "3.1.1"])
def test_with_authority_and_client_certificate_messages_arrive(
    tmp_path: Path, broker: Broker, authority: Authority, protocol: str
) -> None:
    tls = TlsFiles(authority.file, *authority.issue("gate-01"))
    with (
        Subscriber(broker.plain_port) as subscriber,
        line(tmp_path, broker.url, tls=tls, protocol=protocol) as one,
    ):
        one.send(300, filler=2000)  # more than one TLS record
        wait_until(one.empty)
        wait_until(lambda: len(subscriber.events()) == 300)
    assert [event["seq"] for event in subscriber.events()] == list(range(1, 301))


def test_a_broker_killed_under_tls_loses_nothing(
    tmp_path: Path, broker: Broker, authority: Authority
) -> None:
    tls = TlsFiles(authority.file, *authority.issue("gate-01"))
    with (
        Proxy(broker.port) as network,
        Subscriber(broker.plain_port, qos=0) as subscriber,
        line(tmp_path, network.url.replace("mqtt:", "mqtts:"), tls=tls) as one,
    ):
        for round_ in range(3):
            one.send(60, first=60 * round_)
            wait_until(lambda r=round_: len(subscriber.messages) > 60 * r + 20)
            subscriber.ready.clear()
            network.cut()
            broker.kill()
            broker.start()
            assert subscriber.ready.wait(10)
            network.mend()
        wait_until(one.empty, timeout_s=20)
        wait_until(lambda: {e["seq"] for e in subscriber.events()} == set(range(1, 181)))
    received = [event["seq"] for event in without_repeats(subscriber.events())]
    assert received == sorted(received)


def test_a_stranger_is_not_talked_to(tmp_path: Path, broker: Broker, authority: Authority) -> None:
    """A broker of another authority, one of another name, one that we may not talk to."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other", "stranger")
    files = authority.issue("gate-01")
    wrong_authority = TlsFiles(other.file, *files)
    no_certificate = TlsFiles(authority.file)
    for tls, told in ((wrong_authority, "certificate verify failed"), (no_certificate, "")):
        with line(tmp_path, broker.url, tls=tls, flush_s=0.0) as one:
            wait_until(lambda o=one: o.publisher.state.last_error is not None)
            assert told in str(one.publisher.state.last_error)
            assert one.publisher.state.connects == 0
    by_name = broker.url.replace("127.0.0.1", "localhost")
    with line(tmp_path, by_name, tls=TlsFiles(authority.file, *files), flush_s=0.0) as one:
        wait_until(lambda: one.publisher.state.last_error is not None)
        assert "ostname mismatch" in str(one.publisher.state.last_error)
        assert one.publisher.state.connects == 0
    unchecked = TlsFiles(other.file, *files, skip_verify=True)
    with line(tmp_path, by_name, tls=unchecked) as one:
        one.send(1)
        wait_until(one.empty)


def test_watch_listens_over_tls(tmp_path: Path, broker: Broker, authority: Authority) -> None:
    certificate, key = authority.issue("desk")
    options = ["--ca-file", authority.file, "--certificate-file", certificate, "--key-file", key]
    done = CliRunner().invoke(watch, [broker.url, *map(str, options), "--timeout", "0.3"])
    assert done.exit_code == 0
    assert done.stderr.startswith(f"listening at {broker.url}")


def test_files_that_cannot_be_used_are_told_at_the_start(
    tmp_path: Path, authority: Authority
) -> None:
    certificate, key = authority.issue("good")
    _, other_key = authority.issue("other")
    locked, locked_key = authority.issue("locked", passphrase=b"sesame")
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    TlsFiles(authority.file, certificate, key).check()
    for files, told in (
        (TlsFiles(tmp_path / "nowhere.pem"), "mqtt.ca_file cannot be read"),
        (TlsFiles(empty), "cannot be used"),
        (TlsFiles(authority.file, certificate, tmp_path / "no.key"), "mqtt.key_file cannot"),
        (TlsFiles(authority.file, certificate, other_key), "KEY_VALUES_MISMATCH"),
        (TlsFiles(authority.file, locked, locked_key), "cannot be used"),
        (TlsFiles(authority.file, certificate), "cannot be used"),
    ):
        with pytest.raises(ConfigError, match=told):
            files.check()


def test_nobody_is_asked_for_a_passphrase_at_the_terminal(authority: Authority) -> None:
    """The library would wait for ever for somebody to type; so in a process of its own."""
    certificate, key = authority.issue("asking", passphrase=b"sesame")
    program = (
        "import sys; from pathlib import Path; from edge.publish.tls import TlsFiles\n"
        "TlsFiles(None, Path(sys.argv[1]), Path(sys.argv[2])).check()\n"
    )
    master, slave = os.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-c", program, str(certificate), str(key)],
            stdin=slave,
            capture_output=True,
            timeout=60,
            check=False,
            start_new_session=True,
        )
    finally:
        os.close(master)
        os.close(slave)
    assert b"ConfigError" in done.stderr


def test_the_password_may_be_a_credential_of_systemd(tmp_path: Path) -> None:
    (tmp_path / "mqtt_password").write_text("sesame\n")
    address = BrokerAddress.parse("mqtt://vigil@host")
    found = find_login(address, environment={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert found.password == "sesame"
    none = find_login(address, environment={"CREDENTIALS_DIRECTORY": str(tmp_path / "empty")})
    assert none.password is None
