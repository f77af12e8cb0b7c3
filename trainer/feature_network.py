"""ONNX files put together: a feature extractor of anybody's making, and a network on its features.

What leaves this module is what a bundle takes: input ``patches`` with a free first axis, output
``latent``, opset 18, everything inside the file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper, numpy_helper, version_converter

from engines.backends.onnxruntime_cpu import LOAD_ERRORS
from engines.errors import DataError, InputMissingError
from engines.network_file import read_network
from trainer.export import OPSET
from trainer.preset_sections import ExtractorPreset
from trainer.stream_parts import NETWORK_INPUT, NETWORK_OUTPUT, run_network

__all__ = ["chained", "extractor_network", "run_network"]

IR_VERSION = 10
# An item alone and in company must give the same features, to this part of the largest.
_ALIKE = 1e-3


def chained(encoder: bytes, after: bytes) -> bytes:
    """One network of two, the features of the first being the input of the second.

    Args:
        encoder: Input ``patches``, output ``latent`` N x J.
        after: Input ``patches`` N x J, output ``latent``.
    """
    first = compose.add_prefix(
        _plain(read_network(encoder)), "encoder.", rename_inputs=False, rename_edges=True
    )
    second = compose.add_prefix(_plain(read_network(after)), "density.", rename_outputs=False)
    joined = compose.merge_models(
        first, second, io_map=[(f"encoder.{NETWORK_OUTPUT}", f"density.{NETWORK_INPUT}")]
    )
    onnx.checker.check_model(joined, full_check=True)
    return bytes(joined.SerializeToString(deterministic=True))


def read_extractor(settings: ExtractorPreset) -> Any:
    """The user's network as it is, an onnx.ModelProto.

    Raises:
        InputMissingError: There is no such file.
        DataError: No ONNX network.
    """
    path = Path(settings.file).expanduser()
    if not path.is_file():
        raise InputMissingError(
            "there is no such feature extractor", where=str(path), mend="give an .onnx file"
        )
    return read_network(path.read_bytes(), where=str(path))


def extractor_network(settings: ExtractorPreset, *, shape: tuple[int, int, int]) -> bytes:
    """The user's network in the form of ours: patches in [0, 1] -> N x J.

    Args:
        settings: File, and how it wants its pictures.
        shape: channels x side x side of the stream's items.

    Raises:
        InputMissingError: There is no such file.
        DataError: No ONNX network, another input, or answers that depend on the other items of a
            batch.
    """
    model, path = read_extractor(settings), Path(settings.file).expanduser()
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in known]
    if len(inputs) != 1:
        raise _unfit(path, f"it has {len(inputs)} inputs, one is wanted")
    sizes = [size.dim_value for size in inputs[0].type.tensor_type.shape.dim]
    wanted = (0, *shape)
    pairs = zip(sizes, wanted, strict=True) if len(sizes) == len(wanted) else [(1, 0)]
    if any(have not in (0, want) and want for have, want in pairs) or len(sizes) != len(wanted):
        raise _unfit(path, f"it takes {sizes}, the stream's items are N x {list(shape)}")
    if inputs[0].type.tensor_type.elem_type != TensorProto.FLOAT:
        raise _unfit(path, "its input is not float32")
    _free_batch(model, inputs[0], shape)
    name = inputs[0].name
    # Under a prefix no name of theirs can meet one of ours.
    model = compose.add_prefix(_plain(version_converter.convert_version(model, OPSET)), "own.")
    _rename(model, f"own.{name}", "pictures")
    _normalise(model, settings, shape)
    _pool(model, path)
    onnx.checker.check_model(model, full_check=True)
    network = bytes(model.SerializeToString(deterministic=True))
    _require_separate(network, shape, path)
    return network


def _plain(model: Any) -> Any:
    model.ir_version = IR_VERSION
    return model


def _free_batch(model: Any, item: Any, shape: tuple[int, int, int]) -> None:
    dims = item.type.tensor_type.shape.dim
    dims[0].dim_param = "n"
    for dim, size in zip(list(dims)[1:], shape, strict=True):
        dim.dim_value = size
    # What was inferred for a fixed batch would contradict the free one.
    del model.graph.value_info[:]
    for output in model.graph.output:
        if output.type.tensor_type.shape.dim:
            output.type.tensor_type.shape.dim[0].dim_param = "n"


def _rename(model: Any, old: str, new: str) -> None:
    for node in model.graph.node:
        for place, name in enumerate(node.input):
            if name == old:
                node.input[place] = new
    for item in model.graph.input:
        if item.name == old:
            item.name = NETWORK_INPUT


def _normalise(model: Any, settings: ExtractorPreset, shape: tuple[int, int, int]) -> None:
    """(patches - mean) / std in front, under the name that the first layers read."""
    parts = []
    for name, values in (("mean", settings.mean), ("std", settings.std)):
        if len(values) not in (1, shape[0]):
            raise DataError(
                f"extractor.{name} has {len(values)} values, a picture has {shape[0]} channels",
                mend="give one number for all channels, or one for each",
            )
        parts.append(np.broadcast_to(np.array(values, np.float32), shape[:1]).reshape(1, -1, 1, 1))
    mean, std = parts
    constants = {"pictures.share": 1.0 / std, "pictures.shift": -mean / std}
    for name, constant in constants.items():
        tensor = numpy_helper.from_array(np.ascontiguousarray(constant, np.float32), name)
        model.graph.initializer.append(tensor)
    nodes = [
        helper.make_node("Mul", [NETWORK_INPUT, "pictures.share"], ["pictures.scaled"]),
        helper.make_node("Add", ["pictures.scaled", "pictures.shift"], ["pictures"]),
        *model.graph.node,
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _pool(model: Any, path: Path) -> None:
    """The first output as ``latent``, N x J: maps are averaged over their places."""
    output = model.graph.output[0]
    rank = len(output.type.tensor_type.shape.dim)
    if rank not in (2, 4):
        raise _unfit(path, f"its first output has {rank} axes, 2 or 4 are wanted")
    last = output.name
    if rank == 4:
        model.graph.node.append(helper.make_node("GlobalAveragePool", [last], ["latent.mean"]))
        last = "latent.mean"
    model.graph.node.append(helper.make_node("Flatten", [last], [NETWORK_OUTPUT], axis=1))
    del model.graph.output[:]
    wanted = helper.make_tensor_value_info(NETWORK_OUTPUT, TensorProto.FLOAT, ["n", None])
    model.graph.output.append(wanted)


def _require_separate(network: bytes, shape: tuple[int, int, int], path: Path) -> None:
    """A batch of three must give what its items give alone: files made for one item may not."""
    items = np.random.default_rng(0).random((3, *shape), dtype=np.float32)
    try:
        together, alone = run_network(network, items), _one_by_one(network, items)
    except DataError as error:
        raise _unfit(path, f"it does not run on a batch: {error.what}") from error
    except LOAD_ERRORS as error:  # raised while running, too
        raise _unfit(path, f"it does not run on a batch: {str(error)[:200]}") from error
    if together.shape != alone.shape or not np.isfinite(together).all():
        raise _unfit(path, f"three items give {list(together.shape)}, alone {list(alone.shape)}")
    if np.abs(together - alone).max() > _ALIKE * max(1.0, float(np.abs(alone).max())):
        raise _unfit(path, "an item's features depend on the other items of its batch")


def _one_by_one(network: bytes, items: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.concatenate([run_network(network, items[i : i + 1]) for i in range(len(items))])


def _unfit(path: Path, why: str) -> DataError:
    return DataError(
        f"this network cannot be a feature extractor: {why}",
        where=str(path),
        mend="export it with one float32 input N x channels x side x side, N free, and set the "
        "stream's patch to its side",
    )
