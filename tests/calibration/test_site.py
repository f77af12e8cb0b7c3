"""A site calibration as a file, and which bundle it belongs to."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bundles import tiny_bundle
from support.sites import SHAPE, calibration, statistics

from calibration.site import evidence_of, pooling_of, read_site
from calibration.stream_statistics import StreamStatistics
from engines.bundle import encode_arrays
from engines.errors import DataError, VigilError


def test_what_is_written_is_read_to_the_last_bit(tmp_path: Path) -> None:
    one = calibration(2.5)
    path = tmp_path / "0001.npz"
    path.write_bytes(one.encode())
    back = read_site(path)
    assert back.record == one.record
    assert set(back.statistics) == {"motion"}
    for key, array in one.statistics["motion"].to_arrays().items():
        np.testing.assert_array_equal(back.statistics["motion"].to_arrays()[key], array)


@settings(max_examples=80)
@given(place=st.floats(0, 1), flip=st.integers(1, 255))
def test_a_damaged_file_is_refused_and_never_half_read(
    tmp_path_factory: pytest.TempPathFactory, place: float, flip: int
) -> None:
    one = calibration()
    data = bytearray(one.encode())
    data[int(place * (len(data) - 1))] ^= flip
    path = tmp_path_factory.mktemp("site") / "0001.npz"
    path.write_bytes(bytes(data))
    try:
        back = read_site(path)
    except VigilError:
        return
    assert back.record == one.record  # a byte of the archive that says nothing (a time, a flag)
    for key, array in one.statistics["motion"].to_arrays().items():
        np.testing.assert_array_equal(back.statistics["motion"].to_arrays()[key], array)


@pytest.mark.parametrize("length", [0, 1, 100, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, length: int) -> None:
    path = tmp_path / "0001.npz"
    path.write_bytes(calibration().encode()[:length])
    with pytest.raises(DataError):
        read_site(path)


def test_a_file_without_a_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "0001.npz"
    path.write_bytes(encode_arrays({"x": np.zeros(3)}))
    with pytest.raises(DataError, match="record"):
        read_site(path)


def test_it_belongs_to_one_bundle(tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", workspace=tmp_path)
    calibration(bundle=bundle.digest).require_fit(bundle)
    with pytest.raises(DataError, match="was made with bundle 000000000000"):
        calibration().require_fit(bundle)


def test_evidence_counts_cells() -> None:
    rows = np.repeat([0, 1], [30, 5])
    one = StreamStatistics.fit(np.arange(35.0), rows, np.zeros(35, np.int64), SHAPE)
    seen = evidence_of(one, 35)
    assert (seen.samples, seen.cells, seen.cells_few, seen.median_per_cell) == (35, 12, 11, 0.0)


@pytest.mark.parametrize("pooling", ["cell", "neighbourhood", "picture"])
def test_new_statistics_are_pooled_as_the_bundle_s_were(pooling: str) -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.integers(0, 3, 2000), rng.integers(0, 4, 2000)
    energies = rng.normal(size=2000) + rows
    one = StreamStatistics.fit(energies, rows, columns, SHAPE, pooling=pooling)  # type: ignore[arg-type]
    head = "identity" if pooling == "neighbourhood" else "mixture"
    assert pooling_of(one, head=head) == pooling
    assert statistics().cells.shape == SHAPE
