"""Record what some TensorRT versions offer, for the contract test; no GPU and no TensorRT needed.

The Python bindings are small wheels that import nine C functions. Three stub libraries that hold
those make any of them importable, enough to list members. Wheels are fetched first, one folder:

    pip download --no-deps --dest WHEELS tensorrt-cu12-bindings==10.3.0   (and the other versions)
    python tests/support/record_tensorrt_members.py WHEELS tests/engines/tensorrt_members.json
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

CLASSES = (
    "Builder",
    "BuilderFlag",
    "DataType",
    "IBuilderConfig",
    "ICudaEngine",
    "IExecutionContext",
    "IHostMemory",
    "ILogger",
    "INetworkDefinition",
    "IOptimizationProfile",
    "IProgressMonitor",
    "ITensor",
    "ITimingCache",
    "MemoryPoolType",
    "NetworkDefinitionCreationFlag",
    "OnnxParser",
    "ParserError",
    "Runtime",
    "TensorIOMode",
)
FUNCTIONS = (
    "createInferBuilder_INTERNAL",
    "createInferRefitter_INTERNAL",
    "createInferRuntime_INTERNAL",
    "createNvOnnxParser_INTERNAL",
    "createNvOnnxParserRefitter_INTERNAL",
    "getBuilderPluginRegistry",
    "getNvOnnxParserVersion",
    "getPluginRegistry",
    "initLibNvInferPlugins",
)
LIST = """
import importlib, json, sys
trt = importlib.import_module("tensorrt_bindings")
names = {c: sorted(m for m in dir(getattr(trt, c)) if not m.startswith("_"))
         for c in sys.argv[1:] if hasattr(trt, c)}
severity = [m for m in dir(trt.ILogger.Severity) if m.isupper()]
print(json.dumps({**names, "ILogger.Severity": sorted(severity)}))
"""


def main(arguments: list[str]) -> None:
    """Write {version: {class: [members]}} of all wheels in a folder (and its folders)."""
    wheels, target = Path(arguments[0]), Path(arguments[1])
    found = {}
    for wheel in sorted(wheels.rglob("tensorrt_cu*_bindings-*.whl")):
        version = wheel.name.split("-")[1]
        with tempfile.TemporaryDirectory() as folder:
            found[version] = members(wheel, Path(folder))
    lines = ",\n".join(
        f' "{version}": {{\n'
        + ",\n".join(f'  "{name}": {json.dumps(items)}' for name, items in sorted(classes.items()))
        + "\n }"
        for version, classes in sorted(found.items(), key=lambda item: _number(item[0]))
    )
    target.write_text("{\n" + lines + "\n}\n")


def members(wheel: Path, folder: Path) -> dict[str, list[str]]:
    """Public members of the classes, by class."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    source = folder / "stub.c"
    source.write_text("\n".join(f"void* {name}(void) {{ return 0; }}" for name in FUNCTIONS))
    for library in ("nvinfer", "nvonnxparser", "nvinfer_plugin"):
        for major in (10, 11):
            stub = folder / f"lib{library}.so.{major}"
            subprocess.run(["gcc", "-shared", "-fPIC", "-o", stub, source], check=True)
    result = subprocess.run(
        [sys.executable, "-c", LIST, *CLASSES],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "LD_LIBRARY_PATH": str(folder), "PYTHONPATH": str(folder)},
    )
    listed: dict[str, list[str]] = json.loads(result.stdout)
    return listed


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


if __name__ == "__main__":
    main(sys.argv[1:])
