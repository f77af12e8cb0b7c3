"""The patch store: what goes in comes out, in any order, and never as a whole in memory."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from engines.errors import CannotCreateError, DataError
from trainer.patch_store import (
    DATA_NAME,
    DESCRIPTION_NAME,
    PatchStore,
    PatchWriter,
    decode_patches,
    encode_patches,
    spread,
)


def some_patches(n: int, side: int = 8, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (n, side, side, 3), dtype=np.uint8)


def write(folder: Path, patches: NDArray[np.uint8]) -> PatchStore:
    with PatchWriter(folder, patch=patches.shape[1]) as writer:
        writer.write(np.arange(len(patches)), patches)
        writer.finish({"made": "here"})
    return PatchStore(folder)


def test_patches_come_back_in_the_order_asked_for(tmp_path: Path) -> None:
    patches = some_patches(500)
    with write(tmp_path, patches) as store:
        wanted = np.random.default_rng(1).permutation(500)[:123]
        np.testing.assert_array_equal(store.read(wanted), patches[wanted])
        assert store.notes == {"made": "here"}
        assert store.read(np.empty(0, np.int64)).shape == (0, 8, 8, 3)


def test_the_file_is_an_ordinary_npy(tmp_path: Path) -> None:
    patches = some_patches(37)
    write(tmp_path, patches)
    np.testing.assert_array_equal(np.load(tmp_path / DATA_NAME), patches)


def test_clips_lie_one_after_the_other_and_slots_may_be_overwritten(tmp_path: Path) -> None:
    patches = some_patches(10)
    with PatchWriter(tmp_path, patch=8) as writer:
        writer.write(np.array([2, 0, 1]), patches[:3])
        writer.write(np.array([1]), patches[3:4])
        assert writer.end_clip() == 3
        assert writer.end_clip() == 0
        writer.write(np.array([0, 1]), patches[4:6])
        writer.finish({})
    stored = np.load(tmp_path / DATA_NAME)
    np.testing.assert_array_equal(stored, patches[[1, 3, 0, 4, 5]])


def test_one_byte_is_kept_exactly_by_encode_and_decode() -> None:
    patches = some_patches(4)
    floats = decode_patches(patches)
    assert floats.shape == (4, 3, 8, 8)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(encode_patches(floats), patches)
    assert encode_patches(np.full((1, 3, 2, 2), 0.5, np.float32)).max() == 128
    outside = np.array([-1.0, 2.0, 0.25, 1.0], np.float32).reshape(1, 1, 2, 2).repeat(3, 1)
    assert encode_patches(outside)[0, :, :, 0].tolist() == [[0, 255], [64, 255]]


def test_an_epoch_holds_every_patch_once_but_an_incomplete_batch(tmp_path: Path) -> None:
    numbers = np.arange(1037, dtype=np.int64)
    patches = np.zeros((1037, 8, 8, 3), np.uint8)
    patches[:, 0, 0, 0], patches[:, 0, 0, 1] = numbers % 256, numbers // 256
    with write(tmp_path, patches) as store:
        epochs = []
        for seed in (0, 0, 1):
            pieces = [p for _, p in store.shuffled(np.random.default_rng(seed), batch=50)]
            assert {len(piece) for piece in pieces} == {50}
            both = np.concatenate(pieces)[:, 0, 0].astype(np.int64)
            epochs.append(both[:, 0] + 256 * both[:, 1])
    assert len(set(epochs[0].tolist())) == 1000
    np.testing.assert_array_equal(epochs[0], epochs[1])
    assert (epochs[0] != epochs[2]).any()
    assert (np.diff(epochs[0]) < 0).mean() > 0.4  # shuffled inside a batch as well


def test_the_parts_of_all_processes_make_up_the_batch_of_one(tmp_path: Path) -> None:
    with write(tmp_path, some_patches(230)) as store:
        whole = list(store.shuffled(np.random.default_rng(4), batch=25))
        parts = [
            list(store.shuffled(np.random.default_rng(4), batch=25, part=(rank, 3)))
            for rank in range(3)
        ]
    for step, (_, batch) in enumerate(whole):
        rebuilt = np.zeros_like(batch)
        for part in parts:
            place, patches = part[step]
            rebuilt[place] = patches
        np.testing.assert_array_equal(rebuilt, batch)


def test_a_store_smaller_than_a_batch_is_one_batch(tmp_path: Path) -> None:
    with write(tmp_path, some_patches(7)) as store:
        batches = list(store.shuffled(np.random.default_rng(0), batch=100))
    assert len(batches) == 1
    assert len(batches[0][1]) == 7


def test_ordered_reading_is_spread_evenly_and_shared(tmp_path: Path) -> None:
    patches = some_patches(100)
    with write(tmp_path, patches) as store:
        indices = [i for i, _ in store.ordered(batch=4, limit=10)]
        assert np.concatenate(indices).tolist() == list(range(0, 100, 10))
        shared = [
            np.concatenate([i for i, _ in store.ordered(batch=3, part=(rank, 2))])
            for rank in range(2)
        ]
    assert sorted(np.concatenate(shared).tolist()) == list(range(100))
    assert spread(5, None).tolist() == spread(5, 9).tolist() == [0, 1, 2, 3, 4]


def test_an_interrupted_writer_leaves_no_store(tmp_path: Path) -> None:
    def interrupted() -> None:
        with PatchWriter(tmp_path, patch=8) as writer:
            writer.write(np.arange(3), some_patches(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not PatchStore.exists(tmp_path)
    with pytest.raises(DataError, match="no readable patch store"):
        PatchStore(tmp_path)


def test_a_new_writer_removes_the_old_store_first(tmp_path: Path) -> None:
    write(tmp_path, some_patches(3))
    assert PatchStore.exists(tmp_path)
    with PatchWriter(tmp_path, patch=8):
        assert not PatchStore.exists(tmp_path)


def test_a_truncated_store_is_refused(tmp_path: Path) -> None:
    write(tmp_path, some_patches(30)).close()
    data = (tmp_path / DATA_NAME).read_bytes()
    (tmp_path / DATA_NAME).write_bytes(data[:-1])
    with pytest.raises(DataError, match="says"):
        PatchStore(tmp_path)
    (tmp_path / DESCRIPTION_NAME).write_text("{}")
    with pytest.raises(DataError, match="lacks keys"):
        PatchStore(tmp_path)


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotCreateError) as caught, PatchWriter(tmp_path / "file", patch=8):
        pass
    assert str(tmp_path / "file") in str(caught.value)


MEASURE = """
import json, resource, sys
from pathlib import Path
import numpy as np
from trainer.patch_store import PatchStore

def address_space():
    return int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()

store = PatchStore(Path(sys.argv[1]))
size = store.count * store.patch ** 2 * 3
cap = address_space() + size // 4
resource.setrlimit(resource.RLIMIT_AS, (cap, cap))
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seen = sum(len(p) for _, p in store.shuffled(np.random.default_rng(0), batch=500))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    whole = np.load(Path(sys.argv[1]) / "patches.npy", mmap_mode="r")
    mapped = True
except OSError:
    mapped = False
print(json.dumps({"size": size, "seen": seen, "grew": (after - before) * 1024, "mapped": mapped}))
"""


def test_a_store_four_times_the_memory_limit_is_read_whole(tmp_path: Path) -> None:
    """Under a limit of a quarter of the store an epoch runs; even a memory map would be refused."""
    side, count = 64, 20_000
    with PatchWriter(tmp_path, patch=side) as writer:
        # Only the last patch is written: the file is sparse and costs the disk nothing.
        writer.write(np.array([count - 1]), some_patches(1, side))
        writer.finish({})
    result = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={"OPENBLAS_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    measured = json.loads(result.stdout)
    assert measured["size"] == count * side * side * 3 > 200e6
    assert measured["seen"] == count
    assert not measured["mapped"]
    assert measured["grew"] < measured["size"] / 2
