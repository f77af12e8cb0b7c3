"""The page over HTTP: a real process, real sockets, and requests that no browser would send."""

import contextlib
import os
import socket
import string
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.broker import wait_until
from support.page import TOKEN, EventReader, Stage, get, status

from edge.page.guard import HEADERS
from edge.page.settings import PageSettings

COOKIE_HEADERS = {"content-type": "application/x-www-form-urlencoded"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """An open page on loopback with one event."""
    folder = tmp_path_factory.mktemp("page")
    (folder / "media").mkdir()
    (folder / "secret.jpg").write_bytes(b"secret")
    with Stage(folder, PageSettings(port=0, media=folder / "media", viewers=3)) as running:
        running.event("yard")
        wait_until(lambda: len(get(running.port, "/api/v1/state").json()["events"]) == 1)
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A page that wants a token."""
    folder = tmp_path_factory.mktemp("guarded")
    with Stage(folder, PageSettings(port=0, token=TOKEN), cameras=("yard",)) as running:
        yield running


def raw(port: int, request: bytes, *, wait_s: float = 5.0, end: bool = True) -> bytes:
    """What comes back for these bytes, until the other side closes or stays silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=wait_s) as connection:
        connection.sendall(request)
        if end:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        try:
            while data := connection.recv(65536):
                answer += data
        except (TimeoutError, ConnectionResetError):
            pass
        return answer


def test_every_answer_carries_the_security_headers(stage: Stage) -> None:
    for path in (
        "/",
        "/static/page.js",
        "/api/v1/state",
        "/media/none.jpg",
        "/healthz",
        "/nothing",
    ):
        answer = get(stage.port, path)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value, path
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in answer.headers
    policy = HEADERS["content-security-policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy


def test_the_page_has_no_script_style_or_address_that_its_policy_forbids(stage: Stage) -> None:
    for path in ("/", "/login"):
        text = get(stage.port, path).body.decode()
        assert "style=" not in text
        assert "://" not in text
        assert "<script>" not in text
        assert " on" not in {part[:3] for part in text.split("<") if "=" in part[:3]}


def test_the_state_tells_cameras_and_events(stage: Stage) -> None:
    state = get(stage.port, "/api/v1/state").json()
    assert state["device"]["name"] == "gate-01"
    assert [(c["name"], c["state"]) for c in state["cameras"]] == [
        ("yard", "live"),
        ("door", "live"),
    ]
    (event,) = state["events"]
    assert (event["phase"], event["reason"], event["rev"]) == ("end", "normal", 2)
    assert "moves unlike anything seen here" in event["why"]
    assert get(stage.port, "/readyz").body == b"scoring\n"


def test_snapshot_and_heat_map_of_an_event_are_served(stage: Stage) -> None:
    event = get(stage.port, "/api/v1/state").json()["events"][0]
    for kind, name in (("image/jpeg", "snapshot"), ("image/png", "heatmap")):
        answer = get(stage.port, event[name]["path"])
        assert (answer.status, answer.headers["content-type"]) == (200, kind)
        assert len(answer.body) == event[name]["bytes"]
        picture = cv2.imdecode(np.frombuffer(answer.body, np.uint8), cv2.IMREAD_UNCHANGED)
        assert picture.shape[:2] == (40, 60)


def test_a_part_of_a_file_can_be_asked_for(stage: Stage) -> None:
    path = get(stage.port, "/api/v1/state").json()["events"][0]["snapshot"]["path"]
    whole = get(stage.port, path).body
    for header, expected in (
        ("bytes=0-9", whole[:10]),
        ("bytes=10-", whole[10:]),
        ("bytes=-5", whole[-5:]),
        ("bytes=5-99999999", whole[5:]),
    ):
        part = get(stage.port, path, headers={"range": header})
        assert (part.status, part.body) == (206, expected)
        assert part.headers["content-range"].endswith(f"/{len(whole)}")
    assert get(stage.port, path, headers={"range": "bytes=99999999-"}).status == 416
    assert get(stage.port, path, headers={"range": "bytes=x"}).body == whole
    head = get(stage.port, path, method="HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(whole)), b"")


def test_the_stream_begins_with_everything_and_goes_on_with_what_is_new(stage: Stage) -> None:
    with EventReader(stage.port) as reader:
        assert reader.answer.headers["content-type"].startswith("text/event-stream")
        kind, board = reader.next()
        assert (kind, board["device"]["name"]) == ("board", "gate-01")
        stage.play("door", 2.5, 1.0)
        found: dict[str, Any] = {}
        while not {"score", "picture"} <= found.keys():
            kind, message = reader.next()
            if message.get("camera") == "door":
                found[kind] = message
        assert found["score"]["score"] == 2.5
        picture = found["picture"]
        base = f"/api/v1/cameras/{picture['camera']}"
        live = get(stage.port, f"{base}/picture.jpg?n={picture['n']}")
        assert cv2.imdecode(np.frombuffer(live.body, np.uint8), 1).shape == (40, 60, 3)
        heat = get(stage.port, f"{base}/heat.png?n={picture['n']}")
        assert cv2.imdecode(np.frombuffer(heat.body, np.uint8), 0).shape == (4, 6)
        again = get(
            stage.port, f"{base}/picture.jpg", headers={"if-none-match": live.headers["etag"]}
        )
        assert again.status in (200, 304)
        stage.observer.camera_changed(status("door", "lost", reason="no_frames"))
        assert reader.until("camera")["camera"]["reason"] == "no_frames"
        stage.observer.camera_changed(status("door"))


def test_no_picture_is_made_while_nobody_looks(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    one = stage.observer._pump
    monkeypatch.setattr(one, "_picture", lambda camera, _sight: made.append(camera))
    wait_until(lambda: one._process is not None and one._process.viewers == 0)
    stage.play("yard", 1.0, 1.0)
    time.sleep(0.8)
    assert made == []


def test_there_is_a_limit_to_viewers_and_a_place_that_is_left_is_free(stage: Stage) -> None:
    readers = [EventReader(stage.port) for _ in range(3)]
    refused = get(stage.port, "/api/v1/stream")
    assert (refused.status, refused.headers["retry-after"]) == (503, "10")
    for reader in readers:
        reader.close()
    wait_until(lambda: not _full(stage.port))


def _full(port: int) -> bool:
    with EventReader(port) as reader:
        return reader.answer.status == 503


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/..%2fapp.py",
        "/static/%2e%2e/%2e%2e/app.py",
        "/static//etc/passwd",
        "/media/../secret.jpg",
        "/media/..%2fsecret.jpg",
        "/media/%2e%2e%2fsecret.jpg",
        "/media/%2fetc%2fpasswd",
        "/media/..%5csecret.jpg",
        "/media/secret.jpg%00.jpg",
        "/media/.",
        "/media/",
        "//etc/passwd",
        "/api/v1/cameras/../../../etc/passwd",
    ],
)
def test_no_path_leads_out(stage: Stage, path: str) -> None:
    answer = raw(stage.port, f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    assert answer.startswith((b"HTTP/1.1 404", b"HTTP/1.1 400")), answer
    assert b"root:" not in answer
    assert b"secret" not in answer.partition(b"\r\n\r\n")[2]


def test_links_and_odd_things_in_the_media_folder_are_not_served(stage: Stage) -> None:
    media = stage.settings.media
    assert media is not None
    name = "01900000-0000-7000-8000-00000000000"
    (media / f"{name}1.jpg").symlink_to(stage.folder / "secret.jpg")
    (media / f"{name}2.jpg").mkdir()
    os.mkfifo(media / f"{name}3.jpg")
    (media / f"{name}4.jpg").write_bytes(b"fine")
    (media / f"{name}4.html").write_bytes(b"<p>")
    found = [get(stage.port, f"/media/{name}{end}").status for end in ("1.jpg", "2.jpg", "3.jpg")]
    assert found == [404, 404, 404]
    assert get(stage.port, f"/media/{name}4.jpg").body == b"fine"
    assert get(stage.port, f"/media/{name}4.html").status == 404


@pytest.mark.parametrize("host", ["evil.example", "evil.example:8642", "", "a b", "127.0.0.1.evil"])
def test_another_name_is_refused_so_that_no_site_can_read_it_through_a_visitor(
    stage: Stage, host: str
) -> None:
    answer = get(stage.port, "/api/v1/state", headers={"host": host})
    assert answer.status == 421
    assert b"gate-01" not in answer.body


def test_other_methods_and_large_requests_are_refused(stage: Stage) -> None:
    for method in ("PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"):
        assert get(stage.port, "/", method=method).status == 405
    assert get(stage.port, "/login", method="POST", body=b"x" * 5000).status == 413
    assert get(stage.port, "/", headers={"content-length": "999999999999"}).status == 413
    long_header = b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"x" * 200_000 + b"\r\n\r\n"
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):  # before all was sent
        assert raw(stage.port, long_header).startswith(b"HTTP/1.1 4")
    endless = b"POST /login HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    chunk = b"1000\r\n" + b"x" * 4096 + b"\r\n"
    assert raw(stage.port, endless + chunk * 4, end=False).startswith(b"HTTP/1.1 413")
    assert get(stage.port, "/healthz").status == 200


def test_a_post_of_another_site_is_refused(stage: Stage) -> None:
    for headers in (
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site", "origin": f"http://127.0.0.1:{stage.port}"},
    ):
        answer = get(stage.port, "/login", method="POST", headers=headers, body=b"token=x")
        assert answer.status == 403


def test_without_token_there_is_only_the_login_page(guarded: Stage) -> None:
    port = guarded.port
    home = get(port, "/")
    assert (home.status, home.headers["location"]) == (303, "/login")
    for path in ("/api/v1/state", "/api/v1/stream", "/media/x.jpg", "/static/page.js", "/x"):
        answer = get(port, path)
        assert (answer.status, answer.body) == (401, b"a token is needed\n")
    for path in ("/login", "/healthz", "/readyz", "/static/page.css"):
        assert get(port, path).status == 200


def test_the_right_token_opens_a_session(guarded: Stage) -> None:
    port = guarded.port
    body = urlencode({"token": TOKEN}).encode()
    answer = get(port, "/login", method="POST", headers=COOKIE_HEADERS, body=body)
    assert (answer.status, answer.headers["location"]) == (303, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie
    session = {"cookie": cookie.partition(";")[0]}
    assert get(port, "/api/v1/state", headers=session).status == 200
    assert get(port, "/api/v1/state", headers={"authorization": f"Bearer {TOKEN}"}).status == 200
    # A page on the same machine under another port has another cookie.
    assert f"vigil_page_{port}=" in cookie


def test_wrong_tokens_are_refused_slowed_down_and_logged_without_the_token(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Stage(tmp_path, PageSettings(port=0, token=TOKEN)) as one:
        tries = [
            get(
                one.port, "/login", method="POST", body=b"token=wrong-guess", headers=COOKIE_HEADERS
            )
            for _ in range(6)
        ]
        assert [t.headers["location"] for t in tries] == ["/login?wrong"] * 5 + ["/login?wait"]
        right = {"authorization": f"Bearer {TOKEN}"}
        assert get(one.port, "/api/v1/state", headers=right).status == 429
        command = Path(f"/proc/{one.observer._pump._process.pid}/cmdline").read_bytes()
        environment = Path(f"/proc/{one.observer._pump._process.pid}/environ").read_bytes()
    said = capfd.readouterr().err
    assert "page_token_refused" in said
    assert "127.0.0.1" in said
    for place in (said.encode(), command, environment):
        assert TOKEN.encode() not in place
        assert b"wrong-guess" not in place


TEXT = st.text(string.printable + "é\u2028\U0001f600", max_size=40)
HEADER_VALUE = st.text(string.ascii_letters + string.digits + " ;=,\"%./-_:'", max_size=60)
HEADER_NAMES = st.sampled_from(
    ["cookie", "authorization", "range", "if-none-match", "origin", "accept", "referer", "upgrade"]
)


@settings(max_examples=50)
@given(path=TEXT, query=TEXT, headers=st.dictionaries(HEADER_NAMES, HEADER_VALUE, max_size=4))
def test_any_path_and_header_is_answered_in_order(
    stage: Stage, path: str, query: str, headers: dict[str, str]
) -> None:
    headers = {name: value.strip() for name, value in headers.items()}
    answer = get(stage.port, f"/{quote(path, safe='/.%')}?{quote(query)}", headers=headers)
    assert answer.status in (200, 303, 304, 400, 404, 405)
    if answer.status != 400:
        assert answer.headers["x-content-type-options"] == "nosniff"


@settings(max_examples=40)
@given(
    name=st.text(string.ascii_letters + string.digits + "./\\%-_~", max_size=60),
    prefix=st.sampled_from(["/media/", "/static/", "/api/v1/cameras/yard/", "/api/v1/cameras/"]),
)
def test_no_made_up_name_is_found(stage: Stage, name: str, prefix: str) -> None:
    answer = raw(stage.port, f"GET {prefix}{name} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    known = (b"HTTP/1.1 404", b"HTTP/1.1 400", b"HTTP/1.1 307")
    assert answer.startswith(known), answer[:200]


@settings(max_examples=40)
@given(data=st.binary(max_size=300), begin=st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"POST /"]))
def test_any_bytes_leave_it_standing(stage: Stage, data: bytes, begin: bytes) -> None:
    answer = raw(stage.port, begin + data)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert b" 500 " not in answer[:20]


@settings(max_examples=40)
@given(
    token=TEXT.filter(lambda text: text.strip() != TOKEN),
    cookie=st.text(string.ascii_letters + string.digits + '.=; "', max_size=80),
)
def test_no_made_up_token_or_cookie_opens_anything(guarded: Stage, token: str, cookie: str) -> None:
    port = guarded.port
    body = urlencode({"token": token}).encode()
    answer = get(port, "/login", method="POST", headers=COOKIE_HEADERS, body=body)
    assert answer.headers.get("location", "") != "/"
    assert "set-cookie" not in answer.headers
    name = f"vigil_page_{port}"
    sent = {"cookie": f"{name}={cookie}".strip()}
    assert get(port, "/api/v1/state", headers=sent).status == 401


def test_viewers_that_come_and_go_leave_nothing_behind(stage: Stage) -> None:
    process = stage.observer._pump._process
    assert process is not None
    descriptors = Path(f"/proc/{process.pid}/fd")
    before = len(list(descriptors.iterdir()))
    for _ in range(50):
        wait_until(lambda: not _full(stage.port))
        with EventReader(stage.port) as reader:
            assert reader.next()[0] == "board"
    wait_until(lambda: process.viewers == 0)
    wait_until(lambda: len(list(descriptors.iterdir())) <= before)


def test_after_all_that_it_still_serves_and_has_not_grown(stage: Stage) -> None:
    process = stage.observer._pump._process
    assert process is not None
    fields = Path(f"/proc/{process.pid}/statm").read_text().split()
    assert int(fields[1]) * os.sysconf("SC_PAGE_SIZE") < 150 * 2**20
    assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 40
    assert get(stage.port, "/").status == 200
