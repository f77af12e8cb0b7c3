"""Every kernel compiles for every supported GPU, with the compilers of both JetPacks."""

from __future__ import annotations

import importlib.metadata
import re
from pathlib import Path

import pytest

from edge.vision.cuda import cubins, nvrtc
from edge.vision.cuda.cubins import load_cubins
from edge.vision.cuda.device import Buffer
from edge.vision.cuda.kernels import Kernel, kernel, kernels, sources
from edge.vision.cuda.nvrtc import Nvrtc, installed, open_nvrtc
from engines.errors import InternalError, UnavailableError

# JetPack 6 (Orin) has CUDA 12.6, JetPack 7 (Thor, and Orin) CUDA 13.
ORIN, HOPPER, THOR = 87, 90, 110


@pytest.fixture(scope="module")
def compilers() -> dict[int, Nvrtc]:
    """By major version of CUDA; both are in the extra `dev`."""
    packages = ("nvidia-cuda-nvrtc-cu12", "nvidia-cuda-nvrtc")
    for package in packages:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed (extra dev)")
    return {one.version[0]: one for one in map(Nvrtc, installed())}


def elf_machine(cubin: bytes) -> int:
    return int.from_bytes(cubin[18:20], "little")


@pytest.mark.parametrize(
    ("cuda", "architecture"), [(12, ORIN), (13, ORIN), (13, HOPPER), (13, THOR)]
)
def test_all_kernels_compile(compilers: dict[int, Nvrtc], cuda: int, architecture: int) -> None:
    compiled = load_cubins(compilers[cuda], architecture, cache=None)
    assert set(compiled) == set(sources())
    for file, cubin in compiled.items():
        assert cubin[:4] == b"\x7fELF"
        assert elf_machine(cubin) == 190  # EM_CUDA
        for one in kernels().values():
            if one.file == file:
                assert f".text.{one.name}".encode() in cubin


def test_the_compilers_are_those_of_the_devices(compilers: dict[int, Nvrtc]) -> None:
    assert compilers[12].version == (12, 6)
    assert compilers[13].version == (13, 0)
    assert {ORIN, HOPPER} <= set(compilers[12].architectures)
    assert {ORIN, HOPPER, THOR} <= set(compilers[13].architectures)


def test_a_gpu_that_the_compiler_does_not_know_is_named(compilers: dict[int, Nvrtc]) -> None:
    with pytest.raises(UnavailableError, match=r"capability 11\.0, NVRTC 12\.6 compiles") as caught:
        compilers[12].compile("", name="none.cu", architecture=THOR)
    assert caught.value.mend


def test_a_compilers_message_reaches_the_error(compilers: dict[int, Nvrtc]) -> None:
    with pytest.raises(InternalError, match=r"wrong\.cu\(1\): error.*nonsense"):
        compilers[13].compile("nonsense x;", name="wrong.cu", architecture=ORIN)


def test_the_newest_compiler_that_the_driver_can_follow_is_taken(
    compilers: dict[int, Nvrtc],
) -> None:
    both = installed()
    assert open_nvrtc(both, driver=13).version[0] == 13
    assert open_nvrtc(both, driver=12).version[0] == 12
    with pytest.raises(UnavailableError, match=r"13\.0, 12\.6 is newer .* CUDA 11") as caught:
        open_nvrtc(both, driver=11)
    assert caught.value.mend


def test_without_nvrtc_the_error_says_what_to_install() -> None:
    with pytest.raises(UnavailableError, match="is not installed") as caught:
        open_nvrtc([])
    assert "pip install nvidia-cuda-nvrtc-cu12" in str(caught.value.mend)


def test_a_library_that_is_none_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "libnvrtc.so.12"
    broken.write_bytes(b"no library")
    with pytest.raises(UnavailableError, match="cannot be loaded") as caught:
        Nvrtc(broken)
    assert caught.value.where == str(broken)
    assert caught.value.mend


def test_cubins_are_kept_and_compiled_again_only_when_they_must(
    compilers: dict[int, Nvrtc], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = min(sources(), key=lambda path: path.stat().st_size)
    monkeypatch.setattr(cubins, "sources", lambda: [file])
    compiled: list[int] = []
    real = Nvrtc.compile

    def counting(self: Nvrtc, source: str, *, name: str, architecture: int) -> bytes:
        compiled.append(architecture)
        return real(self, source, name=name, architecture=architecture)

    monkeypatch.setattr(Nvrtc, "compile", counting)
    first = load_cubins(compilers[13], ORIN, cache=tmp_path)
    assert load_cubins(compilers[13], ORIN, cache=tmp_path) == first
    assert compiled == [ORIN]
    load_cubins(compilers[13], THOR, cache=tmp_path)
    load_cubins(compilers[12], ORIN, cache=tmp_path)
    assert compiled == [ORIN, THOR, ORIN]
    for kept in tmp_path.iterdir():  # a power cut, or a full disk
        kept.write_bytes(kept.read_bytes()[:-5])
    assert load_cubins(compilers[13], ORIN, cache=tmp_path) == first
    assert len(compiled) == 4


def test_the_cache_is_where_caches_belong(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cubins.cache_folder() == tmp_path / "vigil" / "cubins"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cubins.cache_folder() == tmp_path / ".cache" / "vigil" / "cubins"


def test_every_kernel_of_the_sources_is_found() -> None:
    count = sum(file.read_text().count("__global__") for file in sources())
    assert len(kernels()) == count
    assert kernel("moved_pixels").parameters == "PPPii"
    assert kernel("refine").parameters == "PPPPPiiiiffff"


def test_sources_need_no_header() -> None:
    """A device has NVRTC, but perhaps no toolkit."""
    include = re.compile(r"^\s*#\s*include", re.MULTILINE)
    assert not [file for file in sources() if include.search(file.read_text())]


def test_arguments_are_checked_against_the_source() -> None:
    one = Kernel("k", Path("k.cu"), "Pif")
    buffer = Buffer(0, (1,), None, None)  # type: ignore[arg-type]
    one.check((buffer, 3, 0.5))
    for wrong in ((buffer, 3), (buffer, 3, 4), (3, buffer, 0.5), (buffer, 0.5, 0.5)):
        with pytest.raises(InternalError, match="takes Pif, it was given"):
            one.check(wrong)
    with pytest.raises(InternalError, match="no kernel nothing"):
        kernel("nothing")


def test_options_keep_the_cpus_rounding() -> None:
    assert "--fmad=false" in nvrtc.OPTIONS
