"""Which calibration counts, at every moment of its life."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.sites import calibration

from calibration.site_store import MOST_BEFORE, SiteStore
from engines import atomic
from engines.errors import DataError, UsageError


def threshold(store: SiteStore) -> float | None:
    found = store.active()
    return None if found is None else found[1].record.alarm.threshold


def learned(store: SiteStore, value: float) -> None:
    store.propose(calibration(value))
    store.accept()


def test_a_proposal_does_not_count_until_it_is_accepted(tmp_path: Path) -> None:
    store = SiteStore(tmp_path / "site")
    assert store.active() is None
    with pytest.raises(UsageError):
        store.accept()
    assert not store.folder.exists()  # asking writes nothing
    store.propose(calibration(1.5))
    assert threshold(store) is None
    assert store.proposed().record.alarm.threshold == 1.5
    assert store.accept() == 1
    assert threshold(SiteStore(store.folder)) == 1.5
    with pytest.raises(UsageError):
        store.accept()


def test_undo_goes_back_step_by_step_and_can_be_taken_back(tmp_path: Path) -> None:
    store = SiteStore(tmp_path)
    learned(store, 1.5)
    learned(store, 2.5)
    assert store.undo() == 1
    assert threshold(store) == 1.5
    assert store.undo() is None
    assert store.active() is None
    with pytest.raises(UsageError, match="nothing to go back to"):
        store.undo()
    store.accept()  # what was undone last waits still
    assert threshold(store) == 1.5


def test_left_overs_are_removed_with_their_pictures_and_what_counts_is_kept(
    tmp_path: Path,
) -> None:
    store = SiteStore(tmp_path)
    for number in range(MOST_BEFORE + 4):
        store.propose(calibration(1.0 + number))
        pictures = store.pictures(number + 1)
        pictures.mkdir()
        (pictures / "01.jpg").write_bytes(b"x")
        store.accept()
    files = {path.name for path in tmp_path.iterdir()}
    assert len([name for name in files if name.endswith(".npz")]) == MOST_BEFORE + 1
    assert len([name for name in files if name.endswith("-moments")]) == MOST_BEFORE + 1
    for _ in range(MOST_BEFORE):
        store.undo()
        assert threshold(store) is not None


def test_damage_is_told(tmp_path: Path) -> None:
    store = SiteStore(tmp_path)
    learned(store, 1.5)
    store.propose(calibration(2.5))
    (tmp_path / "0002.npz").write_bytes(b"PK")
    with pytest.raises(DataError):
        store.accept()
    assert threshold(store) == 1.5
    (tmp_path / "state.json").write_text('{"schema_version": 1, "active": "x"}')
    with pytest.raises(DataError, match="active"):
        store.active()


class PowerCutError(BaseException):
    """Ends everything, as a cut does; no handler may tidy up after it."""


@pytest.mark.parametrize("action", ["propose", "accept", "undo"])
def test_a_cut_before_any_step_leaves_the_old_or_the_new_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, action: str
) -> None:
    """Each system call on the way, enumerated: the machine stops just before it."""
    cuts = 0
    while True:
        folder = tmp_path / f"{action}-{cuts}"
        store = SiteStore(folder)
        learned(store, 1.5)
        learned(store, 2.5)
        if action == "accept":
            store.propose(calibration(3.5))
        after = {"propose": 2.5, "accept": 3.5, "undo": 1.5}[action]
        left = cuts

        def counted(call: Callable[..., object]) -> Callable[..., object]:
            def wrapped(*arguments: object, **named: object) -> object:
                nonlocal left
                if left == 0:
                    raise PowerCutError
                left -= 1
                return call(*arguments, **named)

            return wrapped

        with monkeypatch.context() as patch:
            patch.setattr(atomic.tempfile, "mkstemp", counted(atomic.tempfile.mkstemp))
            patch.setattr(atomic.os, "fsync", counted(os.fsync))
            patch.setattr(Path, "replace", counted(Path.replace))
            patch.setattr(Path, "unlink", counted(Path.unlink))
            try:
                store.propose(calibration(3.5)) if action == "propose" else getattr(store, action)()
                cut = False
            except PowerCutError:
                cut = True
        again = SiteStore(folder)
        assert threshold(again) in (2.5, after), cuts
        if not cut:
            assert threshold(again) == after
            break
        cuts += 1
        learned(again, 9.0)  # and life goes on
        assert threshold(again) == 9.0
    assert cuts >= 5


WRITER = """
import sys
from pathlib import Path
from support.sites import calibration
from calibration.site_store import SiteStore
store = SiteStore(Path(sys.argv[1]))
value = float(sys.argv[2])
while True:
    value += 1.0
    store.propose(calibration(value))
    store.accept()
    print(value, flush=True)
"""


def test_killed_at_random_moments_it_is_whole_and_not_older_than_what_it_said(
    tmp_path: Path,
) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    rng = random.Random(seed)
    tests = Path(__file__).resolve().parents[1]
    path = os.pathsep.join([str(tests), str(tests.parent)])
    store, last = SiteStore(tmp_path), 0.0
    for _ in range(8):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(last)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        assert process.stdout is not None
        said = float(process.stdout.readline())  # it works
        time.sleep(rng.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        process.wait()
        process.stdout.close()
        said = max([said, *(float(line) for line in rest if line)])
        now = threshold(store)
        assert now is not None
        assert said <= now <= said + 1.0
        last = now
