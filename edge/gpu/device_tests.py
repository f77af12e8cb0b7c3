"""Runs the tests of the CUDA twins on this machine's GPU, in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

FOLDERS: Final = ("tests/edge/vision/cuda", "tests/edge/gpu")
_LIMIT_S: Final = 1800.0


@dataclass(frozen=True)
class TestRun:
    """What pytest said: exit code, last line, and the tests that failed."""

    __test__ = False  # no test of pytest's

    passed: bool
    summary: str
    failed: tuple[str, ...]


def checkout() -> Path | None:
    """The folder that holds the tests; None in an installation without them."""
    root = Path(__file__).resolve().parents[2]
    return root if all((root / folder).is_dir() for folder in FOLDERS) else None


def run_device_tests(
    root: Path, folders: tuple[str, ...] = FOLDERS, *, limit_s: float = _LIMIT_S
) -> TestRun:
    """Run the tests with VIGIL_TEST_GPU=1; pytest's own output stays out of the way."""
    command = [sys.executable, "-m", "pytest", "-q", "--tb=no", "-p", "no:cacheprovider", *folders]
    try:
        done = subprocess.run(  # our own interpreter and folders
            command,
            cwd=root,
            env={**os.environ, "VIGIL_TEST_GPU": "1"},
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return TestRun(False, f"not done after {limit_s:.0f} s", ())
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    failed = tuple(line for line in lines if line.startswith(("FAILED ", "ERROR ")))
    return TestRun(done.returncode == 0, lines[-1] if lines else "no output", failed)
