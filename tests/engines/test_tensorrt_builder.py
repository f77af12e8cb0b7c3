"""The builder against the stand-in: what it asks for, and what it says when it gets nothing."""

from __future__ import annotations

import importlib.util

import onnx
import pytest
from support.fake_gpu import FakeTensorRt
from support.small_networks import convolutional

from engines.backends.tensorrt.builder import BuildRequest, Profile, plan_from_onnx
from engines.backends.tensorrt.library import Library, open_library
from engines.backends.tensorrt.plan_file import plan_writer
from engines.errors import DataError, InternalError, UnavailableError, UsageError

NETWORK = convolutional()
REQUEST = BuildRequest(Profile(1, 8, 32), workspace_bytes=64 << 20, optimisation_level=2)


def test_it_builds_strongly_typed_with_profile_workspace_and_level(
    library: Library, trt: FakeTensorRt
) -> None:
    steps: list[tuple[str, int, int]] = []
    trt._says.append(("WARNING", "something odd"))
    built = plan_from_onnx(library, NETWORK, REQUEST, progress=lambda *step: steps.append(step))
    assert trt._seen.flags == 1 << 1
    assert trt._seen.profile == ((1, 3, 8, 8), (8, 3, 8, 8), (32, 3, 8, 8))
    assert trt._seen.workspace == 64 << 20
    assert trt._seen.level == 2
    assert built.timing_cache == b"measured here"
    assert built.warnings == ("warning: something odd",)
    assert plan_writer(built.plan) == ("tensorrt", (10, 3, 0, 26))
    assert steps[0] == ("Building engine", 0, 2)
    assert ("Timing", 1, 3) in steps
    assert steps[-1] == ("Building engine", 2, 2)


@pytest.mark.parametrize(
    ("given", "used"), [(b"measured here", b"measured here"), (b"of another GPU", b"")]
)
def test_a_foreign_timing_cache_is_put_aside(
    library: Library, trt: FakeTensorRt, given: bytes, used: bytes
) -> None:
    request = BuildRequest(Profile(1, 1, 1), 1 << 20, timing_cache=given)
    plan_from_onnx(library, NETWORK, request)
    assert trt._seen.timing == used


def test_the_parser_s_own_words_are_told(library: Library, trt: FakeTensorRt) -> None:
    trt._faults.add("refuse")
    with pytest.raises(DataError, match=r"refuses the network: Conv first: shiftIsAllZeros"):
        plan_from_onnx(library, NETWORK, REQUEST, where="net.onnx")


@pytest.mark.parametrize("data", [b"", b"garbage", NETWORK[: len(NETWORK) // 2]])
def test_a_truncated_network_is_refused(library: Library, data: bytes) -> None:
    with pytest.raises(DataError, match=r"tensorrt 10\.3\.0\.26 refuses the network") as error:
        plan_from_onnx(library, data, REQUEST, where="net.onnx")
    assert error.value.where == "net.onnx"
    assert "copy the bundle again" in str(error.value.mend)


@pytest.mark.parametrize(
    ("said", "mend"),
    [
        ("OutOfMemory (Requested size was 271264064 bytes)", "--workspace-mib (it was 64)"),
        ("no implementation", "--precision fp16"),
    ],
)
def test_no_plan_says_why_and_what_to_do(
    library: Library, trt: FakeTensorRt, said: str, mend: str
) -> None:
    trt._faults.add("no plan")
    trt._says += [("WARNING", "hm"), ("ERROR", said)]
    with pytest.raises(InternalError) as error:
        plan_from_onnx(library, NETWORK, REQUEST)
    assert error.value.what.endswith(f"could not build the network: error: {said}")
    assert mend in str(error.value.mend)


def test_without_a_driver_there_is_no_builder(library: Library, trt: FakeTensorRt) -> None:
    trt._faults.add("no builder")
    with pytest.raises(UnavailableError, match="nullptr; error: CUDA initialization") as error:
        plan_from_onnx(library, NETWORK, REQUEST)
    assert "nvidia-smi" in str(error.value.mend)


def test_a_refused_profile_and_a_fixed_batch_are_told(library: Library, trt: FakeTensorRt) -> None:
    model = onnx.load_from_string(NETWORK)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    with pytest.raises(DataError, match=r"shape \[4, 3, 8, 8\]; its first axis must be free"):
        plan_from_onnx(library, model.SerializeToString(), REQUEST)
    trt._faults.add("no profile")
    with pytest.raises(InternalError, match="refuses the batch profile"):
        plan_from_onnx(library, NETWORK, REQUEST)


def test_only_rtx_builds_for_another_gpu(library: Library) -> None:
    request = BuildRequest(Profile(1, 1, 1), 1 << 20, compute_capabilities=((8, 6),))
    with pytest.raises(UsageError, match="its own machine alone"):
        plan_from_onnx(library, NETWORK, request)


@pytest.mark.parametrize("sizes", [(0, 1, 2), (2, 1, 2), (1, 3, 2)])
def test_a_profile_must_rise(sizes: tuple[int, int, int]) -> None:
    with pytest.raises(UsageError, match="1 <= min <= opt <= max"):
        Profile(*sizes)


def test_a_library_that_is_not_installed_says_where_it_comes_from() -> None:
    with pytest.raises(UsageError, match="no engine library"):
        open_library("openvino")
    if importlib.util.find_spec("tensorrt") is None:
        with pytest.raises(UnavailableError, match="tensorrt is not installed") as error:
            open_library("tensorrt")
        assert "JetPack" in str(error.value.mend)
