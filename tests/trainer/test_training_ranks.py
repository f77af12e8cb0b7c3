"""Two processes under torchrun follow the loss curve of one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from support import tiny_stream
from support.tiny_stream import train_tiny, write_stores

from engines.errors import UsageError
from trainer.distributed import single
from trainer.training_loop import HISTORY_NAME

REPOSITORY = Path(__file__).parents[2]
# Relative; float32 sums in another order, carried through 150 steps of Adam and one EM.
TOLERANCE = 1e-3


def test_two_processes_equal_one(tmp_path: Path) -> None:
    write_stores(tmp_path / "stores", count=490, held_out=75)
    alone = train_tiny(tmp_path / "stores", tmp_path / "one")
    assert alone is not None
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
    command += ["--master-addr", "127.0.0.1", "--master-port", "0", "--rdzv-backend", "c10d"]
    command += ["--rdzv-endpoint", "127.0.0.1:0", tiny_stream.__file__]
    result = subprocess.run(
        [*command, str(tmp_path / "stores"), str(tmp_path / "two")],
        env={
            **os.environ,
            "PYTHONPATH": f"{REPOSITORY}:{REPOSITORY / 'tests'}",
            "OMP_NUM_THREADS": "1",
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr[-3000:]
    lines = (tmp_path / "two" / HISTORY_NAME).read_text().splitlines()
    together = [json.loads(line) for line in lines]
    assert [r["stage"] for r in together] == [r["stage"] for r in alone.history]
    for record, reference in zip(together, alone.history, strict=True):
        if record["stage"] == "mixture":
            assert abs(record["fit_likelihood"] - reference["fit_likelihood"]) < 0.01
            continue
        # 24 steps an epoch: every point of the curve is one step.
        assert len(record["curve"]) == 24
        np.testing.assert_allclose(record["curve"], reference["curve"], rtol=TOLERANCE)
        for key in ("loss", "kl", "squared_error", "energy_mean", "energy_min"):
            assert abs(record["held_out"][key] / reference["held_out"][key] - 1) < 5 * TOLERANCE
        norms = record["gradient_norm"], reference["gradient_norm"]
        np.testing.assert_allclose(*norms, rtol=5 * TOLERANCE)
    assert (tmp_path / "two" / "encoder.onnx").is_file()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_gpu_that_is_not_there_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="finds no GPU"):
        single("cuda")
