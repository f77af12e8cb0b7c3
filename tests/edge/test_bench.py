"""`vigil bench` measures what it says; no test here asserts a speed."""

import json
import math
from pathlib import Path

import cv2
import numpy as np
import pytest
from click.testing import CliRunner
from support.bundles import tiny_bundle
from support.clips import MemoryClip

from edge.bench import bench
from edge.bench_growth import growth
from edge.cli.bench import bench_command
from edge.compute import HOST
from engines.bundle import Bundle
from engines.errors import DataError, UsageError
from engines.model_spec import HeadSpec, InputSpec, StreamSpec


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    workspace = tmp_path_factory.mktemp("bench")
    return tiny_bundle(workspace / "bundle", workspace=workspace)


def folder(root: Path, length: int) -> Path:
    root.mkdir()
    for frame in MemoryClip(length=length).frames:
        cv2.imwrite(str(root / f"{frame.index:03d}.png"), frame.bgr)
    return root


def test_the_parts_add_up(bundle: Bundle, tmp_path: Path) -> None:
    report = bench(bundle, str(folder(tmp_path / "clip", 25)), threads=1)
    assert report.frames == 25
    assert math.isclose(report.ratio, report.ms_per_frame / report.farneback_ms)
    ahead = {"decode", "observe"}
    assert ahead <= set(report.stages_ms)
    reading = sum(report.stages_ms[name] for name in ahead)
    scoring = sum(ms for name, ms in report.stages_ms.items() if name not in ahead)
    # Two threads side by side: each has its part within the whole.
    assert 0.0 < reading <= report.ms_per_frame
    assert 0.0 < scoring <= report.ms_per_frame
    assert report.cpu_ratio > 0.0
    assert report.peak_rss_mb > 20
    assert report.backend == "onnxruntime-cpu"


def test_cameras_share_the_time(bundle: Bundle, tmp_path: Path) -> None:
    report = bench(bundle, str(folder(tmp_path / "clip", 6)), cameras=3, frames=5, threads=1)
    assert report.cameras == 3
    assert report.frames == 15
    assert {"decode", "observe", "score"} <= set(report.stages_ms)


def test_growth_counts_cells_and_tells_all_rows(bundle: Bundle, tmp_path: Path) -> None:
    source = str(folder(tmp_path / "clip", 8))
    result = CliRunner().invoke(
        bench_command, [str(bundle.root), "--source", source, "--frames", "8", "--growth"]
    )
    assert result.exit_code == 0, result.output
    rows = [line.split("|")[1:-1] for line in result.stdout.splitlines()[2:]]
    kinds = [row[0].strip().split()[0] for row in rows]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "size": 4, "stride": 4, "window": 4, "mixture": 5,
    }  # fmt: skip
    cells = [float(row[2]) for row in rows if row[0].strip() == "stride"]
    assert cells == sorted(cells)
    assert cells[-1] > cells[0]
    assert all(float(row[3]) > 0.0 for row in rows)


def test_a_table_of_places_is_left_out_where_the_picture_has_another_size(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is for the grid that it was learned on; a larger picture has cells that it lacks."""
    spec = StreamSpec(
        name="direction",
        input=InputSpec(kind="direction"),
        head=HeadSpec(kind="place"),
        statistics="statistics/direction.npz",
        weight=1.0,
    )
    table = HOST.runner(spec, None, {"log_density": np.zeros((14, 21, 12))})
    monkeypatch.setattr("edge.bench_growth.open_parts", lambda *_, **__: (HOST, (table,)))
    rows = growth(bundle, str(folder(tmp_path / "clip", 12)), frames=12)
    assert {row.changed.split()[0] for row in rows} == {"stride", "window", "mixture"}


def test_no_picture_is_made_too_small_for_optical_flow(
    bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.bench_growth.SIZES", (0.25, 0.5))
    rows = growth(bundle, str(folder(tmp_path / "clip", 8)), frames=8)
    assert [row.value for row in rows if row.changed == "size"] == ["84 x 56"]


@pytest.mark.parametrize("other", [["--compute", "cuda"], ["--gpu-report", "report.json"]])
def test_growth_is_not_measured_on_a_gpu(bundle: Bundle, other: list[str]) -> None:
    arguments = [str(bundle.root), "--source", "clip", "--growth", *other]
    error = CliRunner().invoke(bench_command, arguments).exception
    assert isinstance(error, UsageError)
    assert "--growth measures on the CPU" in error.what


def test_json_has_the_documented_keys_and_stops_where_asked(bundle: Bundle, tmp_path: Path) -> None:
    source = str(folder(tmp_path / "clip", 9))
    result = CliRunner().invoke(
        bench_command, [str(bundle.root), "--source", source, "--frames", "5", "--json"]
    )
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["frames"] == 5
    assert set(report) >= {
        "ms_per_frame", "farneback_ms", "ratio", "peak_rss_mb", "stages_ms", "backend",
        "precision", "frames", "cameras", "cpu_ms_per_frame", "cpu_ratio", "start_s",
        "compute", "places",
    }  # fmt: skip


def test_one_frame_is_not_enough(bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 2 frames"):
        bench(bundle, str(folder(tmp_path / "clip", 1)))
