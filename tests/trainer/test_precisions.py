"""`vigil precisions`: every precision of a bundle over the same clips, compared with FP32."""

from __future__ import annotations

import json
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from support.bundles import tiny_bundle
from support.clips import MemoryClip, write_pictures, write_rush
from support.quantisable_bundle import quantisable_bundle

from calibration.parity import LIMITS, ParityLimits, rank_correlation
from edge.pipeline import Pipeline
from engines.bundle import Bundle, load_bundle
from engines.errors import DataError, UsageError
from trainer.cli.calibrate import calibrate
from trainer.cli.precisions import precisions
from trainer.datasets.layouts import open_dataset
from trainer.evaluation.clip_progress import ClipProgress
from trainer.evaluation.precisions import compare_precisions


@pytest.fixture(scope="module")
def yard(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("yard")
    for seed in (1, 2):
        write_pictures(root / "normal" / f"n{seed}", MemoryClip(length=40, seed=seed, speed=2))
    clip = MemoryClip(length=30, seed=3, speed=2)
    write_rush(root, "t3", clip, frames=range(12, 22), step=12)
    return root


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    folder = tmp_path_factory.mktemp("bundle")
    made = quantisable_bundle(folder / "bundle", workspace=folder)
    for seed in (5, 6):
        write_pictures(folder / "normal" / f"n{seed}", MemoryClip(length=40, seed=seed))
    arguments = ["--int8", str(made.root), "--normal", str(folder / "normal"), "--patches", "200"]
    result = CliRunner().invoke(calibrate, [*arguments, "--threads", "1"], catch_exceptions=False)
    assert result.exit_code == 0
    return load_bundle(made.root)


def energies(bundle: Bundle, yard: Path, backend: str) -> dict[str, np.ndarray]:
    """By stream, of all active cells of the test clip: a second way to the same numbers."""
    found: dict[str, list[np.ndarray]] = {}
    with Pipeline(bundle, backend=backend, threads=1) as pipeline:
        view = pipeline.new_view()
        with open_dataset(yard).require_test()[0].open() as source:
            for frame in source:
                for name, stream in pipeline.score(view, frame).streams.items():
                    energy = stream.energy
                    found.setdefault(name, []).append(energy.energy[energy.active])
    return {name: np.concatenate(parts) for name, parts in found.items()}


def test_every_precision_is_compared_with_fp32(bundle: Bundle, yard: Path, tmp_path: Path) -> None:
    out = tmp_path / "figures.json"
    arguments = [str(bundle.root), "--dataset", str(yard), "--json", str(out), "--threads", "1"]
    result = CliRunner().invoke(precisions, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    rows = {row["precision"]: row for row in json.loads(out.read_text())["rows"]}
    assert list(rows) == ["fp32", "fp16", "int8"]
    assert rows["fp32"]["rank"] is None
    for precision, row in rows.items():
        assert {name.rpartition("/")[2] for name in row["backends"].values()} == {precision}
        assert 0.0 <= row["frame_auc"] <= 1.0
        assert f"{100 * row['frame_auc']:.2f}" in result.stdout
    reference = energies(bundle, yard, "auto/fp32")
    for precision in ("fp16", "int8"):
        again = energies(bundle, yard, f"auto/{precision}")
        for name, rank in rows[precision]["rank"].items():
            assert rank == pytest.approx(rank_correlation(again[name], reference[name]), abs=1e-6)
            assert 0.9 < rank < 1.0


def test_to_standard_output_the_json_is_alone(bundle: Bundle, yard: Path) -> None:
    arguments = [str(bundle.root), "--dataset", str(yard), "--json", "-", "--threads", "1"]
    result = CliRunner().invoke(precisions, arguments, catch_exceptions=False)
    assert json.loads(result.stdout)["bundle"] == bundle.model.name
    assert "frame AUC" in result.stderr


def test_a_precision_that_is_not_there_is_named(tmp_path: Path, yard: Path) -> None:
    plain = tiny_bundle(tmp_path / "plain", workspace=tmp_path)
    with pytest.raises(DataError, match="and no int8") as error:
        Pipeline(plain, backend="auto/int8")
    assert error.value.mend == "make it with vigil calibrate --int8"
    with pytest.raises(UsageError, match="there is no precision 'int4'"):
        Pipeline(plain, backend="onnxruntime-cpu/int4")
    with pytest.raises(UsageError, match="there is no backend 'tensorflow'"):
        Pipeline(plain, backend="tensorflow/int8")
    held = {p for s in plain.model.streams if s.network for p in s.network.files}
    rows = compare_precisions(plain, open_dataset(yard), threads=1)
    assert {row.precision for row in rows} == held


def test_a_network_that_its_gate_refuses_is_told_before_anything_is_scored(
    bundle: Bundle, yard: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def scores() -> AbstractContextManager[ClipProgress]:
        raise AssertionError("clips are scored")

    monkeypatch.setitem(LIMITS, "int8", ParityLimits(cosine=2.0, rank=2.0))
    with pytest.raises(DataError, match="outputs differ from the expected ones"):
        compare_precisions(bundle, open_dataset(yard), threads=1, progress=scores)
