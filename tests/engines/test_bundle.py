"""A bundle is whole, or it is refused with a reason; nothing in it is trusted unchecked."""

import json
from pathlib import Path

import numpy as np
import pytest
from support.small_bundles import restamp, rewrite, small_bundle

from engines.bundle import (
    BundleFile,
    encode_arrays,
    load_bundle,
    read_arrays,
    replace_alarm,
    write_bundle,
)
from engines.errors import CannotCreateError, DataError, InputMissingError
from engines.manifest import Manifest


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return small_bundle(tmp_path / "bundle").root


def test_a_bundle_comes_back_as_it_was_written(root: Path) -> None:
    bundle = load_bundle(root)
    assert [stream.name for stream in bundle.model.streams] == ["appearance", "motion"]
    assert bundle.alarm is not None
    assert bundle.alarm.extrapolated
    listed = {entry.path for entry in bundle.manifest.files}
    found = {str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()}
    assert found == listed | {"manifest.json"}


def test_manifest_bytes_are_canonical(root: Path) -> None:
    data = (root / "manifest.json").read_bytes()
    assert Manifest.model_validate_json(data).encode() == data
    assert b"." not in data.replace(b'"', b"").split(b"schema_version:")[1][:1]


def test_one_changed_byte_in_any_file_is_found(root: Path) -> None:
    for entry in load_bundle(root).manifest.files:
        path = root / entry.path
        original = path.read_bytes()
        changed = bytearray(original)
        changed[len(changed) // 2] ^= 1
        path.write_bytes(changed)
        with pytest.raises(DataError, match="hash"):
            load_bundle(root)
        path.write_bytes(original)
    load_bundle(root)


def test_a_truncated_file_is_found_by_its_size(root: Path) -> None:
    path = root / "networks/appearance.fp32.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match="bytes, the manifest says"):
        load_bundle(root)


def test_a_missing_file_and_a_link_are_found(root: Path, tmp_path: Path) -> None:
    path = root / "heads/appearance.npz"
    elsewhere = tmp_path / "elsewhere.npz"
    path.rename(elsewhere)
    with pytest.raises(DataError, match="missing"):
        load_bundle(root)
    path.symlink_to(elsewhere)
    with pytest.raises(DataError, match="regular"):
        load_bundle(root)


def test_a_bundle_of_a_newer_schema_says_so_before_anything_else(root: Path) -> None:
    rewrite(root, lambda raw: raw.update(schema_version=99, surprise="field"))
    with pytest.raises(DataError, match="99, this vigil knows up to 2"):
        load_bundle(root)


def test_a_model_of_a_newer_schema_says_so(root: Path) -> None:
    raw = json.loads((root / "model.json").read_bytes())
    raw["schema_version"] = 7
    (root / "model.json").write_text(json.dumps(raw))
    restamp(root, "model.json")
    with pytest.raises(DataError, match="schema_version is 7"):
        load_bundle(root)


@pytest.mark.parametrize(
    "path", ["../escape", "/etc/passwd", "a//b", "a/../b", "A.onnx", "x" * 300, "a\\b", "", "."]
)
def test_paths_that_could_leave_the_folder_are_refused(root: Path, path: str) -> None:
    rewrite(root, lambda raw: raw["files"][0].update(path=path))
    with pytest.raises(DataError, match="path"):
        load_bundle(root)


def test_a_file_listed_twice_is_refused(root: Path) -> None:
    rewrite(root, lambda raw: raw["files"].append(raw["files"][0]))
    with pytest.raises(DataError, match="listed twice"):
        load_bundle(root)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(root: Path, data: bytes) -> None:
    (root / "manifest.json").write_bytes(data)
    with pytest.raises(DataError):
        load_bundle(root)


def test_a_giant_manifest_is_not_even_parsed(root: Path) -> None:
    (root / "manifest.json").write_bytes(b" " * 300_000)
    with pytest.raises(DataError, match="at most"):
        load_bundle(root)


def test_nan_in_any_array_is_refused_by_name(root: Path) -> None:
    path = root / "heads/appearance.npz"
    arrays = {key: value.copy() for key, value in read_arrays(path).items()}
    arrays["means"][0, 0] = np.nan
    path.write_bytes(encode_arrays(arrays))
    restamp(root, "heads/appearance.npz")
    bundle = load_bundle(root)
    with pytest.raises(DataError, match=r"'means'.*NaN"):
        bundle.arrays("heads/appearance.npz")


def test_pickled_objects_are_never_loaded(root: Path) -> None:
    path = root / "heads/appearance.npz"
    np.savez(path, weights=np.array([{"a": 1}], dtype=object), allow_pickle=True)
    restamp(root, "heads/appearance.npz")
    with pytest.raises(DataError, match="readable"):
        load_bundle(root).arrays("heads/appearance.npz")


def test_folders_that_are_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(InputMissingError, match="no such"):
        load_bundle(tmp_path / "nowhere")
    with pytest.raises(InputMissingError, match="not a bundle"):
        load_bundle(tmp_path)


def test_writing_never_clears_a_folder_that_is_not_a_bundle(root: Path, tmp_path: Path) -> None:
    bundle = load_bundle(root)
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "wedding.jpg").write_bytes(b"x")
    with pytest.raises(CannotCreateError, match="not a bundle"):
        write_bundle(precious, model=bundle.model, alarm=None, files=[])
    assert (precious / "wedding.jpg").exists()


def test_a_new_alarm_changes_the_alarm_and_nothing_else(root: Path) -> None:
    before = load_bundle(root)
    assert before.alarm is not None
    alarm = before.alarm.model_copy(update={"threshold": 42.0})
    after = replace_alarm(before, alarm)
    assert after.alarm == alarm
    assert after.model == before.model
    assert after.digest != before.digest
    old = {e.path: e.sha256 for e in before.manifest.files if e.path != "alarm.json"}
    new = {e.path: e.sha256 for e in after.manifest.files if e.path != "alarm.json"}
    assert old == new


def test_arrays_encode_to_the_same_bytes_each_time() -> None:
    arrays = {"b": np.arange(5.0), "a": np.eye(2)}
    assert encode_arrays(arrays) == encode_arrays(dict(reversed(arrays.items())))


def test_a_file_that_the_manifest_does_not_list_is_not_served(root: Path) -> None:
    (root / "heads/extra.npz").write_bytes(b"x")
    with pytest.raises(DataError, match="does not list"):
        load_bundle(root).path("heads/extra.npz")


def test_bundle_file_is_plain_data() -> None:
    assert BundleFile("a", "head", b"x").data == b"x"
