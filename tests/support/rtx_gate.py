"""Builds networks with TensorRT-RTX on a machine without a GPU; run as a program of its own.

python tests/support/rtx_gate.py NETWORK.onnx ...

Prints one JSON object: file to its outcome. It is a child process because the library can crash and
keeps its first logger for life. `conv_types` reads the text that a plan of TensorRT-RTX 1.7
carries; that text is not documented, hence the pinned version.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from engines.backends.tensorrt.builder import BuildRequest, Profile, plan_from_onnx
from engines.backends.tensorrt.library import TENSORRT_RTX, open_library
from engines.errors import VigilError

# FP16 constants that are rounded on the way in, and scales that are widened, are as they should be.
HARMLESS = ("precision-lose casting", "activation scales to fp32")
REQUEST = BuildRequest(Profile(1, 16, 64), 256 << 20, compute_capabilities=((8, 6),))


def conv_types(plan: bytes) -> dict[str, list[str]]:
    """Node name to the types of its input and its weight."""
    text = b"\n".join(re.findall(rb"[\x09\x0a\x20-\x7e]{8,}", plan)).decode("ascii")
    kind = dict(re.findall(r'tensor=\{[^\n]*?name="([^"]+)"[^\n]* type=(\w+)', text))
    found = re.findall(r'corrltn=\{ name="([^"]*)" output=\{[^}]*\} input=\{([^}]*)\}', text)
    return {
        name: [kind.get(tensor, "?") for tensor in re.findall(r'"([^"]+)"', inputs)[:2]]
        for name, inputs in found
    }


def outcome(file: Path) -> dict[str, object]:
    try:
        built = plan_from_onnx(
            open_library(TENSORRT_RTX), file.read_bytes(), REQUEST, where=str(file)
        )
    except VigilError as error:
        return {"error": type(error).__name__, "what": error.what, "mend": error.mend}
    warnings = [w for w in built.warnings if not any(word in w for word in HARMLESS)]
    return {
        "types": conv_types(built.plan),
        "warnings": warnings,
        "header": [built.plan[:4].decode(), list(built.plan[24:28])],
        "bytes": len(built.plan),
    }


if __name__ == "__main__":
    print(json.dumps({name: outcome(Path(name)) for name in sys.argv[1:]}))
