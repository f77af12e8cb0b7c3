"""Plans on disk: found only whole, described and for this machine."""

from __future__ import annotations

import hashlib
import multiprocessing
import stat
from pathlib import Path

import pytest

from engines.errors import CannotCreateError, DataError, TemporaryError
from engines.plan_cache import (
    CachedPlan,
    Machine,
    PlanCache,
    PlanKey,
    Sidecar,
    default_folder,
    read_sidecar,
)

HERE = Machine(library="tensorrt", version="10.3.0.26", gpu="Orin", compute_capability="8.7")
PLAN = b"ftrt" + bytes(60)


def key(**changes: object) -> PlanKey:
    values: dict[str, object] = {
        "onnx_sha256": "a" * 64,
        "precision": "int8",
        "batches": (1, 8, 32),
        "machine": HERE,
        "optimisation_level": 3,
        "workspace_mib": None,
        **changes,
    }
    return PlanKey.model_validate(values)


def store(cache: PlanCache, made: PlanKey, plan: bytes = PLAN) -> CachedPlan:
    sidecar = Sidecar(
        key=made,
        bundle="yard",
        stream="appearance",
        plan_sha256=hashlib.sha256(plan).hexdigest(),
        plan_bytes=len(plan),
        built="2026-01-01T00:00:00Z",
        seconds=2.5,
    )
    return cache.store("appearance.int8", plan, sidecar)


def test_a_plan_is_found_by_its_key_and_by_nothing_else(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path / "plans")
    assert cache.find("appearance.int8", key()) is None
    store(cache, key())
    found = cache.find("appearance.int8", key())
    assert found is not None
    assert found.read() == PLAN
    assert (tmp_path / "plans").stat().st_mode & 0o777 == 0o700
    for other in (
        key(onnx_sha256="b" * 64),
        key(precision="fp16"),
        key(batches=(1, 8, 64)),
        key(optimisation_level=4),
        key(workspace_mib=256),
        *(
            key(machine=HERE.model_copy(update={field: "other"}))
            for field in ("library", "version", "gpu", "compute_capability", "release")
        ),
    ):
        assert other.digest() != key().digest()
        assert cache.find("appearance.int8", other) is None


def test_the_best_plan_takes_the_largest_batches_on_this_machine(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    for batches, machine in (
        ((1, 8, 32), HERE),
        ((1, 16, 64), HERE),
        ((1, 64, 256), HERE.model_copy(update={"gpu": "Thor"})),
    ):
        store(cache, key(batches=batches, machine=machine))
    best = cache.best("a" * 64, HERE)
    assert best is not None
    assert best.sidecar.key.batches == (1, 16, 64)
    assert cache.best("b" * 64, HERE) is None
    assert len(cache.plans()) == 3


def test_what_is_not_described_is_no_plan(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    plan = store(cache, key())
    sidecar = plan.path.with_suffix(".json")
    text = sidecar.read_text()
    for broken in (text[:40], "[]", text.replace('"int8"', '"int4"'), "x" * 70_000):
        sidecar.write_text(broken)
        assert cache.find("appearance.int8", key()) is None
        assert cache.plans() == ()
        with pytest.raises(DataError) as error:
            read_sidecar(sidecar)
        assert "vigil engine build" in str(error.value.mend)
    sidecar.unlink()
    assert cache.plans() == ()
    sidecar.write_text(text)
    plan.path.unlink()
    assert cache.plans() == ()


@pytest.mark.parametrize(
    ("plan", "message"),
    [(PLAN[:-1], "63 bytes, 64 were written"), (PLAN[:-1] + b"!", "it was changed")],
)
def test_bytes_that_changed_are_refused(tmp_path: Path, plan: bytes, message: str) -> None:
    found = store(PlanCache(tmp_path), key())
    found.path.write_bytes(plan)
    with pytest.raises(DataError, match=message):
        found.read()


def _try_to_build(folder: Path, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    try:
        with PlanCache(folder).building():
            results.put("built")
    except TemporaryError as error:
        results.put(error.what)


def test_one_process_builds_at_a_time(tmp_path: Path) -> None:
    results: multiprocessing.Queue[str] = multiprocessing.Queue()
    child = multiprocessing.get_context("fork").Process(
        target=_try_to_build, args=(tmp_path, results)
    )
    with PlanCache(tmp_path).building():
        child.start()
        assert results.get(timeout=30) == "another process is building engines here"
        child.join()
    with PlanCache(tmp_path).building():
        pass


def test_differences_name_both_sides() -> None:
    other = HERE.model_copy(update={"gpu": "Thor", "release": "R36"})
    assert other.differences(HERE) == ["GPU Thor, here Orin", "L4T release R36, here none"]
    assert HERE.differences(HERE) == []


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError, match="folder of engines") as error:
        store(PlanCache(tmp_path / "file" / "plans"), key())
    assert "VIGIL_ENGINES" in str(error.value.mend)


def test_a_new_folder_is_its_owners_alone_and_an_old_one_keeps_its_mode(tmp_path: Path) -> None:
    """Root naming /var/cache must not close it to everybody else."""
    store(PlanCache(tmp_path / "new"), key())
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    (tmp_path / "old").mkdir()
    (tmp_path / "old").chmod(0o755)
    store(PlanCache(tmp_path / "old"), key())
    assert stat.S_IMODE((tmp_path / "old").stat().st_mode) == 0o755


def test_a_folder_that_others_may_write_into_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(0o1777)
    with pytest.raises(CannotCreateError, match="others may write") as error:
        store(PlanCache(tmp_path / "shared"), key())
    assert "chmod go-w" in str(error.value.mend)
    assert not list((tmp_path / "shared").iterdir())
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o1777


def test_the_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VIGIL_ENGINES", "/var/lib/vigil/engines")
    assert default_folder() == Path("/var/lib/vigil/engines")
    monkeypatch.delenv("VIGIL_ENGINES")
    monkeypatch.setenv("XDG_CACHE_HOME", "/tmp/cache")
    assert default_folder() == Path("/tmp/cache/vigil/engines")


def test_timing_caches_belong_to_a_machine(tmp_path: Path) -> None:
    cache = PlanCache(tmp_path)
    cache.store_timing_cache(HERE, b"times")
    assert cache.timing_cache(HERE).read_bytes() == b"times"
    assert not cache.timing_cache(HERE.model_copy(update={"gpu": "Thor"})).exists()
