"""`vigil calibrate --int8`: networks and records in the bundle, all else as before."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.clips import MemoryClip
from support.quantisable_bundle import quantisable_bundle

from calibration.parity import LIMITS
from edge.cli.main import _run
from edge.pipeline import Pipeline
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import Bundle, load_bundle
from engines.manifest import SIGNATURE_NAME
from engines.qdq_check import build_problems
from trainer.cli.calibrate import calibrate
from trainer.datasets.layouts import open_normal
from trainer.evaluation.clip_progress import SilentProgress
from trainer.quantise_bundle import sample_patches


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return quantisable_bundle(tmp_path / "bundle", workspace=tmp_path)


@pytest.fixture(scope="module")
def normal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of moving squares, as folders of pictures."""
    root = tmp_path_factory.mktemp("normal")
    for seed, name in enumerate(("north", "south"), start=5):
        (root / name).mkdir()
        for frame in MemoryClip(name=name, length=40, seed=seed).frames:
            cv2.imwrite(str(root / name / f"{frame.index:03d}.png"), frame.bgr)
    return root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(calibrate, [str(a) for a in arguments], catch_exceptions=False)


def contents(bundle: Bundle) -> dict[str, bytes]:
    return {
        str(p.relative_to(bundle.root)): p.read_bytes()
        for p in bundle.root.rglob("*")
        if p.is_file()
    }


def test_the_bundle_gains_int8_networks_and_their_records(bundle: Bundle, normal: Path) -> None:
    before = contents(bundle)
    result = call("--int8", bundle.root, "--footage", normal, "--patches", 200, "--threads", 1)
    assert result.exit_code == 0
    after = contents(bundle)
    new = {
        f"{folder}/{stream}.int8.{ending}"
        for stream in ("appearance", "motion")
        for folder, ending in (("networks", "onnx"), ("records", "json"))
    }
    assert set(after) - set(before) == new
    changed = {name for name, data in before.items() if after[name] != data}
    assert changed == {"manifest.json", "model.json"}
    loaded = load_bundle(bundle.root)
    roles = {entry.path: entry.role for entry in loaded.manifest.files}
    assert {roles[name] for name in new} == {"network", "record"}
    assert loaded.alarm == bundle.alarm
    for stream in loaded.model.streams:
        assert stream.network is not None
        assert set(stream.network.files) == {"fp32", "fp16", "int8"}
        file = loaded.path(stream.network.files["int8"])
        assert build_problems(file.read_bytes()) == ()
        record = json.loads(after[f"records/{stream.name}.int8.json"])
        assert record["clips"] == ["north", "south"]
        assert record["range_patches"] == 100
        assert record["parity"]["rank"] >= LIMITS["int8"].rank
        golden = loaded.arrays(stream.parity)
        backend = OnnxRuntimeCpu(input_name="patches", output_name="latent", precision="int8")
        backend.load(file)
        found = backend.infer(golden["patches"].astype(np.float32))
        assert 0.0 < np.abs(found - golden["latents"]).max() < 0.3
    with Pipeline(loaded, threads=1) as pipeline:  # FP32 still runs on the CPU
        assert set(pipeline.backends.values()) == {"onnxruntime-cpu/fp32"}
    assert "rank correlation" in result.stdout
    assert "int8 0.0" in result.stdout
    assert "[2/2] south: 40 frames" in result.stderr


def test_the_same_call_gives_the_same_bytes(bundle: Bundle, normal: Path) -> None:
    def networks() -> dict[str, bytes]:
        call("--int8", bundle.root, "--normal", normal, "--patches", 120, "--threads", 1)
        return {name: data for name, data in contents(bundle).items() if "int8" in name}

    assert networks() == networks()


def test_a_dry_run_and_json(bundle: Bundle, normal: Path) -> None:
    before = contents(bundle)
    result = call(
        "--int8", bundle.root, "--footage", normal, "--patches", 120, "--dry-run", "--json"
    )
    values = json.loads(result.stdout)
    assert values["written"] is False
    assert set(values["streams"]) == {"appearance", "motion"}
    sizes = values["streams"]["appearance"]["bytes"]
    assert sizes["int8"] < 0.55 * sizes["fp16"] < 0.3 * sizes["fp32"]
    assert contents(bundle) == before


@pytest.mark.parametrize("more", [[], ["--int8", "--false-alarms-per-day", "1"]])
def test_one_of_the_two_is_wanted(bundle: Bundle, normal: Path, more: list[str]) -> None:
    arguments = [str(bundle.root), "--normal", str(normal), *more]
    assert _run(["calibrate", *arguments]) == 64


def test_footage_without_movement_is_refused_and_the_bundle_kept(
    bundle: Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "still").mkdir()
    for number in range(6):
        cv2.imwrite(str(tmp_path / "still" / f"{number}.png"), np.full((112, 168, 3), 90, np.uint8))
    before = contents(bundle)
    assert (
        _run(["calibrate", "--int8", str(bundle.root), "--footage", str(tmp_path / "still")]) == 65
    )
    assert "at least 100 patches" in capsys.readouterr().err
    assert contents(bundle) == before


def test_every_clip_gives_its_share_of_the_sample(bundle: Bundle, normal: Path) -> None:
    model = bundle.model
    found = sample_patches(
        open_normal(normal),
        {stream.name: stream.input for stream in model.streams},
        frame=model.frame,
        gate=model.gate,
        budget=80,
        seed=3,
        progress=SilentProgress(),
    )
    for patches in found.values():
        assert patches.shape == (80, 3, 28, 28)
        assert patches.dtype == np.float32
        assert 0.0 <= patches.min() < patches.max() <= 1.0


def test_that_a_signature_is_gone_is_said(bundle: Bundle, normal: Path) -> None:
    (bundle.root / SIGNATURE_NAME).write_bytes(b"of the bundle as it was")
    arguments = ("--int8", bundle.root, "--footage", normal, "--patches", 200, "--threads", 1)
    assert "signature" not in call(*arguments, "--dry-run").stderr
    assert (bundle.root / SIGNATURE_NAME).is_file()
    assert "sign it again with vigil bundle sign" in call(*arguments).stderr
    assert not (bundle.root / SIGNATURE_NAME).exists()
