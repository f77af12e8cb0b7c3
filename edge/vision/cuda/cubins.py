"""Compiled kernels for one GPU: from the cache, or compiled now and kept."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from edge.vision.cuda.kernels import sources
from edge.vision.cuda.nvrtc import OPTIONS, Nvrtc
from engines.atomic import write_bytes


def cache_folder() -> Path:
    """Where cubins are kept: $XDG_CACHE_HOME/vigil/cubins, or ~/.cache/vigil/cubins."""
    root = os.environ.get("XDG_CACHE_HOME")
    return (Path(root) if root else Path.home() / ".cache") / "vigil" / "cubins"


def load_cubins(nvrtc: Nvrtc, architecture: int, *, cache: Path | None) -> dict[Path, bytes]:
    """Cubins of all `.cu` files, by file.

    A cached one is taken only if source, options, compiler and GPU are the same; its name is a hash
    of all four, and its first bytes are a hash of the rest, so a damaged one is compiled again.

    Args:
        nvrtc: The compiler.
        architecture: Compute capability, as 87 for 8.7.
        cache: Folder to keep them in; None compiles each time.

    Raises:
        UnavailableError: The compiler does not know the GPU.
        InternalError: A source does not compile.
        CannotCreateError: The folder cannot be written.
    """
    return {file: _load(nvrtc, file, architecture, cache) for file in sources()}


def _load(nvrtc: Nvrtc, file: Path, architecture: int, cache: Path | None) -> bytes:
    source = file.read_text(encoding="utf-8")
    if cache is None:
        return nvrtc.compile(source, name=file.name, architecture=architecture)
    key = hashlib.sha256(repr((source, OPTIONS, nvrtc.version, architecture)).encode()).hexdigest()
    kept = cache / f"{file.stem}-sm_{architecture}-{key[:16]}.cubin"
    cubin = _read(kept)
    if cubin is None:
        cubin = nvrtc.compile(source, name=file.name, architecture=architecture)
        write_bytes(kept, hashlib.sha256(cubin).digest() + cubin)
    return cubin


def _read(kept: Path) -> bytes | None:
    """A kept cubin, or None if it is missing, cannot be read or is damaged."""
    try:
        data = kept.read_bytes()
    except OSError:
        return None
    digest, cubin = data[:32], data[32:]
    return cubin if hashlib.sha256(cubin).digest() == digest else None
