"""A disk without a free byte, for real: a small file system in memory that is filled up.

The file system is mounted in a namespace of the test's own process, so nothing is left behind.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from support.broker import Subscriber, running_broker, wait_until, without_repeats

from edge.publish.held import HeldMessages
from edge.publish.local_disk import file_system, require_local
from engines.errors import ConfigError

TESTS = Path(__file__).parents[1]

PROGRAM = """
import errno, json, os, sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[3])
from edge.publish import outbox_thread
from support.publishing import line
outbox_thread.MAX_HELD = 40
folder, url = Path(sys.argv[1]), sys.argv[2]

def fill():
    with (folder / "filler").open("ab", buffering=0) as filler:
        for size in (65536, 4096, 1):
            try:
                while True:
                    filler.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC

def say(**facts):
    print(json.dumps(facts), flush=True)

def order():
    return sys.stdin.readline().strip()

with line(folder, url) as one:
    one.send(20, filler=3000)
    while not one.empty():
        time.sleep(0.01)
    fill()
    say(step="full")
    assert order() == "go"
    one.send(400, first=20, filler=3000)
    while not one.empty():
        time.sleep(0.01)
    say(step="delivered", held=one.outbox.depth().held)
    assert order() == "broker gone"
    one.send(600, first=420, filler=3000)
    time.sleep(0.3)
    say(step="waiting", held=one.outbox.depth().held, rows=one.outbox.depth().rows)
    assert order() == "broker back"
    while not one.empty():
        time.sleep(0.01)
    one.send(5, first=1020, filler=3000)
    while not one.empty():
        time.sleep(0.01)
    say(step="end", last=one.outbox.identity()[1], dropped=one.outbox.depth().dropped)
"""


@pytest.fixture
def namespace() -> list[str]:
    """Beginning of a command that may mount file systems of its own."""
    unshare = shutil.which("unshare")
    probe = [unshare or "unshare", "--user", "--map-root-user", "--mount"]
    if unshare is None or subprocess.run([*probe, "true"], check=False).returncode != 0:
        pytest.skip("this kernel lets an ordinary user mount nothing (unshare)")
    return probe


@pytest.mark.broker
def test_on_a_full_disk_events_go_out_and_nothing_is_lost_without_word(
    tmp_path: Path, namespace: list[str]
) -> None:
    """With the broker there the reserve turns over; without it memory holds, and a gap tells."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = 'mount -t tmpfs -o size=10m none "$1" && exec "$2" -c "$3" "$1" "$4" "$5"'
    with running_broker(tmp_path) as broker, Subscriber(broker.port, qos=0) as subscriber:
        arguments = [str(folder), sys.executable, PROGRAM, broker.url, str(TESTS)]
        with subprocess.Popen(
            [*namespace, "sh", "-c", mount, "sh", *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                said = play(process, broker, subscriber)
            finally:
                process.kill()
    assert said["delivered"]["held"] == 0
    assert said["waiting"]["held"] > 0  # the reserve was used up
    assert said["waiting"]["rows"] >= 200  # but it held that much
    events = without_repeats(subscriber.events())
    explained: list[int] = []
    for event in events:
        first = event["from_seq"] if event["phase"] == "gap" else event["seq"]
        explained += range(first, event["seq"] + 1)
    assert explained == list(range(1, said["end"]["last"] + 1))
    gaps = [event for event in events if event["phase"] == "gap"]
    assert {gap["reason"] for gap in gaps} <= {"storage"}
    assert sum(gap["count"] for gap in gaps) == said["end"]["dropped"]
    numbers = [event["n"] for event in events if event["phase"] != "gap"]
    assert numbers == sorted(numbers)
    assert len(numbers) + said["end"]["dropped"] == 1025
    assert numbers[:420] == list(range(420))
    assert numbers[-5:] == [1020, 1021, 1022, 1023, 1024]


def play(process: "subprocess.Popen[str]", broker: Any, subscriber: Subscriber) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    said: dict[str, Any] = {}

    def hear(step: str) -> None:
        for line in process.stdout or ():
            if line.startswith("{"):
                found = json.loads(line)
                said[found["step"]] = found
                assert found["step"] == step
                return
        pytest.fail(f"ended before {step}")

    def tell(order: str) -> None:
        assert process.stdin is not None
        process.stdin.write(order + "\n")
        process.stdin.flush()

    hear("full")
    tell("go")
    hear("delivered")
    wait_until(lambda: len(without_repeats(subscriber.events())) >= 420)
    broker.freeze()
    tell("broker gone")
    hear("waiting")
    broker.thaw()
    tell("broker back")
    hear("end")
    wait_until(lambda: subscriber.events()[-1]["seq"] == said["end"]["last"])
    return said


def test_the_oldest_update_goes_first_then_the_oldest_message() -> None:
    held = HeldMessages()
    for phase in ("start", "update", "update", "end"):
        held.add({"phase": phase})
    for _ in range(3):
        held.drop_one()
    assert (held.lost, len(held), held.first()["phase"]) == (3, 1, "end")


MOUNTS = r"""
22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw
30 22 0:40 / /srv/my\040share rw - nfs4 server:/export rw
31 30 8:2 / /srv/my\040share/local rw - xfs /dev/sdb1 rw
32 22 0:41 / /home rw - cifs //server/home rw
broken line
"""


def test_network_file_systems_are_refused() -> None:
    assert file_system(Path("/var/lib/vigil"), MOUNTS) == "ext4"
    assert file_system(Path("/srv/my share/local/deep"), MOUNTS) == "xfs"
    assert file_system(Path("/srv/my share2"), MOUNTS) == "ext4"
    for folder in ("/srv/my share", "/home/guard/state"):
        with pytest.raises(ConfigError, match="network file system"):
            require_local(Path(folder), MOUNTS)
    require_local(Path("/srv/my share/local"), MOUNTS)
    require_local(Path("/anything"), "")
    require_local(Path(__file__).parent)
