"""The demonstration's own arithmetic, and its broker."""

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from edge.publish.address import BrokerAddress, find_login
from edge.watch import Watcher
from engines.errors import CannotCreateError
from trainer import loopback_broker as broker_module
from trainer.cli.demo import demo
from trainer.demo_tally import Tally, received_intervals, tally
from trainer.loopback_broker import loopback_broker


def message(number: int, camera: str, start: float, duration: float) -> dict[str, Any]:
    return {
        "id": f"event-{number}",
        "kind": "anomaly",
        "camera": camera,
        "started_position_s": start,
        "duration_s": duration,
    }


def test_the_last_message_of_an_event_says_how_long_it_was() -> None:
    messages = [
        message(1, "a", 3.0, 0.3),
        message(2, "b", 1.0, 0.2),
        message(1, "a", 3.0, 2.5),
        {"phase": "gap", "seq": 9},
    ]
    assert received_intervals(messages) == {"a": [(3.0, 5.5)], "b": [(1.0, 1.2)]}


def test_found_missed_and_false_by_overlap() -> None:
    truth = {"a": [(2.0, 4.0), (10.0, 12.0)], "b": [(0.0, 1.0)], "quiet": []}
    received = {
        "a": [(3.9, 6.0), (4.9, 5.0), (13.5, 14.0)],
        "b": [(1.9, 2.5)],
        "quiet": [(1.0, 2.0)],
    }
    assert tally(truth, received) == Tally(found=2, missed=1, false=2)


@pytest.mark.parametrize("embedded", [False, True])
def test_the_broker_answers_on_loopback_and_is_gone_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, embedded: bool
) -> None:
    if embedded:
        monkeypatch.setattr(broker_module.shutil, "which", lambda _: None)
        monkeypatch.setattr(broker_module, "_SBIN", "/nowhere/mosquitto")
    with loopback_broker(tmp_path) as (url, program):
        assert ("embedded" in program) == embedded or not embedded
        address = BrokerAddress.parse(url)
        watcher = Watcher(address=address, login=find_login(address), topic="vigil/x/event")
        assert "listening" in next(iter(watcher.listen(timeout_s=10.0))).line
    with pytest.raises(Exception, match="cannot be reached"):
        next(iter(Watcher(address=address, login=find_login(address), topic="x").listen()))


def test_a_folder_that_is_not_a_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    result = CliRunner().invoke(demo, ["--out", str(tmp_path)])
    assert isinstance(result.exception, CannotCreateError)
    assert (tmp_path / "thesis.txt").exists()
    result = CliRunner().invoke(demo, ["--out", str(tmp_path / "thesis.txt")])
    assert isinstance(result.exception, CannotCreateError)
    assert (tmp_path / "thesis.txt").read_text() == "years of work"
