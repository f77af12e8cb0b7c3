"""Plans of a whole bundle on a GPU in memory: batches, fallback, parity, cache, command line."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from support.clips import MemoryClip
from support.fake_gpu import FakeCuda, FakeTensorRt, build_fake_cuda
from support.quantisable_bundle import quantisable_bundle

from calibration.activation_ranges import activation_ranges
from edge import plan_check
from edge.cli import engine as command
from edge.pipeline import Pipeline
from edge.plan_build import PlanBuilder, PlanSettings, batch_profile, precisions_to_try
from engines.backends.choose import open_backend
from engines.backends.cuda_driver import CudaDriver
from engines.backends.tensorrt import runner
from engines.backends.tensorrt.library import Library, library_from_module
from engines.backends.tensorrt.runner import TensorRtBackend, this_machine
from engines.bundle import Bundle, BundleFile, load_bundle, update_bundle
from engines.errors import DataError, UnavailableError, UsageError
from engines.plan_cache import PlanCache
from engines.qdq_network import ActivationRange, qdq_from_ranges, quantisable_layers


@pytest.fixture(scope="module")
def cuda_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_fake_cuda(tmp_path_factory.mktemp("cuda"))


@pytest.fixture
def cuda(cuda_file: Path) -> FakeCuda:
    return FakeCuda(cuda_file)


@pytest.fixture
def trt(cuda: FakeCuda) -> FakeTensorRt:
    return FakeTensorRt(cuda)


@pytest.fixture
def library(trt: FakeTensorRt) -> Library:
    return library_from_module("tensorrt", trt)


@pytest.fixture
def driver(cuda: FakeCuda) -> Iterator[CudaDriver]:
    opened = CudaDriver(library=cuda.path)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """Three precisions for each of two streams."""
    folder = tmp_path_factory.mktemp("template")
    return with_int8(quantisable_bundle(folder / "bundle", workspace=folder))


@pytest.fixture
def bundle(template: Bundle, tmp_path: Path) -> Bundle:
    shutil.copytree(template.root, tmp_path / "bundle")
    return load_bundle(tmp_path / "bundle")


def with_int8(bundle: Bundle, *, spoil: float = 1.0) -> Bundle:
    """Give each network an INT8 twin; `spoil` makes its first step too large."""
    files, streams = [], []
    for stream in bundle.model.streams:
        assert stream.network is not None
        network = bundle.path(stream.network.files["fp32"]).read_bytes()
        golden = bundle.arrays(stream.parity or "")["patches"].astype(np.float32)
        names = [layer.activation for layer in quantisable_layers(network)]
        found = activation_ranges(network, golden, names, threads=1)
        spoilt = {n: ActivationRange(r.step * spoil, r.means) for n, r in found.items()}
        name = f"networks/{stream.name}.int8.onnx"
        files.append(BundleFile(name, "network", qdq_from_ranges(network, spoilt)))
        more = {**stream.network.files, "int8": name}
        changed = stream.network.model_copy(update={"files": more})
        streams.append(stream.model_copy(update={"network": changed}))
    model = bundle.model.model_copy(update={"streams": tuple(streams)})
    return update_bundle(bundle, model, files)


def builder(
    bundle: Bundle,
    library: Library,
    driver: CudaDriver,
    cache: PlanCache,
    said: list[str] | None = None,
    **settings: object,
) -> PlanBuilder:
    return PlanBuilder(
        bundle,
        library=library,
        machine=this_machine(library, driver),
        cache=cache,
        settings=PlanSettings(**settings),  # type: ignore[arg-type]
        free_bytes=driver.free_bytes(),
        backend=command._opener(cache, library, driver),
        say=(said if said is not None else []).append,
    )


def test_batches_come_from_grid_and_cameras(bundle: Bundle) -> None:
    appearance = bundle.model.streams[0]  # 168 x 112 in steps of 28: 6 x 4 cells
    assert vars(batch_profile(bundle, appearance, cameras=1)) == {"min": 1, "opt": 6, "max": 24}
    assert vars(batch_profile(bundle, appearance, cameras=4)) == {"min": 1, "opt": 24, "max": 96}
    # 8 MiB of 3 x 28 x 28 floats are 891 patches, more than anyone needs at once.
    assert vars(batch_profile(bundle, appearance, cameras=64)) == {
        "min": 1,
        "opt": 384,
        "max": 512,
    }


def test_precisions_start_where_they_are_asked_to(bundle: Bundle) -> None:
    network = bundle.model.streams[0].network
    assert network is not None
    assert precisions_to_try(network, "auto") == ("int8", "fp16", "fp32")
    assert precisions_to_try(network, "fp16") == ("fp16", "fp32")
    without = network.model_copy(update={"files": {"fp32": network.files["fp32"]}})
    with pytest.raises(DataError, match="no int8 network, it has fp32") as error:
        precisions_to_try(without, "int8")
    assert "vigil calibrate --int8" in str(error.value.mend)


def test_a_bundle_is_built_checked_and_found_again(
    bundle: Bundle, library: Library, driver: CudaDriver, trt: FakeTensorRt, tmp_path: Path
) -> None:
    cache = PlanCache(tmp_path / "plans")
    first = builder(bundle, library, driver, cache).build()
    assert [(plan.stream, plan.fresh) for plan in first] == [("appearance", True), ("motion", True)]
    assert trt._seen.workspace == 256 << 20  # a quarter of the stand-in's gigabyte
    for plan in first:
        assert plan.plan.sidecar.key.precision == "int8"
        assert plan.parity is not None
        assert plan.parity.precision == "int8"
        assert plan.parity.rank is not None
    again = builder(bundle, library, driver, cache).build()
    assert [plan.fresh for plan in again] == [False, False]
    forced = builder(bundle, library, driver, cache, rebuild=True).build()
    assert [plan.fresh for plan in forced] == [True, True]
    assert trt._seen.timing == b"measured here"


def test_a_damaged_plan_is_built_again_and_said(
    bundle: Bundle, library: Library, driver: CudaDriver, tmp_path: Path
) -> None:
    cache = PlanCache(tmp_path / "plans")
    plan = builder(bundle, library, driver, cache).build()[0].plan
    plan.path.write_bytes(plan.path.read_bytes()[:-5])
    said: list[str] = []
    again = builder(bundle, library, driver, cache, said).build()
    assert [p.fresh for p in again] == [True, False]
    assert any("building again, because the plan has" in line for line in said)


def test_int8_that_does_not_build_falls_back_to_fp16_aloud(
    bundle: Bundle, library: Library, driver: CudaDriver, trt: FakeTensorRt, tmp_path: Path
) -> None:
    trt._faults.add("int8")
    said: list[str] = []
    cache = PlanCache(tmp_path / "plans")
    built = builder(bundle, library, driver, cache, said).build()
    assert {plan.plan.sidecar.key.precision for plan in built} == {"fp16"}
    assert "appearance: int8 does not work here, taking fp16" in said
    assert any("no implementation for this precision" in line for line in said)


def test_int8_that_breaks_parity_is_not_kept(
    bundle: Bundle, library: Library, driver: CudaDriver, tmp_path: Path
) -> None:
    spoilt = with_int8(bundle, spoil=60.0)
    said: list[str] = []
    cache = PlanCache(tmp_path / "plans")
    built = builder(spoilt, library, driver, cache, said).build()
    assert {plan.plan.sidecar.key.precision for plan in built} == {"fp16"}
    assert any("because: outputs differ from the expected ones" in line for line in said)
    assert {plan.sidecar.key.precision for plan in cache.plans()} == {"fp16"}


def test_the_last_precision_s_error_is_the_user_s(
    bundle: Bundle, library: Library, driver: CudaDriver, trt: FakeTensorRt, tmp_path: Path
) -> None:
    trt._faults.add("refuse")
    with pytest.raises(DataError, match="refuses the network"):
        builder(bundle, library, driver, PlanCache(tmp_path / "plans")).build()


def on_this_gpu(
    monkeypatch: pytest.MonkeyPatch, library: Library, cuda: FakeCuda, plans: Path
) -> None:
    """Let the program find the stand-ins where it would find the real ones."""
    monkeypatch.setenv("VIGIL_ENGINES", str(plans))
    for module in (command, plan_check, runner):
        monkeypatch.setattr(module, "open_library", lambda _: library)
        monkeypatch.setattr(module, "CudaDriver", lambda: CudaDriver(library=cuda.path))


def test_the_pipeline_runs_built_plans_and_scores_the_same(
    bundle: Bundle,
    library: Library,
    driver: CudaDriver,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    on_this_gpu(monkeypatch, library, cuda, tmp_path / "plans")
    frames = MemoryClip(name="clip", length=12, seed=8).frames
    with Pipeline(bundle, threads=1) as pipeline:  # nothing is built yet
        assert set(pipeline.backends.values()) == {"onnxruntime-cpu/fp32"}
        view = pipeline.new_view()
        expected = [pipeline.score(view, frame).raw_score for frame in frames]
    builder(bundle, library, driver, PlanCache(tmp_path / "plans"), precision="fp32").build()
    with Pipeline(bundle, threads=1) as pipeline:
        assert set(pipeline.backends.values()) == {"tensorrt/fp32"}
        view = pipeline.new_view()
        found = [pipeline.score(view, frame).raw_score for frame in frames]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_tensorrt_by_name_without_a_plan_says_what_to_build(
    bundle: Bundle,
    library: Library,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    on_this_gpu(monkeypatch, library, cuda, tmp_path / "plans")
    network = bundle.model.streams[0].network
    assert network is not None
    with pytest.raises(UnavailableError, match=r"no engine for appearance\.int8\.onnx") as error:
        open_backend(bundle, network, name="tensorrt")
    assert "vigil engine build" in str(error.value.mend)


def test_a_plan_without_its_gpu_leaves_the_cpu_to_do_it(
    bundle: Bundle,
    library: Library,
    driver: CudaDriver,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """Plans are there, TensorRT is, the driver is gone: `auto` goes on, by name it is an error."""
    plans = tmp_path / "plans"
    builder(bundle, library, driver, PlanCache(plans)).build()
    monkeypatch.setenv("VIGIL_ENGINES", str(plans))
    monkeypatch.setattr(runner, "open_library", lambda _: library)
    monkeypatch.setattr(runner, "CudaDriver", lambda: CudaDriver(library="libno-cuda.so"))
    with Pipeline(bundle, threads=1) as pipeline:
        assert set(pipeline.backends.values()) == {"onnxruntime-cpu/fp32"}
    with pytest.raises(UnavailableError, match="no NVIDIA driver"):
        Pipeline(bundle, backend="tensorrt")


def call(*arguments: object) -> Result:
    return CliRunner().invoke(command.engine, [str(a) for a in arguments], catch_exceptions=False)


def test_build_and_check_tell_what_there_is(
    bundle: Bundle,
    library: Library,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    on_this_gpu(monkeypatch, library, cuda, tmp_path / "plans")
    nothing = call("check", bundle.root)
    assert nothing.exit_code == 69
    assert "stream motion has no engine that fits this machine" in nothing.stdout
    assert f"mend: vigil engine build {bundle.root}" in nothing.stdout

    built = call("build", bundle.root, "--cameras", 2)
    assert built.exit_code == 0
    assert "appearance int8" in built.stdout
    assert "parity: tensorrt, int8: 8 patches" in built.stdout
    assert "Building engine: step 2 of 2" in built.stderr
    assert "for 1 to 48 patches, tuned for 12" in built.stderr

    checked = call("check", bundle.root)
    assert checked.exit_code == 0
    assert "tensorrt 10.3.0.26, Imaginary Orin, compute capability 8.7" in checked.stdout
    assert checked.stdout.count("fits this machine") == 2
    values = json.loads(call("check", "--json").stdout)
    assert values["machine"]["compute_capability"] == "8.7"
    assert [plan["fits"] for plan in values["plans"]] == [True, True]
    assert cuda.lib.fake_live() == 0
    assert cuda.lib.fake_contexts() == 0


def test_check_names_another_machine_a_cut_plan_and_a_missing_driver(
    bundle: Bundle,
    library: Library,
    cuda: FakeCuda,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    on_this_gpu(monkeypatch, library, cuda, tmp_path / "plans")
    call("build", bundle.root)
    newer = library_from_module("tensorrt", FakeTensorRt(cuda, version="10.16.1.11"))
    monkeypatch.setattr(plan_check, "open_library", lambda _: newer)
    other = call("check", bundle.root)
    assert other.exit_code == 69
    assert "does not fit: library version 10.3.0.26, here 10.16.1.11" in other.stdout
    monkeypatch.setattr(plan_check, "open_library", lambda _: library)
    plan = next((tmp_path / "plans").glob("motion*.plan"))
    plan.write_bytes(plan.read_bytes()[:100])
    cut = call("check", bundle.root)
    assert cut.exit_code == 69
    assert "does not fit: the plan has 100 bytes" in cut.stdout
    monkeypatch.setattr(plan_check, "CudaDriver", lambda: CudaDriver(library="libno-cuda.so"))
    gone = call("check")
    assert gone.exit_code == 0
    assert "this machine: there is no NVIDIA driver" in gone.stdout


def test_rtx_builds_for_a_gpu_that_is_not_here(bundle: Bundle, tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx (extra dev) is not installed")
    arguments = ["build", bundle.root, "--library", "tensorrt-rtx", "--cache", tmp_path / "plans"]
    values = json.loads(call(*arguments, "--compute-capability", "8.6", "--json").stdout)
    assert [plan["key"]["precision"] for plan in values] == ["int8", "int8"]
    assert {plan["key"]["machine"]["compute_capability"] for plan in values} == {"8.6"}
    assert {plan["parity"] for plan in values} == {None}
    with pytest.raises(UsageError, match=r"does not build for compute capability 8\.7"):
        call(*arguments, "--compute-capability", "8.7")
    with pytest.raises(UsageError, match="no compute capability"):
        call(*arguments, "--compute-capability", "orin")


def test_the_backend_s_name_is_what_people_ask_for() -> None:
    assert TensorRtBackend.name == "tensorrt"
