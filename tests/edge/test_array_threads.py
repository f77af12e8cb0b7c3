"""NumPy's matrix products and OpenCV run on one thread, unless the user says otherwise."""

import json
import os
import subprocess
import sys
from typing import Any

import pytest

LOOK = """
import json, os, sys
from edge.cli.main import main
try:
    main(["bench", "--help"])
except SystemExit:
    pass
from threadpoolctl import threadpool_info
import cv2
print(json.dumps({
    "variable": os.environ["OPENBLAS_NUM_THREADS"],
    "opencv": cv2.getNumThreads(),
    "threads": [p["num_threads"] for p in threadpool_info() if p["internal_api"] == "openblas"],
    "numpy": "numpy" in sys.modules,
}))
"""


VARIABLES = ("OPENBLAS_NUM_THREADS", "OPENCV_FOR_THREADS_NUM")


def look(**variables: str) -> dict[str, Any]:
    kept = {key: value for key, value in os.environ.items() if key not in VARIABLES}
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**kept, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_one_thread() -> None:
    found = look()
    assert found["numpy"]
    assert found["opencv"] == 1
    if not found["threads"]:
        pytest.skip("this NumPy does not use OpenBLAS")
    assert set(found["threads"]) == {1}


def test_what_the_user_has_set_stays() -> None:
    found = look(OPENBLAS_NUM_THREADS="3", OPENCV_FOR_THREADS_NUM="2")
    assert found["variable"] == "3"
    assert found["opencv"] == 2
