"""Every exported network builds: TensorRT-RTX parses and builds it on the CPU.

It stands in for TensorRT: the same parser and the same strong typing, other kernels. One child
process for all files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper
from support.small_networks import convolutional, patches

from calibration.activation_ranges import activation_ranges
from engines.bundle import load_bundle
from engines.half_precision import fp16_from_fp32
from engines.qdq_check import build_problems
from engines.qdq_network import plain_fp32, qdq_from_ranges, quantisable_layers

REPOSITORY = Path(__file__).resolve().parents[2]
REFERENCE = REPOSITORY / "engines" / "reference"
CONV_TYPE = {"fp32": "float", "fp16": "half", "int8": "int8"}
Outcomes = dict[str, dict[str, Any]]


def build_all(files: list[Path]) -> Outcomes:
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
    return dict(json.loads(child.stdout.splitlines()[-1]))


def exported(folder: Path) -> dict[str, tuple[str, Path]]:
    """Name to precision and file: all shipped networks, with the twins that are not shipped."""
    found: dict[str, tuple[str, Path]] = {}
    for root in sorted(path.parent for path in REFERENCE.glob("*/manifest.json")):
        bundle = load_bundle(root)
        for stream in bundle.model.streams:
            if stream.network is None:
                continue
            files = {p: bundle.path(f) for p, f in stream.network.files.items()}
            if "fp16" not in files:
                files["fp16"] = folder / f"{root.name}.{stream.name}.fp16.onnx"
                files["fp16"].write_bytes(fp16_from_fp32(files["fp32"].read_bytes()))
            if "int8" not in files:
                assert stream.parity is not None
                golden = bundle.arrays(stream.parity)["patches"].astype(np.float32)
                network = plain_fp32(files["fp32"].read_bytes())
                activations = sorted({x.activation for x in quantisable_layers(network)})
                made = activation_ranges(network, golden, activations, method="max", threads=1)
                files["int8"] = folder / f"{root.name}.{stream.name}.int8.onnx"
                files["int8"].write_bytes(qdq_from_ranges(network, made))
            for precision, file in files.items():
                found[f"{root.name}/{stream.name}/{precision}"] = (precision, file)
    return found


@pytest.fixture(scope="module")
def rtx() -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx (extra dev) is not installed")


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[str, Path]]:
    return exported(tmp_path_factory.mktemp("int8"))


@pytest.fixture(scope="module")
def outcomes(rtx: None, networks: dict[str, tuple[str, Path]]) -> Outcomes:
    files = [file for _, file in networks.values()]
    built = build_all(files)
    return {name: built[str(file)] for name, (_, file) in networks.items()}


def test_all_streams_and_precisions_are_there(networks: dict[str, tuple[str, Path]]) -> None:
    assert len(networks) >= 12
    assert {precision for precision, _ in networks.values()} == set(CONV_TYPE)


def test_every_exported_network_builds_without_a_warning(outcomes: Outcomes) -> None:
    rejected = {name: found for name, found in outcomes.items() if "error" in found}
    assert not rejected
    assert not {name: found["warnings"] for name, found in outcomes.items() if found["warnings"]}
    assert {tuple(found["header"][1][:2]) for found in outcomes.values()} == {(1, 7)}


def test_every_convolution_runs_in_the_precision_of_its_file(
    outcomes: Outcomes, networks: dict[str, tuple[str, Path]]
) -> None:
    for name, (precision, file) in networks.items():
        types = outcomes[name]["types"]
        model = onnx.load(file)
        convolutions = [n.name for n in model.graph.node if n.op_type == "Conv"]
        missing = set(convolutions) - set(types)
        # A last 1 x 1 convolution before a mean may be done behind it, as a matrix product.
        assert missing <= {convolutions[-1]}, f"{name}: has the plan's text another format?"
        quantised = {
            o for n in model.graph.node if n.op_type == "DequantizeLinear" for o in n.output
        }
        wanted = {
            node.name: [CONV_TYPE[precision]] * 2
            if precision != "int8" or node.input[1] in quantised
            else ["float"] * 2  # left in FP32 by the search
            for node in model.graph.node
            if node.op_type == "Conv"
        }
        found = {n: types[n] for n in convolutions if n in types and types[n] != wanted[n]}
        assert found == {}, name
        if precision == "int8":
            assert ["int8"] * 2 in types.values()


def _unsigned_shift(graph: Any) -> None:
    for tensor in graph.initializer:
        if tensor.name == "patches.zero":
            tensor.CopyFrom(numpy_helper.from_array(np.array(3, np.int8), tensor.name))


def _dead_scale(graph: Any) -> None:
    for tensor in graph.initializer:
        if tensor.name == "patches.scale":
            tensor.CopyFrom(numpy_helper.from_array(np.array(0, np.float32), tensor.name))


def _wrong_count(graph: Any) -> None:
    for tensor in graph.initializer:
        if tensor.name == "first.weight.scale":
            values = np.full(3, 0.01, np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))


def test_what_the_checker_refuses_tensorrt_refuses_too(rtx: None, tmp_path: Path) -> None:
    """And a file that is cut off ends in a clear error, not in a crash."""
    network = convolutional()
    activations = sorted({x.activation for x in quantisable_layers(network)})
    int8 = qdq_from_ranges(network, activation_ranges(network, patches(8), activations, threads=1))
    changes: dict[str, Callable[[Any], None]] = {
        "shifted": _unsigned_shift,
        "dead": _dead_scale,
        "count": _wrong_count,
    }
    files = {"good": tmp_path / "good.onnx", "cut": tmp_path / "cut.onnx"}
    files["good"].write_bytes(int8)
    files["cut"].write_bytes(int8[: len(int8) // 2])
    for name, change in changes.items():
        model = onnx.load_from_string(int8)
        change(model.graph)
        files[name] = tmp_path / f"{name}.onnx"
        files[name].write_bytes(model.SerializeToString())
        assert build_problems(files[name].read_bytes())
    found = build_all(list(files.values()))
    assert "error" not in found[str(files["good"])]
    for name in (*changes, "cut"):
        assert found[str(files[name])]["error"] == "DataError", name
        assert "refuses the network" in found[str(files[name])]["what"]
