#!/usr/bin/env python3
"""Takes a picture of the page: the real daemon over rendered scenes, seen by a headless Chromium.

Nothing is staged: scenes are rendered, a bundle that knows only usual speeds is fitted to their
normal part, three recordings and a camera that is not there are watched at their own speed, and
what the page shows after some minutes is saved. Needs the extras `train`, `page` and `dev`, and
Chromium.

    python scripts/page_picture.py docs/figures/page.png
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import threading
import time
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from calibration.alarm_rule import AlarmRule
from edge.clock import SystemClock
from edge.config import config_from_text
from edge.launch import open_daemon
from edge.log import configure_logging
from edge.pipeline import Pipeline
from engines.bundle import replace_alarm
from engines.model_spec import FrameSpec
from trainer.datasets import open_dataset
from trainer.evaluation.speed_baseline import build_speed_bundle
from trainer.recalibrate import recalibrate
from trainer.scenes import render_scene, scene_for

SIZE = (420, 280)
FPS = 10.0
MAX_BYTES = 300_000
CAMERAS = {"yard": "cyclist", "gate": "running", "walkway": "cart"}
LONGEST_WAIT_S = 60.0
WELL_INTO_IT_S = 6.0
_ABOVE = """() => [...document.querySelectorAll(".camera")].some((one) =>
  parseFloat(one.querySelector(".now").textContent)
    > 1.3 * parseFloat(one.querySelector(".threshold").textContent.split(" ")[1])
  && !one.querySelector(".alarm").hidden)"""
_CONFIG = """\
schema_version: 1
device: gate-01
bundle: bundle
state: state
mqtt: {{url: "mqtt://127.0.0.1:9", flush: 0s}}
page: {{port: {port}}}
defaults: {{realtime: true, clip: {{}}}}
cameras:
  yard: {{source: yard.avi}}
  gate: {{source: gate.avi}}
  walkway: {{source: walkway.avi}}
  roof: {{source: "http://127.0.0.1:9/roof.mjpg"}}
"""


def render(folder: Path, seconds: float) -> None:
    """Write the recordings and the bundle."""
    normal = []
    for seed, (camera, kind) in enumerate(CAMERAS.items()):
        root = folder / f"scene-{camera}"
        scene = scene_for(kind, normal_seconds=60.0, test_seconds=seconds, seed=seed)
        render_scene(scene, root)
        normal += list(open_dataset(root).train)
        (clip,) = (root / "test").glob("*.avi")
        shutil.copy(clip, folder / f"{camera}.avi")
    frame = FrameSpec(width=SIZE[0], height=SIZE[1], fps=FPS)
    bundle = build_speed_bundle(normal[::2], frame=frame, root=folder / "bundle")
    with Pipeline(bundle) as pipeline:
        rule = AlarmRule(threshold=0.0)
        alarm = recalibrate(
            pipeline, normal[1::2], rule=rule, false_alarms_per_day=24.0, confidence=0.95
        )
    replace_alarm(bundle, alarm)


def take(browser: Browser, url: str, target: Path, scheme: str, seconds: float) -> None:
    """Open the page, let it fill, save a picture of the next moment above the threshold."""
    context = browser.new_context(
        viewport={"width": 1440, "height": 900},
        color_scheme=scheme,  # type: ignore[arg-type]
        timezone_id="UTC",
    )
    page = context.new_page()
    _open(page, url)
    time.sleep(seconds)
    page.wait_for_function(_ABOVE, timeout=1000.0 * LONGEST_WAIT_S)
    time.sleep(WELL_INTO_IT_S)
    page.screenshot(path=target)
    _shrink(target)
    page.close()
    context.close()


def _open(page: Page, url: str) -> None:
    for _ in range(120):
        try:
            page.goto(url)
        except Exception:  # noqa: BLE001  # Playwright's own; the page's process is starting
            time.sleep(0.5)
        else:
            return
    page.goto(url)


def _shrink(target: Path) -> None:
    """As few colours as it takes."""
    whole = Image.open(target).convert("RGB")
    for colours in (256, 128, 64, 32):
        whole.quantize(colours, dither=Image.Dither.NONE).save(target, optimize=True)
        if target.stat().st_size <= MAX_BYTES:
            return


def main() -> None:
    """Render, watch, save."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("target", type=Path)
    parser.add_argument("--seconds", type=float, default=80.0, help="how long to watch")
    parser.add_argument("--scheme", choices=("dark", "light"), default="dark")
    parser.add_argument("--port", type=int, default=8642)
    given = parser.parse_args()
    configure_logging()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with tempfile.TemporaryDirectory(prefix="vigil-page-") as name:
        folder = Path(name)
        render(folder, given.seconds + LONGEST_WAIT_S)
        text = _CONFIG.format(port=given.port)
        config = config_from_text(text, file="page.yaml", folder=folder)
        with open_daemon(config, clock=SystemClock()) as daemon, sync_playwright() as driver:
            thread = threading.Thread(target=daemon.run)
            thread.start()
            browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
            try:
                url = f"http://127.0.0.1:{given.port}/"
                take(browser, url, given.target, given.scheme, given.seconds)
            finally:
                browser.close()
                daemon.request_stop()
                daemon.request_stop()
                thread.join(30)


if __name__ == "__main__":
    main()
