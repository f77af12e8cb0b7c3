"""FP16 networks: half the size, and what a GPU engine is built from; inputs and outputs stay FP32.

Precision lives in the file (weights and casts), not in a flag of whoever runs it.
"""

from __future__ import annotations

from engines.errors import DataError, UnavailableError


def fp16_from_fp32(network: bytes) -> bytes:
    """Convert an ONNX network to FP16 inside, FP32 at its input and output.

    Args:
        network: ONNX file content, FP32.

    Raises:
        UnavailableError: The package onnx is not installed.
        DataError: Not an ONNX network.
    """
    try:
        import onnx  # noqa: PLC0415  devices run networks and never convert them
        from google.protobuf.message import DecodeError  # noqa: PLC0415  comes with onnx
        from onnxruntime.transformers import float16  # noqa: PLC0415  needs onnx
    except ModuleNotFoundError as error:
        raise UnavailableError(
            f"converting a network needs the package {error.name}",
            mend="install the workstation part: pip install 'vigil[train]'",
        ) from error
    try:
        model = onnx.load_from_string(network)
    except DecodeError as error:
        raise DataError(f"this is not an ONNX network: {error}") from error
    half: bytes = float16.convert_float_to_float16(model, keep_io_types=True).SerializeToString()
    return half
