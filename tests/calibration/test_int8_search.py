"""The search leaves out the planted harmful layer, and only where the gate asks for it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.small_networks import LATENT, beside_a_loud_part, convolutional, patches

from calibration import int8_search
from calibration.int8_search import Int8Network, Pair, quantise
from calibration.parity import LIMITS, RANK_PATCHES, Energy
from engines.backends.onnxruntime_cpu import OnnxRuntimeCpu
from engines.errors import DataError
from engines.qdq_check import build_problems

PATCHES = patches(240)
FIRST_HARMS = 400.0


def latents(network: bytes, batch: np.ndarray, tmp_path: Path) -> np.ndarray:
    file = tmp_path / "network.onnx"
    file.write_bytes(network)
    backend = OnnxRuntimeCpu(input_name="patches", output_name="latent", threads=1)
    backend.load(file)
    return backend.infer(batch)


def energy_around(middle: np.ndarray) -> Energy:
    return lambda z: ((z.astype(np.float64) - middle) ** 2).sum(axis=1)


def search(network: bytes, tmp_path: Path, **changes: object) -> tuple[Int8Network, list[str]]:
    expected = latents(network, PATCHES, tmp_path)
    said: list[str] = []
    golden: Pair = (PATCHES[:8], expected[:8])
    arguments: dict[str, object] = {
        "golden": golden,
        "energy": energy_around(expected.mean(axis=0)),
        "input_name": "patches",
        "output_name": "latent",
        "threads": 1,
        "progress": said.append,
        **changes,
    }
    return quantise(network, PATCHES, **arguments), said  # type: ignore[arg-type]


def test_a_network_without_trouble_is_quantised_whole(tmp_path: Path) -> None:
    result, said = search(convolutional(), tmp_path)
    assert result.skipped == ()
    assert (result.layers, result.patches) == (4, 120)
    assert result.report.rank is not None
    assert result.report.rank >= LIMITS["int8"].rank
    assert build_problems(result.network) == ()
    assert not [line for line in said if "alone" in line]


def test_the_harmful_layer_stays_in_fp32(tmp_path: Path) -> None:
    """One channel of 'a' is 400 times too large: the layer that reads 'a' loses the others."""
    result, said = search(convolutional(spike=FIRST_HARMS), tmp_path)
    assert result.skipped == ("depthwise",)
    assert result.report.rank is not None
    assert result.report.rank >= LIMITS["int8"].rank
    assert any(line.startswith("2 layers in FP32") for line in said)
    found = latents(result.network, PATCHES, tmp_path)
    exact = latents(convolutional(spike=FIRST_HARMS), PATCHES, tmp_path)
    # The report is what the written file gives on the second half, not what was hoped for.
    relative = np.linalg.norm(found[120:] - exact[120:]) / np.linalg.norm(exact[120:])
    assert result.report.relative == pytest.approx(relative, rel=1e-3)


def test_harm_is_that_to_the_energy_not_to_large_numbers(tmp_path: Path) -> None:
    network = beside_a_loud_part(convolutional(spike=FIRST_HARMS))
    middle = latents(network, PATCHES, tmp_path).mean(axis=0)[:LATENT]
    quiet = energy_around(middle)
    result, _ = search(network, tmp_path, energy=lambda z: quiet(z[:, :LATENT]))
    assert result.skipped == ("depthwise",)


def test_an_energy_that_no_int8_keeps_is_refused(tmp_path: Path) -> None:
    def noise(z: np.ndarray) -> np.ndarray:
        return np.sin(1e6 * z.astype(np.float64).sum(axis=1))

    with pytest.raises(DataError, match="INT8 changes too much even with 2 of 4 layers") as error:
        search(convolutional(), tmp_path, energy=noise)
    assert "stay with FP16" in str(error.value.mend)


def test_golden_patches_must_pass_as_well(tmp_path: Path) -> None:
    foreign = (PATCHES[:8], np.ones((8, LATENT), np.float32))
    with pytest.raises(DataError, match="parity patches, cosine"):
        search(convolutional(), tmp_path, golden=foreign)


def test_too_few_patches_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 100 patches, found 99"):
        quantise(
            convolutional(),
            PATCHES[:99],
            golden=(PATCHES[:1], np.zeros((1, LATENT), np.float32)),
            energy=energy_around(np.zeros(LATENT)),
            input_name="patches",
            output_name="latent",
        )


def test_harm_is_that_of_the_worst_backend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second backend spoils whatever has the layer `point` in INT8."""

    class Spoiling(OnnxRuntimeCpu):
        name = "spoiling"
        spoils = False

        def load(self, file: Path) -> None:
            super().load(file)
            self.spoils = b"point.weight.int8" in file.read_bytes()

        def infer(self, batch: np.ndarray) -> np.ndarray:
            found = super().infer(batch)
            return found[::-1] if self.spoils else found

    expected = latents(convolutional(), PATCHES, tmp_path)
    golden = (PATCHES[:RANK_PATCHES], expected[:RANK_PATCHES])
    monkeypatch.setattr(int8_search, "_gatekeepers", lambda: [OnnxRuntimeCpu, Spoiling])
    assert search(convolutional(), tmp_path, golden=golden)[0].skipped == ("point",)


def test_every_backend_that_will_be_asked_is_asked_now(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second backend whose rounding spoils the order on the golden patches: no layer will do."""

    class Spoiling(OnnxRuntimeCpu):
        name = "spoiling"

        def infer(self, batch: np.ndarray) -> np.ndarray:
            return super().infer(batch)[::-1]

    expected = latents(convolutional(), PATCHES, tmp_path)
    golden = (PATCHES[:RANK_PATCHES], expected[:RANK_PATCHES])
    assert search(convolutional(), tmp_path, golden=golden)[0].skipped == ()
    monkeypatch.setattr(int8_search, "_gatekeepers", lambda: [OnnxRuntimeCpu, Spoiling])
    with pytest.raises(DataError, match="INT8 changes too much") as error:
        search(convolutional(), tmp_path, golden=golden)
    assert "spoiling" in error.value.what
