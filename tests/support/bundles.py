"""A tiny real bundle: fixed random projections as networks, mixtures fitted on rendered clips."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from support.clips import MemoryClip

from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.bundle import Bundle
from engines.model_spec import FrameSpec, GateSpec, InputSpec, TrainingRecord
from trainer.assemble import assemble_bundle
from trainer.preset import Preset
from trainer.stream_parts import NETWORK_INPUT, NETWORK_OUTPUT, LearnedParts, StreamParts

LATENT = 4
FRAME = FrameSpec(width=168, height=112, fps=10.0)
MOTION = {"representation": "mean", "window": 5, "scale": 6.0}


def write_projection(path: Path, *, seed: int, patch: int = 28) -> np.ndarray:
    """An ONNX file that flattens N x 3 x patch x patch and multiplies by a fixed matrix."""
    rng = np.random.default_rng(seed)
    matrix = rng.normal(0, 0.05, (3 * patch * patch, LATENT)).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["patches"], ["flat"], axis=1),
            helper.make_node("MatMul", ["flat", "matrix"], ["latent"]),
        ],
        "projection",
        [helper.make_tensor_value_info("patches", TensorProto.FLOAT, ["n", 3, patch, patch])],
        [helper.make_tensor_value_info("latent", TensorProto.FLOAT, ["n", LATENT])],
        [numpy_helper.from_array(matrix, "matrix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    model.ir_version = 10
    onnx.save(model, path)
    return matrix


def open_network(path: Path) -> OnnxRuntimeCpu:
    """An encoder that `write_projection` or the trainer has written, on one thread."""
    network = OnnxRuntimeCpu(input_name=NETWORK_INPUT, output_name=NETWORK_OUTPUT, threads=1)
    network.load(path)
    return network


def tiny_preset(**changes: object) -> Preset:
    """Two streams on the size of `MemoryClip`."""
    raw = {
        "name": "tiny",
        "frame": FRAME.model_dump(),
        "gate": GateSpec().model_dump(),
        "streams": [
            {"name": "appearance", "kind": "appearance", "weight": 0.5},
            {"name": "motion", "kind": "motion", "weight": 0.5, "options": MOTION},
        ],
        **changes,
    }
    return Preset.model_validate(raw)


def tiny_bundle(
    root: Path, *, workspace: Path, preset: Preset | None = None, seed: int = 0
) -> Bundle:
    """Write a working bundle into `root`, its networks by the seed; a fraction of a second."""
    preset = preset or tiny_preset()
    rng = np.random.default_rng(seed)
    parts = []
    for number, stream in enumerate(preset.streams):
        if stream.encoder == "none":
            parts.append(
                StreamParts(
                    name=stream.name,
                    input=stream.test_input(),
                    weight=stream.weight,
                    learned=None,
                    pooling=stream.statistics,
                )
            )
            continue
        network = workspace / f"{stream.name}.onnx"
        matrix = write_projection(network, seed=number + 100 * seed)
        patches = rng.random((8, 3, 28, 28), dtype=np.float32)
        parts.append(
            StreamParts(
                name=stream.name,
                input=InputSpec(kind=stream.kind, options=stream.options),
                weight=stream.weight,
                learned=LearnedParts(
                    network=network,
                    parameters=matrix.size,
                    arrays={
                        "weights": np.array([0.5, 0.5]),
                        "means": rng.normal(size=(2, LATENT)),
                        "variances": np.full((2, LATENT), 2.0),
                    },
                    parity_patches=patches,
                    parity_latents=patches.reshape(8, -1) @ matrix,
                ),
            )
        )
    record = TrainingRecord(
        dataset="rendered squares",
        preset=preset.name,
        seed=0,
        command="tests",
        versions={},
        clips=2,
        frames=120,
        seconds=12.0,
    )
    return assemble_bundle(
        root,
        preset=preset,
        streams=parts,
        fit=[MemoryClip(name="fit", length=40, seed=3)],
        held_out=[MemoryClip(name="held-out", length=60, seed=1)],
        threshold=[MemoryClip(name="threshold", length=60, seed=2)],
        record=record,
        threads=1,
    )
