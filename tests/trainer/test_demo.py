"""The demonstration from end to end, in the small: every command in a process of its own."""

from __future__ import annotations

import json
from pathlib import Path

import psutil
import pytest
import yaml

from trainer.demo import run_demo
from trainer.preset import PRESETS
from trainer.scenes import SceneSettings


@pytest.fixture
def hasty_preset(tmp_path: Path) -> Path:
    """The demo's own recipe with hardly any training."""
    recipe = yaml.safe_load((PRESETS / "demo.yaml").read_text())
    recipe["features"].update(frames=60, components=20)
    recipe["student"].update(frames=30, variations=200, epochs=1)
    recipe["trust"].update(seconds=2.0, step=0.25)
    path = tmp_path / "hasty.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return path


@pytest.mark.slow
def test_events_come_from_the_broker_and_the_report_has_pictures(
    tmp_path: Path, hasty_preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    scene = SceneSettings(
        seed=1, fps=6.0, normal_seconds=60.0, test_seconds=10.0, anomalies=("cyclist",)
    )
    said: list[str] = []
    out = tmp_path / "out"
    result = run_demo(out, scene=scene, preset=str(hasty_preset), say=said.append)

    commands = [line.split()[2] for line in said if line.startswith("$ vigil")]
    assert commands == ["train", "run", "evaluate"]
    assert any("mqtt://127.0.0.1:" in line for line in said if line.startswith("broker"))

    # Speed alone finds a cyclist among walkers, whatever the hasty networks make of him.
    assert (result.tally.found, result.tally.missed) == (1, 0)
    assert sum("START" in line for line in said) == sum("END" in line for line in said) >= 1
    assert result.frame_auc > 0.7
    assert result.frames_per_second > 1.0
    assert (result.bundle / "manifest.json").is_file()
    page = result.report.read_text()
    assert "data:image/" in page
    figures = json.loads((out / "report.json").read_text())
    assert figures["frame_auc"] == result.frame_auc
    assert figures["events_total"] == 1

    mine = psutil.Process().children(recursive=True)
    assert [process.name() for process in mine if process.is_running()] == []
