"""Detectors of whole clips from a folder of pictures to INT8 and a built engine, as a user goes."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import jsonschema
import numpy as np
import onnx
import pytest
import yaml
from click.testing import CliRunner
from support.broker import Subscriber, running_broker, wait_until
from support.clips import MemoryClip

from calibration.parity import LIMITS
from edge.cli.main import vigil
from edge.events.event import load_schema
from edge.pipeline import Pipeline
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import Bundle, load_bundle, replace_alarm
from trainer.datasets.layouts import open_dataset
from trainer.evaluation.clip_progress import SilentProgress
from trainer.evaluation.paper_protocol import paper_protocol_auc
from trainer.evaluation.published_mnad import published_mnad
from trainer.preset import load_preset
from trainer.run_directory import PRESET_NAME

REPOSITORY = Path(__file__).parents[2]
SIDE, CELLS = 64, (5, 8)
DETECTORS: dict[str, dict[str, Any]] = {
    "mnad": {
        "options": {"frames": 5, "grey": True},
        "section": {"mnad": {"widths": [4, 6, 8, 10], "items": 3, "train": {"epochs": 2}}},
    },
    "top_heavy": {
        "options": {"frames": 8, "grey": True},
        "section": {"top_heavy": {"widths": [6, 6, 6, 6], "train": {"epochs": 2}}},
    },
}
FRAMES = {"mnad": 5, "top_heavy": 3}
"""What the device keeps."""


def write(folder: Path, clip: MemoryClip) -> None:
    folder.mkdir(parents=True)
    for frame in clip.frames:
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.bgr)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares that walk; in the test clip they run from frame 20 on."""
    root = tmp_path_factory.mktemp("street")
    for number in range(5):
        write(root / "normal" / f"clip{number}", MemoryClip(length=36, seed=number))
    slow, fast = MemoryClip(length=40, seed=8), MemoryClip(length=40, seed=8, speed=11)
    slow.frames[20:] = fast.frames[20:]
    write(root / "test" / "street", slow)
    (root / "labels.csv").write_text("clip,first,last\nstreet,20,39\n")
    return root


def recipe(encoder: str, folder: Path) -> Path:
    path = folder / f"{encoder}.yaml"
    detector = DETECTORS[encoder]
    stream = {
        "name": "clip",
        "kind": "clip",
        "encoder": encoder,
        "patch": SIDE,
        "train_stride": 20,
        "test_stride": 20,
        "options": detector["options"],
        "statistics": "picture",
        "weight": 1.0,
    }
    training: dict[str, Any] = {
        "patches": 60,
        "held_out_patches": 20,
        "batch": 4,
        "learning_rate": 3e-3,
    }
    content: dict[str, Any] = {
        "detector": encoder.replace("_", "-"),
        "frame": {"width": 168, "height": 112},
        "streams": [stream],
        "training": {**training, "weight_decay": 0.0, "schedule": "cosine"},
        **detector["section"],
    }
    path.write_text(yaml.safe_dump(content))
    return path


def call(*arguments: object) -> str:
    result = CliRunner().invoke(vigil, [str(a) for a in arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module", params=["mnad", "top_heavy"])
def run(
    request: pytest.FixtureRequest, dataset: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp(request.param)
    call(
        *("train", "--dataset", dataset, "--out", out / "run", "--threads", 1),
        *("--preset", recipe(request.param, out), "--device", "cpu"),
    )
    return request.param, out / "run"


@pytest.fixture
def bundle(run: tuple[str, Path]) -> Bundle:
    return load_bundle(run[1] / "bundle")


def test_the_bundle_says_what_the_stream_is(run: tuple[str, Path], bundle: Bundle) -> None:
    (stream,) = bundle.model.streams
    assert stream.input.kind == "clip"
    assert stream.input.options["frames"] == FRAMES[run[0]]
    assert stream.head.kind == "map"
    assert stream.network is not None
    assert stream.network.map is not None
    assert (stream.network.map.rows, stream.network.map.columns) == (SIDE // 8, SIDE // 8)
    assert (bundle.model.map.rows, bundle.model.map.columns) == CELLS
    assert run[0] not in stream.model_dump_json()


def test_history_has_the_parts_of_the_loss(run: tuple[str, Path]) -> None:
    lines = (run[1] / "streams" / "clip" / "history.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["stage"] for record in records] == ["train", "train"]
    parts = ("pixel", "memory") if run[0] == "mnad" else ("spatial", "temporal")
    for record in records:
        total = sum(record[f"train_{part}"] for part in parts)
        assert record["train_loss"] == pytest.approx(total, rel=1e-6)
        assert record["held_out"]["loss"] > 0
    assert records[1]["held_out"]["loss"] < records[0]["held_out"]["loss"]


def test_every_frame_is_scored_and_nothing_newer_is_waited_for(
    bundle: Bundle, dataset: Path
) -> None:
    clip = open_dataset(dataset).test[0]
    with Pipeline(bundle, threads=1) as pipeline:
        view = pipeline.new_view()
        with clip.open() as source:
            frames = list(source)
        scores = [pipeline.score(view, frame) for frame in frames]
        view.reset()
        again = [pipeline.score(view, frame) for frame in frames[:25]]
    assert [score.frame_index for score in scores] == list(range(40))
    assert [score.score for score in scores[:25]] == [score.score for score in again]
    assert scores[10].map.shape == CELLS
    assert np.isfinite([score.score for score in scores]).all()
    assert max(score.score for score in scores) > 0


def test_evaluate_and_bench_take_the_bundle(
    run: tuple[str, Path], dataset: Path, tmp_path: Path
) -> None:
    root = run[1] / "bundle"
    figures = tmp_path / "figures.json"
    call(
        *("evaluate", root, "--dataset", dataset, "--json", figures),
        *("--threads", 1, "--no-baseline"),
    )
    found = json.loads(figures.read_text())
    assert found["frame_auc"] is not None
    assert found["frames"] == 40
    call("bench", root, "--source", dataset / "test" / "street", "--threads", 1)


@pytest.mark.broker
def test_it_runs_and_its_events_reach_the_broker(
    run: tuple[str, Path], dataset: Path, tmp_path: Path
) -> None:
    shutil.copytree(run[1] / "bundle", tmp_path / "bundle")
    bundle = load_bundle(tmp_path / "bundle")
    assert bundle.alarm is not None
    # Two epochs on a minute of squares prove no threshold: what runs and is above nothing counts.
    replace_alarm(bundle, bundle.alarm.model_copy(update={"threshold": 1.0}))
    with running_broker(tmp_path) as broker, Subscriber(broker.port) as subscriber:
        call(
            *("run", "--bundle", tmp_path / "bundle", "--source", dataset / "test" / "street"),
            *("--mqtt", broker.url, "--state", tmp_path / "state", "--threads", 1),
        )
        wait_until(lambda: subscriber.last("vigil/vigil/status") == "offline")
        events = subscriber.events()
    assert [event["phase"] for event in events[:1]] == ["start"]
    assert events[-1]["phase"] == "end"
    for event in events:
        jsonschema.validate(event, load_schema())
        assert event["why"]


def test_int8_passes_the_gate_and_all_precisions_build(
    run: tuple[str, Path], dataset: Path
) -> None:
    root = run[1] / "bundle"
    call(
        *("calibrate", root, "--int8", "--footage", dataset / "normal"),
        *("--patches", 110, "--threads", 1),
    )
    bundle = load_bundle(root)
    network = bundle.model.streams[0].network
    assert network is not None
    assert set(network.files) == {"fp32", "fp16", "int8"}
    files = [bundle.path(file) for file in network.files.values()]
    for file in files:
        kinds = {node.op_type for node in onnx.load(file).graph.node}
        assert not {"ScatterND", "GatherND", "Loop", "If", "NonZero", "TopK"} & kinds, kinds
        for node in onnx.load(file).graph.node:
            sizes = [a.ints for a in node.attribute if a.name == "kernel_shape"]
            assert all(len(size) == 2 for size in sizes), node.name
    golden = bundle.arrays(bundle.model.streams[0].parity or "")
    patches = golden["patches"].astype(np.float32)
    for precision in ("fp32", "fp16"):
        backend = OnnxRuntimeCpu(input_name="patches", output_name="latent", threads=1)
        backend.load(bundle.path(network.files[precision]))
        answer, expected = backend.infer(patches), golden["latents"].astype(np.float32)
        backend.close()
        product = (answer * expected).reshape(len(answer), -1).sum(1)
        lengths = [np.linalg.norm(x.reshape(len(x), -1), axis=1) for x in (answer, expected)]
        assert (product / (lengths[0] * lengths[1])).min() >= LIMITS[precision].cosine
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx (extra dev) is not installed")
    child = subprocess.run(
        [sys.executable, REPOSITORY / "tests" / "support" / "rtx_gate.py", *map(str, files)],
        check=False,
        capture_output=True,
        text=True,
        timeout=240,
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )
    assert child.returncode == 0, child.stderr[-2000:]
    built = json.loads(child.stdout.splitlines()[-1])
    assert {name: found["error"] for name, found in built.items() if "error" in found} == {}
    assert {name: found["warnings"] for name, found in built.items() if found["warnings"]} == {}


def test_the_papers_protocol_of_mnad_reads_a_run(run: tuple[str, Path], dataset: Path) -> None:
    clips, preset = open_dataset(dataset), load_preset(str(run[1] / PRESET_NAME))
    by_paper = paper_protocol_auc(run[1], preset, clips, SilentProgress())
    if run[0] != "mnad":
        assert by_paper is None
        return
    found = published_mnad(run[1], clips)
    assert by_paper == found.auc
    assert (found.frames, found.left_out) == (36, 4)
    assert 0.0 <= found.auc <= 1.0
    assert found.updated is not None
    assert published_mnad(run[1], clips, update=False).updated is None
