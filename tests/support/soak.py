"""A long run of the real daemon: cameras faster than life, a broker that keeps going away.

    PYTHONPATH=tests python -m support.soak --minutes 30

Prints its figures as JSON; the exit code is 1 if they are not good enough. The daemon is the
command `vigil run` in a process of its own, with a tiny bundle and cameras over HTTP; the broker is
a real mosquitto that is killed. Memory is compared only after a warm-up.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from support.broker import Broker, Proxy, Subscriber, running_broker, without_repeats
from support.bundles import FRAME, tiny_bundle
from support.servers.mjpeg_loop import mjpeg_camera, walk

from edge.clock import SystemClock
from edge.publish.outbox import Outbox

CAMERAS = 4
SLOPE_MB_PER_HOUR = 1.0
JUDGED_FROM_S = 900.0  # in less time than this a page of memory more or less is a large slope
_SAMPLE_S = 1.0
_LOOP_S = 6.0  # long enough for an event to end before the next begins
_ANOMALY_S = (1.5, 3.0)


@dataclass(frozen=True)
class Plan:
    """How long, how fast, how hard.

    Attributes:
        seconds: Of the whole run.
        warm_up_s: What of it is not compared.
        cycle_s: From one loss of the broker to the next.
        down_s: How long it is away.
        speed: Times the frame rate that the bundle was made for.
    """

    seconds: float
    warm_up_s: float
    cycle_s: float = 60.0
    down_s: float = 10.0
    speed: float = 4.0


@dataclass
class Samples:
    """What the process looked like, once a second."""

    at_s: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)
    memory_with_children: list[int] = field(default_factory=list)
    children: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)

    def take(self, process: psutil.Process, now_s: float) -> None:
        """One more."""
        own = process.memory_info().rss
        children, found = 0, process.children(recursive=True)
        for child in found:
            with contextlib.suppress(psutil.Error):
                children += child.memory_info().rss
        self.children.append(len(found))
        self.at_s.append(now_s)
        self.memory.append(own)
        self.memory_with_children.append(own + children)
        self.threads.append(process.num_threads())
        self.descriptors.append(process.num_fds())

    def after(self, moment_s: float) -> Samples:
        """Those later than that."""
        first = int(np.searchsorted(self.at_s, moment_s))
        return Samples(
            self.at_s[first:],
            self.memory[first:],
            self.memory_with_children[first:],
            self.children[first:],
            self.threads[first:],
            self.descriptors[first:],
        )


def slope_mb_per_hour(at_s: Sequence[float], memory: Sequence[int]) -> float:
    """Median of the slopes of all pairs of samples (Theil and Sen): blind to single steps."""
    times, values = np.asarray(at_s), np.asarray(memory, float)
    step = max(1, len(times) // 600)
    times, values = times[::step], values[::step]
    first, second = np.triu_indices(len(times), k=1)
    slopes = (values[second] - values[first]) / (times[second] - times[first])
    return float(np.median(slopes)) * 3600.0 / 2**20


def growth(values: Sequence[int]) -> int:
    """How far the smallest of the second half lies above the smallest of the first half.

    What is in use for a moment (a file that is written, a connection) does not count; what is never
    given back does. Each half must see the broker go away.
    """
    half = len(values) // 2
    return min(values[half:]) - min(values[:half])


def soak(folder: Path, plan: Plan) -> dict[str, Any]:
    """Run it; the figures."""
    tiny_bundle(folder / "bundle", workspace=folder)
    fps = FRAME.fps * plan.speed
    with contextlib.ExitStack() as stack:
        broker = stack.enter_context(running_broker(folder))
        network = stack.enter_context(Proxy(broker.port))
        subscriber = stack.enter_context(Subscriber(broker.port, qos=0))
        frames = int(_LOOP_S * fps)
        anomaly = (int(_ANOMALY_S[0] * fps), int(_ANOMALY_S[1] * fps))
        addresses = [
            stack.enter_context(
                mjpeg_camera(walk(frames=frames, anomaly=anomaly, seed=seed), fps=fps)
            )
            for seed in range(CAMERAS)
        ]
        config = write_config(folder, network.url, addresses, fps=fps)
        process = stack.enter_context(daemon(folder, config))
        samples, cuts = disturb(process, plan, broker, network, subscriber)
        process.send_signal(signal.SIGTERM)
        output, _ = process.communicate(timeout=60)
        time.sleep(0.5)
        heard = subscriber.events()
    return figures(plan, samples, heard, cuts, json.loads(output), folder)


def write_config(folder: Path, url: str, addresses: Sequence[str], *, fps: float) -> Path:
    """The daemon's configuration."""
    cameras = {f"camera{n}": {"source": address} for n, address in enumerate(addresses)}
    config = {
        "schema_version": 1,
        "device": "soak",
        "bundle": "bundle",
        "state": "state",
        "threads": 1,
        "analysis_fps": fps,
        "mqtt": {"url": url, "reconnect_max": "2s", "keepalive": "5s", "flush": "30s"},
        "home_assistant": {"discovery": True},
        "cameras": cameras,
    }
    path = folder / "soak.yaml"
    path.write_text(json.dumps(config))  # JSON is YAML
    return path


@contextlib.contextmanager
def daemon(folder: Path, config: Path) -> Iterator[subprocess.Popen[str]]:
    """The command as a person runs it; its log in `folder`."""
    with (folder / "daemon.log").open("w") as log:
        command = [sys.executable, "-m", "edge.cli.main", "run", str(config), "--json"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def disturb(
    process: subprocess.Popen[str],
    plan: Plan,
    broker: Broker,
    network: Proxy,
    subscriber: Subscriber,
) -> tuple[Samples, int]:
    """Watch the process, and take the broker away again and again; how often that was."""
    watched, samples, cuts = psutil.Process(process.pid), Samples(), 0
    begin = time.monotonic()
    next_cut_s, back_s = plan.cycle_s, None
    while (now_s := time.monotonic() - begin) < plan.seconds:
        if process.poll() is not None:
            raise RuntimeError(f"the daemon has ended with {process.returncode}")
        samples.take(watched, now_s)
        if back_s is not None and now_s >= back_s:
            # The listener first: nobody can hear what came before it was back.
            subscriber.ready.clear()
            broker.start()
            assert subscriber.ready.wait(20)
            network.mend()
            back_s = None
        elif back_s is None and now_s >= next_cut_s:
            # First the wire, so that what the broker has acknowledged can still reach the listener.
            network.cut()
            time.sleep(0.3)
            broker.kill()
            cuts += 1
            next_cut_s, back_s = now_s + plan.cycle_s, now_s + plan.down_s
        time.sleep(_SAMPLE_S)
    if back_s is not None:
        subscriber.ready.clear()
        broker.start()
        assert subscriber.ready.wait(20)
        network.mend()
    return samples, cuts


def figures(
    plan: Plan,
    samples: Samples,
    heard: list[dict[str, Any]],
    cuts: int,
    summary: dict[str, Any],
    folder: Path,
) -> dict[str, Any]:
    """What to judge the run by."""
    box = Outbox(folder / "state" / "outbox.sqlite3", device="d", topic="t", clock=SystemClock())
    with box as outbox:
        published, left = outbox.last_seq, outbox.depth.rows
    unique = without_repeats(heard)
    numbers = [event["seq"] for event in unique]
    late = samples.after(plan.warm_up_s)
    megabytes = [value / 2**20 for value in late.memory]
    return {
        "seconds": plan.seconds,
        "cameras": CAMERAS,
        "speed": plan.speed,
        "frames": summary["frames"],
        "frames_per_second_and_camera": round(summary["frames"] / CAMERAS / plan.seconds, 2),
        "broker_losses": cuts,
        "messages_published": published,
        "messages_received": len(unique),
        "messages_repeated": len(heard) - len(unique),
        "messages_lost": len(set(range(1, published + 1)) - set(numbers)),
        "messages_out_of_order": sum(b < a for a, b in pairwise(numbers)),
        "outbox_left": left,
        "capture_processes": late.children[-1],
        "memory_mb": [round(megabytes[0], 1), round(megabytes[-1], 1), round(max(megabytes), 1)],
        "memory_mb_medians_of_tenths": [
            round(float(np.median(part)), 1) for part in np.array_split(megabytes, 10)
        ],
        "memory_slope_mb_per_hour": round(slope_mb_per_hour(late.at_s, late.memory), 2),
        "memory_slope_with_captures_mb_per_hour": round(
            slope_mb_per_hour(late.at_s, late.memory_with_children), 2
        ),
        "thread_growth": growth(late.threads),
        "descriptor_growth": growth(late.descriptors),
        "threads": max(late.threads),
        "descriptors": max(late.descriptors),
    }


def shortcomings(found: dict[str, Any], *, slope: bool = True) -> list[str]:
    """What is not good enough; `slope`: memory too is judged, for which the run must be long."""
    wanted_zero = [
        "messages_lost",
        "messages_out_of_order",
        "outbox_left",
        "thread_growth",
        "descriptor_growth",
    ]
    bad = [name for name in wanted_zero if found[name] > 0]
    if found["messages_published"] < 2 * found["cameras"]:
        bad.append("messages_published")
    if slope and found["memory_slope_mb_per_hour"] >= SLOPE_MB_PER_HOUR:
        bad.append("memory_slope_mb_per_hour")
    return bad


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--warm-up", type=float, metavar="MINUTES", default=None)
    seconds = 60.0 * (given := parser.parse_args()).minutes
    warm_up = seconds / 5 if given.warm_up is None else 60.0 * given.warm_up
    with tempfile.TemporaryDirectory(prefix="vigil-soak-") as folder:
        found = soak(Path(folder), Plan(seconds, warm_up))
    bad = shortcomings(found, slope=seconds - warm_up >= JUDGED_FROM_S)
    print(json.dumps({**found, "not_good_enough": bad}, indent=1))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
