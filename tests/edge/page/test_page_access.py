"""Who may look: tokens, sessions, guesses, names of the host."""

import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.page.access import SESSION_S, TRIES, TRIES_SPAN_S, Access, Attempts
from edge.page.hosts import KnownHosts
from edge.page.settings import (
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    PageSettings,
    find_token,
    is_loopback,
)
from engines.errors import ConfigError, InputMissingError

TOKEN = "0123456789abcdef"


def test_only_the_token_is_the_token() -> None:
    access = Access(TOKEN)
    assert access.knows(TOKEN)
    for other in ("", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "\ud800", "é" * 16):
        assert not access.knows(other)


def test_without_a_token_everybody_may_look() -> None:
    assert Access(None).open
    assert Access(None).knows("")
    assert Access(None).valid("", 0.0)


def test_a_session_holds_until_its_end_and_over_a_restart_but_not_over_another_token() -> None:
    cookie = Access(TOKEN).session(1000.0)
    assert Access(TOKEN).valid(cookie, 1000.0 + SESSION_S - 1)
    assert not Access(TOKEN).valid(cookie, 1000.0 + SESSION_S)
    assert not Access(TOKEN + "x").valid(cookie, 1000.0)
    assert TOKEN not in cookie


def test_the_end_of_a_session_cannot_be_moved() -> None:
    end, _, seal = Access(TOKEN).session(1000.0).partition(".")
    assert not Access(TOKEN).valid(f"{int(end) + 1}.{seal}", 1000.0)


@given(st.text(max_size=200))
def test_no_made_up_cookie_is_a_session(cookie: str) -> None:
    assert not Access(TOKEN).valid(cookie, time.time())


def test_after_five_wrong_tokens_an_address_waits_and_others_do_not() -> None:
    attempts = Attempts()
    for second in range(TRIES):
        assert attempts.wait_s("a", second) == 0.0
        attempts.note("a", second)
    assert attempts.wait_s("a", 10.0) == TRIES_SPAN_S - 10.0
    assert attempts.wait_s("b", 10.0) == 0.0
    assert attempts.wait_s("a", TRIES_SPAN_S) == 0.0


def test_attempts_of_many_addresses_do_not_fill_the_memory() -> None:
    attempts = Attempts()
    for number in range(5000):
        attempts.note(str(number), 0.0)
    assert len(attempts._failed) <= 1024


@pytest.mark.parametrize(
    ("header", "known"),
    [
        ("localhost:8642", True),
        ("127.0.0.1", True),
        ("10.0.0.7:8642", True),
        ("[::1]:8642", True),
        ("gate.example", True),
        ("GATE.example.:80", True),
        ("evil.example", False),
        ("gate.example.evil.org", False),
        ("127.0.0.1.evil.org", False),
        ("", False),
        ("localhost:8642@evil.org", False),
        ("localhost evil.org", False),
        ("[::1", False),
    ],
)
def test_only_known_names_and_addresses_are_hosts(header: str, known: bool) -> None:
    assert KnownHosts(["gate.example"]).knows(header) is known


def test_the_token_comes_from_file_or_environment(tmp_path: Path) -> None:
    file, other = tmp_path / "a", tmp_path / "b"
    file.write_text(f"{TOKEN}-file\n")
    other.write_text(f"{TOKEN}-other\n")
    for one in (file, other):
        one.chmod(0o600)
    environment = {TOKEN_VARIABLE: f"{TOKEN}-env", TOKEN_FILE_VARIABLE: str(other)}
    assert find_token(file, environment) == f"{TOKEN}-file"
    assert find_token(None, environment) == f"{TOKEN}-other"
    assert find_token(None, {TOKEN_VARIABLE: f"{TOKEN}-env"}) == f"{TOKEN}-env"
    assert find_token(None, {}) is None


def test_a_token_that_is_no_good_is_refused_with_advice_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as short:
        find_token(None, {TOKEN_VARIABLE: "hunter2"})
    assert "16" in short.value.what
    assert "hunter2" not in str(short.value)
    open_to_all = tmp_path / "token"
    open_to_all.write_text(TOKEN)
    open_to_all.chmod(0o644)
    with pytest.raises(ConfigError, match="everybody"):
        find_token(open_to_all, {})
    with pytest.raises(InputMissingError):
        find_token(tmp_path / "none", {})


def test_settings_go_to_the_process_and_show_no_token() -> None:
    settings = PageSettings(token=TOKEN, media=Path("/m"), hosts=("a", "b"))
    assert PageSettings.from_json(settings.to_json()) == settings
    assert TOKEN not in repr(settings)
    assert PageSettings(bind="::1").url == "http://[::1]:8642/"
    assert is_loopback("::1")
    assert not is_loopback("0.0.0.0")
