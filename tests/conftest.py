"""What every test may ask for: the real footage, and calm settings for the libraries."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).resolve().parent.parent
IN_CI = os.environ.get("CI") == "true"

# Shared machines stall; a slow example is no wrong example. CI repeats the same examples.
settings.register_profile("vigil", deadline=None, derandomize=IN_CI)
settings.load_profile("vigil")


@pytest.fixture(scope="session")
def footage() -> Path:
    """Folder with `ucsd_ped2` and `video`: VIGIL_FOOTAGE, else ../shared/data."""
    root = Path(os.environ.get("VIGIL_FOOTAGE", REPOSITORY.parent / "shared" / "data"))
    if (root / "ucsd_ped2").is_dir() and (root / "video").is_dir():
        return root
    reason = f"no real footage in {root} (ucsd_ped2, video); set VIGIL_FOOTAGE"
    if IN_CI:
        pytest.fail(reason)
    pytest.skip(reason)
