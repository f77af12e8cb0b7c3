"""Every TensorRT member that the code names exists in 10.3, 10.13, 10.16 and 11.4.

The list was recorded from the real Python bindings (tests/support/record_tensorrt_members.py). The
code gives each TensorRT object the variable name that stands in `OBJECTS`, so that its uses are
found.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.fake_gpu import MEMBERS, shared_members

FOLDER = Path(__file__).resolve().parents[2] / "engines" / "backends" / "tensorrt"
VERSIONS = ("10.3", "10.13", "10.16", "11.4")
# Variable or attribute name (without underscores) -> class.
OBJECTS = {
    "builder": "Builder",
    "config": "IBuilderConfig",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "tensor": "ITensor",
    "cache": "ITimingCache",
    "e": "ParserError",
}
# Only on TensorRT-RTX: both stand behind a check of the library, in one function.
RTX_ONLY = {
    ("IBuilderConfig", "num_compute_capabilities"),
    ("IBuilderConfig", "set_compute_capability"),
}
RTX_NAMES = {"ComputeCapability"}


def _name(node: ast.expr) -> str:
    if isinstance(node, ast.Name):
        return node.id.strip("_")
    return node.attr.strip("_") if isinstance(node, ast.Attribute) else ""


def uses(file: Path) -> Iterator[tuple[str, str]]:
    """(class, member) of all uses; a class of the module itself comes as ("", class)."""
    for node in ast.walk(ast.parse(file.read_text())):
        if not isinstance(node, ast.Attribute) or node.attr.startswith("__"):
            continue
        owner = _name(node.value)
        inner = node.value
        if isinstance(inner, ast.Attribute) and _name(inner.value) == "trt":
            yield inner.attr, node.attr
        elif isinstance(inner, ast.Attribute) and inner.attr == "Severity":
            yield "ILogger.Severity", node.attr
        elif owner in ("trt", "module"):
            yield "", node.attr
        elif owner in OBJECTS:
            yield OBJECTS[owner], node.attr


SOURCES = ("builder.py", "engine.py", "library.py")


@pytest.mark.parametrize("name", SOURCES)
def test_every_member_is_there_in_every_version(name: str) -> None:
    found = set(uses(FOLDER / name))
    assert found
    for cls, member in sorted(found):
        if cls == "":
            if member not in RTX_NAMES:
                assert all(member in classes for classes in MEMBERS.values()), member
        elif (cls, member) not in RTX_ONLY:
            assert member in shared_members(cls), f"{cls}.{member} is not in every version"


def test_what_is_found_is_what_is_used() -> None:
    """The scan sees the code: if a variable is renamed, this says so."""
    found = {use for name in SOURCES for use in uses(FOLDER / name)}
    expected = {
        ("Builder", "build_serialized_network"),
        ("IBuilderConfig", "set_timing_cache"),
        ("IBuilderConfig", "progress_monitor"),
        ("INetworkDefinition", "get_input"),
        ("OnnxParser", "parse"),
        ("IOptimizationProfile", "set_shape"),
        ("ITimingCache", "serialize"),
        ("ParserError", "desc"),
        ("Runtime", "deserialize_cuda_engine"),
        ("ICudaEngine", "get_tensor_profile_shape"),
        ("IExecutionContext", "execute_async_v3"),
        ("NetworkDefinitionCreationFlag", "STRONGLY_TYPED"),
        ("MemoryPoolType", "WORKSPACE"),
        ("ITensor", "shape"),
        ("ILogger.Severity", "WARNING"),
    }
    assert expected <= found


def test_the_list_covers_the_supported_range_and_would_catch_what_was_removed() -> None:
    assert [".".join(version.split(".")[:2]) for version in MEMBERS] == list(VERSIONS)
    assert "FP16" in MEMBERS["10.3.0"]["BuilderFlag"]
    assert "FP16" not in shared_members("BuilderFlag")
    assert "EXPLICIT_BATCH" not in shared_members("NetworkDefinitionCreationFlag")
    assert "get_engine_stat" not in shared_members("ICudaEngine")


def test_tensorrt_is_imported_by_name_alone_when_it_is_asked_for() -> None:
    root = FOLDER.parents[2]
    for room in ("edge", "calibration", "engines", "trainer"):
        for file in (root / room).rglob("*.py"):
            text = file.read_text()
            if "tensorrt" not in text:
                continue
            for node in ast.walk(ast.parse(text)):
                names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not {n.split(".")[0] for n in names} & {"tensorrt", "tensorrt_rtx"}, file
