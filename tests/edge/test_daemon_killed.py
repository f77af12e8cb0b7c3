"""The daemon killed at random moments while events flow: every number arrives, every event ends.

VIGIL_KILLS=200 for the long run (`make soak`), VIGIL_SEED for its moments.
"""

import json
import os
import random
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from support.broker import Subscriber, running_broker, wait_until, without_repeats

from edge.clock import SystemClock
from edge.events.event import load_schema
from edge.publish.outbox import Outbox

pytestmark = [pytest.mark.broker, pytest.mark.slow]

TESTS = Path(__file__).parents[1]
KILLS = int(os.environ.get("VIGIL_KILLS", "15"))
SEED = int(os.environ.get("VIGIL_SEED", "0")) or random.randrange(1, 10**6)

# Everything is imported once; then each daemon is a fork of a process that has no threads.
NURSERY = """
import json, os, random, select, signal, sys, threading, time
from pathlib import Path
sys.path.insert(0, sys.argv[5])
from support.cameras import TimedCapture
from support.scores import PlayedPipeline, detector
from edge.clock import SystemClock
from edge.daemon import Daemon
from edge.daemon_settings import CameraJob, DaemonSettings, LiveInput
from edge.observer import Observer
from edge.publish.address import BrokerAddress, Topics
from edge.publish.outbox import Outbox
from edge.publish.publisher import BrokerSettings

folder, url, kills, seed = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
topics = Topics("gate-01")
cameras = ("yard", "door")

class Flowing(Observer):
    # Says once that events flow, however slow the machine is.
    said = False

    def __init__(self, pipe):
        self.pipe = pipe

    def event(self, event):
        if not self.said:
            self.said = True
            os.write(self.pipe, b".")

def daemon(pipe):
    clock = SystemClock()
    return Daemon(
        settings=DaemonSettings(
            broker=BrokerSettings(
                address=BrokerAddress.parse(url), topics=topics, reconnect_max_s=0.05
            ),
            media=None,
            flush_s=20.0,
        ),
        cameras=[CameraJob(c, LiveInput(launch=lambda: TimedCapture(200.0))) for c in cameras],
        pipeline=PlayedPipeline({c: [1.0] * 10 + [5.0] * 10 for c in cameras}),
        detector=detector(close_s=0.02, merge_s=0.01),
        outbox=Outbox(folder / "o.sqlite3", device="gate-01", topic=topics.event, clock=clock),
        clock=clock,
        observers=[Flowing(pipe)],
    )

def child(run_s, pipe):
    sys.stdout = sys.stderr = open(os.devnull, "w")
    one = daemon(pipe)
    if run_s is not None:
        threading.Timer(run_s, one.request_stop).start()
    summary = one.run()
    os._exit(0 if summary.outbox_left == 0 else 1)

moments = random.Random(seed)
for number in range(kills + 1):
    last = number == kills
    heard, pipe = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            child(0.5 if last else None, pipe)
        finally:
            os._exit(2)
    if not last:
        # Most of them while events flow, some while it starts or ends what its forerunner left.
        if number % 5:
            select.select([heard], [], [], 30.0)
        time.sleep(moments.uniform(0.0, 0.5))
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    os.close(heard)
    os.close(pipe)
print(json.dumps({"last_exit": os.waitstatus_to_exitcode(status)}))
"""


@pytest.mark.timeout(60 + 5 * KILLS)
def test_a_daemon_killed_again_and_again_loses_no_message_and_leaves_no_event_open(
    tmp_path: Path,
) -> None:
    # The broker lives, so its listener may ask for QoS 1: no acknowledged message can die with it.
    with running_broker(tmp_path) as broker, Subscriber(broker.port, qos=1) as subscriber:
        arguments = [str(tmp_path), broker.url, str(KILLS), str(SEED), str(TESTS)]
        done = subprocess.run(
            [sys.executable, "-c", NURSERY, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == {"last_exit": 0}
        wait_until(lambda: subscriber.last("vigil/gate-01/status") == "offline")
        everything = subscriber.events()
    with Outbox(tmp_path / "o.sqlite3", device="gate-01", topic="t", clock=SystemClock()) as outbox:
        assert (outbox.depth.rows, outbox.open_events()) == (0, [])
        published = outbox.last_seq
    events = without_repeats(everything)
    figures = {
        "seed": SEED,
        "kills": KILLS,
        "published": published,
        "received": len(events),
        "repeats": len(everything) - len(events),
        "ended_after_restart": sum(e["reason"] == "daemon_restart" for e in events),
    }
    print(json.dumps(figures))
    assert [event["seq"] for event in events] == list(range(1, published + 1)), figures
    assert published > KILLS, figures
    check_lives(events)


def check_lives(events: list[dict[str, Any]]) -> None:
    """Each event: a start, then revisions without a hole, then one end."""
    lives: dict[str, list[dict[str, Any]]] = defaultdict(list)
    validator = jsonschema.Draft202012Validator(load_schema())
    for event in events:
        validator.validate(event)
        lives[event["id"]].append(event)
    for life in lives.values():
        assert [one["rev"] for one in life] == list(range(1, len(life) + 1))
        phases = [one["phase"] for one in life]
        assert (phases[0], phases[-1]) == ("start", "end")
        assert phases.count("end") == 1
