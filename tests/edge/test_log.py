"""Log lines: what a person can act on, and priorities for the journal."""

import ast
import io
import json
import os
from pathlib import Path

import pytest
import structlog

import calibration
import edge
import engines
from edge.log import configure_logging
from edge.log_mends import MENDS

ALARMING = {"warning", "error", "exception", "critical"}


@pytest.fixture(autouse=True)
def _as_it_was() -> object:
    yield
    structlog.reset_defaults()


def alarming_lines() -> list[tuple[str, str, bool]]:
    """(place, event, says itself what mends it) of every warning and error in the runtime."""
    found = []
    rooms = (edge, calibration, engines)
    files = [path for room in rooms for path in Path(room.__path__[0]).rglob("*.py")]
    for path in sorted(files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            owner = ast.unparse(node.func.value)
            if node.func.attr not in ALARMING or "log" not in owner.rpartition(".")[2]:
                continue
            itself = any(keyword.arg == "mend" for keyword in node.keywords)
            events = [
                part.value
                for part in ast.walk(node.args[0])
                if isinstance(part, ast.Constant) and isinstance(part.value, str)
            ]
            found += [(f"{path.name}:{node.lineno}", event, itself) for event in events]
    return found


def test_every_warning_and_error_says_what_to_do() -> None:
    lines = alarming_lines()
    assert len(lines) > 20  # the walk finds them
    assert [line for line in lines if not line[2] and line[1] not in MENDS] == []


def test_no_advice_is_left_over() -> None:
    assert set(MENDS) - {event for _, event, _ in alarming_lines()} == set()


def test_a_warning_carries_its_mend_and_news_does_not() -> None:
    stream = io.StringIO()
    configure_logging(stream=stream, as_json=True)
    log = structlog.get_logger()
    log.warning("mqtt_absent", broker="mqtt://h")
    log.info("mqtt_absent")
    log.warning("mqtt_absent", mend="another")
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert first["mend"] == MENDS["mqtt_absent"]
    assert "mend" not in second
    assert third["mend"] == "another"


def test_the_journal_gets_the_priority_of_each_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        configure_logging(stream=stream, as_json=False)
        log = structlog.get_logger()
        log.info("one")
        log.warning("two")
        try:
            int("three")
        except ValueError:
            log.exception("three")
        stream.seek(0)
        lines = stream.read().splitlines()
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
        configure_logging(stream=stream)
        stream.truncate(0)
        structlog.get_logger().error("four")
        stream.seek(0)
        assert "<3>" not in stream.read()
    assert lines[0].startswith("<6>")
    assert lines[1].startswith("<4>")
    assert len(lines) > 4
    assert all(line.startswith("<3>") for line in lines[2:])
