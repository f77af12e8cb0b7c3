"""The demonstration: from nothing to events at a real broker, with the commands a user would type.

Every step is one `vigil` command in a process of its own, shown before it runs, on a rendered scene
whose truth is known.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge.publish.address import BrokerAddress, find_login
from edge.watch import Watcher
from engines.errors import InternalError
from trainer.datasets.clip import Clip
from trainer.datasets.layouts import open_dataset
from trainer.demo_tally import Interval, Tally, received_intervals, tally
from trainer.evaluation.metrics_event import truth_events
from trainer.loopback_broker import loopback_broker
from trainer.scenes.render import render_scene
from trainer.scenes.settings import SceneSettings

DEVICE = "demo"
# How long after the last run the broker may take to hand over the last message.
_LAST_MESSAGE_S = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True)
class DemoResult:
    """What the demonstration measured.

    Attributes:
        tally: Events received from the broker against the truth.
        frame_auc: Of the evaluation, as a fraction.
        frames_per_second: Of `vigil run`, from file to published event.
        report: The HTML report.
        bundle: The bundle.
    """

    tally: Tally
    frame_auc: float
    frames_per_second: float
    report: Path
    bundle: Path


def run_demo(out: Path, *, scene: SceneSettings, preset: str, say: Say) -> DemoResult:
    """Render, train, watch, evaluate.

    Args:
        out: Folder for everything that is made.
        scene: What is rendered.
        preset: Recipe of the training.
        say: Told what happens, in lines.

    Raises:
        VigilError: A step fails; it has said why.
    """
    footage, run, bundle = out / "scene", out / "run", out / "run" / "bundle"
    say(f"rendering a street: {scene.normal_seconds:g} s of normal life to learn from, then a test")
    render_scene(scene, footage)
    # Networks this small lose more by waiting for a second thread than they gain, much more on a
    # machine that has other things to do.
    _vigil(
        say, "train", "--dataset", footage, "--out", run, "--preset", preset, "--threads", 1,
    )  # fmt: skip
    clips = open_dataset(footage).require_test()
    with loopback_broker(out / "broker") as (url, program):
        say(f"broker: {program} at {url}")
        listener = _Listener(url, say)
        summaries = [_watch_clip(say, bundle, clip, url, out) for clip in clips]
        messages = listener.finish(sum(summary["delivered"] for summary in summaries))
    report, figures = out / "report.html", out / "report.json"
    _vigil(
        say, "evaluate", bundle, "--dataset", footage, "--json", figures, "--html", report,
        quiet=True,
    )  # fmt: skip
    frames = sum(summary["frames"] for summary in summaries)
    seconds = sum(summary["seconds"] for summary in summaries)
    return DemoResult(
        tally=tally({clip.name: _truth(clip) for clip in clips}, received_intervals(messages)),
        frame_auc=float(json.loads(figures.read_text())["frame_auc"]),
        frames_per_second=frames / seconds,
        report=report,
        bundle=bundle,
    )


def _watch_clip(say: Say, bundle: Path, clip: Clip, url: str, out: Path) -> dict[str, Any]:
    """`vigil run` on one clip of the unseen part; its summary."""
    text = _vigil(
        say, "run", "--bundle", bundle, "--source", clip.path, "--mqtt", url, "--device", DEVICE,
        "--camera", clip.name, "--state", out / "state", "--max-speed", "--json", quiet=True,
    )  # fmt: skip
    summary: dict[str, Any] = json.loads(text)
    return summary


def _truth(clip: Clip) -> list[Interval]:
    """From-to in seconds of the clip's anomalous events."""
    with clip.open() as source:
        times = np.array([frame.time_s for frame in source], np.float64)
    labels = clip.frame_labels(len(times))
    if labels is None:
        return []
    return [(event.start_s, event.end_s) for event in truth_events(times[: len(labels)], labels)]


def _vigil(say: Say, *arguments: object, quiet: bool = False) -> str:
    """Run one command, shown first; returns its standard output.

    Raises:
        InternalError: It failed; its own words stand above or in the message.
    """
    words = [str(argument) for argument in arguments]
    say(f"$ vigil {shlex.join(words)}")
    done = subprocess.run(
        [sys.executable, "-m", "edge.cli.main", *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if quiet else None,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InternalError(
            f"`vigil {words[0]}` ended with code {done.returncode}",
            where=(done.stderr or "see above").strip()[-2000:],
        )
    return done.stdout


class _Listener:
    """Subscribes before the first event, prints each as it arrives, keeps them all."""

    def __init__(self, url: str, say: Say) -> None:
        address = BrokerAddress.parse(url)
        self._watcher = Watcher(
            address=address, login=find_login(address), topic=f"vigil/{DEVICE}/event"
        )
        self._say = say
        self._messages: list[dict[str, Any]] = []
        self._ready = threading.Event()
        self._arrived = threading.Condition()
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()
        self._ready.wait(_LAST_MESSAGE_S)

    def finish(self, expected: int) -> list[dict[str, Any]]:
        """All messages, once `expected` have come or a little time has passed."""
        with self._arrived:
            self._arrived.wait_for(lambda: len(self._messages) >= expected, _LAST_MESSAGE_S)
            return list(self._messages)

    def _listen(self) -> None:
        for heard in self._watcher.listen():
            self._ready.set()
            if heard.payload is None:
                continue
            self._say(f"  event  {heard.line}")
            with self._arrived:
                self._messages.append(heard.payload)
                self._arrived.notify_all()
