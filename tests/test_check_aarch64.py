"""scripts/check_aarch64.py without a network: markers, what is followed, what fails."""

from __future__ import annotations

import importlib.util
import sys
import zipfile
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "check_aarch64", REPOSITORY / "scripts" / "check_aarch64.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def wheel(folder: Path, name: str, version: str, *requires: str) -> Path:
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
        lines += [f"Requires-Dist: {text}" for text in requires]
        archive.writestr(f"{name}-{version}.dist-info/METADATA", "\n".join(lines) + "\n")
    return path


def test_markers_are_those_of_the_device_not_of_this_machine(script: ModuleType) -> None:
    old, new = script.Target("3.10", "aarch64"), script.Target("3.12", "aarch64")
    for text, on_old, on_new in (
        ("a; platform_machine == 'aarch64'", True, True),
        ("a; platform_machine == 'x86_64'", False, False),
        ("a; sys_platform == 'win32'", False, False),
        ("a; python_full_version < '3.11'", True, False),
        ("a; python_version >= '3.11'", False, True),
        ("a; extra == 'gpu'", False, False),
    ):
        requirement = Requirement(text)
        found = [target.applies(requirement, frozenset()) for target in (old, new)]
        assert found == [on_old, on_new], text
    assert old.applies(Requirement("a; extra == 'gpu'"), frozenset({"gpu"}))


def test_a_wheel_for_a_newer_c_library_does_not_fit(script: ModuleType) -> None:
    options = script.Target("3.10", "aarch64").pip_options
    assert "manylinux_2_35_aarch64" in options
    assert "manylinux_2_36_aarch64" not in options
    assert not any("x86" in option for option in options)


def test_each_pin_has_one_version_on_each_python(script: ModuleType) -> None:
    for python in script.GLIBC_MINOR:
        pins = list(script.pins_of(script.Target(python, "aarch64")))
        assert len({name for name, _ in pins}) == len(pins)
        assert dict(pins)["cryptography"].startswith("==")


def test_what_wheels_require_is_followed_and_what_is_missing_is_told(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    there = {
        "numpy": ("9.0", ("deep>=1", "windows-only; sys_platform == 'win32'")),
        "deep": ("1.0", ("numpy", "absent")),
    }

    def download(name: str, wanted: str, target: object, folder: Path) -> tuple[Path | None, str]:
        asked.append(name)
        if name not in there:
            return None, "no matching distribution"
        version, requires = there[name]
        return wheel(folder, name, version, *requires), ""

    monkeypatch.setattr(script, "download", download)
    monkeypatch.setattr(script, "wanted_by_a_device", lambda _: [Requirement("numpy>=1.26")])
    missing = script.check(script.Target("3.10", "aarch64"), tmp_path, ())
    assert asked == ["numpy", "deep", "absent"]
    assert missing == ["absent for Python 3.10: no matching distribution"]
    monkeypatch.setattr(sys, "argv", ["x", "--python", "3.10"])
    assert script.main() == 1
    there["absent"] = ("1.0", ())
    assert script.main() == 0


def test_a_device_needs_what_the_project_says(script: ModuleType) -> None:
    names = {requirement.name for requirement in script.wanted_by_a_device(())}
    assert {"cryptography", "numpy", "onnxruntime"} <= names
    assert "torch" not in names
    assert "pycuda" in {r.name for r in script.wanted_by_a_device(("jetson",))}
    with pytest.raises(SystemExit, match="no extra"):
        script.wanted_by_a_device(("nonsense",))


def test_no_registry_is_named(script: ModuleType) -> None:
    assert script.__file__ is not None
    text = Path(script.__file__).read_text()
    assert "://" not in text
    assert "index-url" not in text
