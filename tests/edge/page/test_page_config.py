"""The section `page`: off unless it is there, loopback unless said, every mistake at its line."""

import datetime
import http.client
import importlib.util
import ipaddress
import json
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from support.broker import wait_until
from support.page import DEVICE, TOKEN
from support.scores import detector

from edge.cli.run import _resolve
from edge.clock import SystemClock
from edge.config import Config, ConfigFileError, config_from_text
from edge.page.observer import PageObserver
from edge.page.open import open_page, page_settings
from edge.page.settings import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, PageSettings
from engines.errors import ConfigError, UnavailableError, UsageError

HEAD = "schema_version: 1\nbundle: b\nstate: s\ncameras: {yard: {source: rtsp://x/y}}\n"


@pytest.fixture(autouse=True)
def no_token_around(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (TOKEN_VARIABLE, TOKEN_FILE_VARIABLE):
        monkeypatch.delenv(name, raising=False)


def config(text: str, folder: Path = Path("/etc/vigil")) -> Config:
    return config_from_text(HEAD + text, file="gate.yaml", folder=folder)


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigFileError) as caught:
        config(text)
    return [problem.render("gate.yaml") for problem in caught.value.problems]


def test_there_is_no_page_unless_it_is_asked_for() -> None:
    assert config("").page is None
    assert open_page(config(""), detector(), clock=SystemClock()) is None


def test_a_page_is_on_loopback_unless_said_otherwise() -> None:
    page = config("page: {}\n").page
    assert page is not None
    assert (page.bind, page.port, page.viewers) == ("127.0.0.1", 8642, 8)
    settings = page_settings(config("page: {bind: localhost}\n"), page)
    assert settings.url == "http://127.0.0.1:8642/"
    assert settings.media == Path("/etc/vigil/s/media")


def test_every_mistake_is_told_at_its_line() -> None:
    text = (
        "page:\n  bind: gate.local\n  port: 0\n  tokenfile: x\n  viewers: 1000\n  hosts: ['a b']\n"
    )
    found = problems(text)
    assert found[0].startswith("gate.yaml:6:3: page.bind: give an IP address")
    assert found[1].startswith("gate.yaml:7:3: page.port: ")
    assert found[2] == "gate.yaml:8:3: page.tokenfile: unknown key; did you mean `token_file`?"
    assert found[3].startswith("gate.yaml:9:3: page.viewers: ")
    assert found[4].startswith("gate.yaml:10:")


@pytest.mark.parametrize("bind", ["0.0.0.0", "10.0.0.7", "'::'"])
def test_beyond_loopback_a_token_is_needed(bind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (found,) = problems(f"page:\n  bind: {bind}\n")
    assert found.startswith("gate.yaml:5:1: page: beyond loopback the page needs a token")
    assert config(f"page: {{bind: {bind}, token_file: t}}\n").page is not None
    monkeypatch.setenv(TOKEN_VARIABLE, TOKEN)
    page = config(f"page: {{bind: {bind}}}\n").page
    assert page is not None
    assert page_settings(config("page: {}\n"), page).token == TOKEN


def test_certificate_and_key_go_together() -> None:
    (found,) = problems("page: {certificate_file: c}\n")
    assert "go together" in found


@given(st.dictionaries(st.sampled_from(["bind", "port", "hosts", "viewers"]), st.text(max_size=9)))
def test_any_value_is_accepted_or_told_at_its_line(values: dict[str, str]) -> None:
    lines = set()
    try:
        config(f"page: {json.dumps(values)}\n")
    except ConfigFileError as error:
        lines = {problem.position[0] for problem in error.problems}
    assert lines <= {5}


def test_a_certificate_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    (tmp_path / "c").write_text("no certificate")
    one = config("page: {certificate_file: c, key_file: c}\n", tmp_path)
    with pytest.raises(ConfigError, match="certificate cannot be used"):
        open_page(one, detector(), clock=SystemClock())


def test_a_missing_package_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name)
    )
    with pytest.raises(UnavailableError, match="uvicorn") as caught:
        open_page(config("page: {}\n"), detector(), clock=SystemClock())
    assert "vigil[page]" in str(caught.value)


def test_a_first_try_without_a_file_can_have_a_page(tmp_path: Path) -> None:
    given = {"bundle": tmp_path, "source": "clip.mp4"}
    assert _resolve(None, given).page is None
    page = _resolve(None, {**given, "page": True}).page
    assert page is not None
    assert (page.bind, page.token_file) == ("127.0.0.1", None)
    with pytest.raises(UsageError, match="--page"):
        _resolve(tmp_path / "gate.yaml", {"page": True})


def test_it_speaks_https(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    settings = PageSettings(port=0, token=TOKEN, certificate_file=certificate, key_file=key)
    observer = PageObserver(settings=settings, device=DEVICE, clock=SystemClock())
    observer.started([])
    try:
        wait_until(lambda: observer.port is not None)
        context = ssl.create_default_context(cafile=str(certificate))
        connection = http.client.HTTPSConnection(
            "127.0.0.1", observer.port, timeout=20, context=context
        )
        connection.request("POST", "/login", body=f"token={TOKEN}".encode())
        answer = connection.getresponse()
        assert answer.status == 303
        assert "; Secure" in answer.headers["set-cookie"]
        connection.close()
    finally:
        observer.stopped()


def self_signed(folder: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gate-01")])
    now = datetime.datetime.now(datetime.timezone.utc)
    address: Any = ipaddress.ip_address("127.0.0.1")
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(address)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return files
