"""The power is cut before every single step of an installation, a rollback and a recovery."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from support.flash_home import FakeServices, deliver, installer, make_home
from support.lossy_disk import HastyDisk, LossyDisk, PowerCutError
from support.small_bundles import key_pair, signed

from engines.bundle import Bundle
from engines.bundle_check import check_bundle
from engines.errors import DataError
from engines.flash.disk import Disk
from engines.flash.home import Home, release_name
from engines.flash.journal import read_journal
from engines.flash.recover import recover

KEPT = (("synced", 0), ("all", 0), ("some", 1), ("some", 2))


class Ground:
    """A device with release 5 running and release 6 received, to be copied for each cut."""

    def __init__(self, folder: Path, *, first: bool) -> None:
        pair, self.trusted = key_pair(folder)
        self.old = None if first else signed(folder / "old", pair, release=5)
        self.new = signed(folder / "new", pair, release=6, seed=1)
        self.image = folder / "image"
        home = make_home(self.image)
        if self.old is not None:
            installer(home, self.trusted).install(deliver(home, self.old, self.trusted))
        deliver(home, self.new, self.trusted)

    def device(self, place: Path) -> Home:
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(self.image, place, symlinks=True)
        return Home(place)

    @property
    def names(self) -> dict[str, Bundle | None]:
        return {
            "old": self.old,
            "new": self.new,
        }

    def allowed(self) -> set[str | None]:
        return {None if b is None else release_name(b.manifest) for b in self.names.values()}


@pytest.fixture(scope="module")
def update(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("update"), first=False)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("first"), first=True)


def flash(ground: Ground, home: Home, disk: Disk, *, sick: bool = False) -> str:
    services = FakeServices(home, sick={ground.new.digest} if sick else ())
    services.restart(["gate"])
    return (
        installer(home, ground.trusted, services=services, disk=disk)
        .install(ground.new.digest)
        .outcome
    )


def whole(home: Home, ground: Ground) -> str | None:
    """The release that would run; fails the test unless it is old or new, and whole."""
    name = home.linked()
    assert name in ground.allowed(), (name, sorted(p.name for p in home.root.iterdir()))
    assert (home.current.is_symlink(), name is not None) in {(True, True), (False, False)}
    if name is not None:
        check_bundle(home.release(name), trusted=ground.trusted)
    return name


def boot(home: Home, ground: Ground, number: int = 2) -> str | None:
    """What happens at the next start: recovery, daemons, and the end of an open trial."""
    journal, _ = recover(home, HastyDisk(), boot_id=f"boot-{number}")
    name = whole(home, ground)
    assert name == (journal.trial.new if journal.trial else journal.current)
    services = FakeServices(home)
    settling = installer(
        home, ground.trusted, services=services, disk=HastyDisk(), boot_id=f"boot-{number}"
    )
    settling.settle()
    after = read_journal(home)
    assert after.trial is None
    assert after.inconsistent is None
    assert after.current == home.linked() == whole(home, ground)
    left = {path.name for path in home.releases.iterdir()} if home.releases.is_dir() else set()
    assert left <= {after.current, after.previous}
    return after.current


def cut_everywhere(
    ground: Ground,
    place: Path,
    act: Callable[[Home, Disk], object],
    **options: frozenset[str],
) -> list[str | None]:
    """Cut before each step, keep each mixture of what was not synced; what runs afterwards."""
    home = ground.device(place / "whole")
    disk = LossyDisk(home.root, **options)
    act(home, disk)
    total = len(disk.steps)
    assert total > 8, disk.steps
    ran = []
    for step in range(total):
        home = ground.device(place / "live")
        disk = LossyDisk(home.root, cut_at=step, **options)
        with pytest.raises(PowerCutError):
            act(home, disk)
        for kept, seed in KEPT:
            after = place / "after"
            shutil.rmtree(after, ignore_errors=True)
            disk.after_the_cut(after, kept=kept, seed=seed + step)
            print(f"cut before step {step}, after {disk.steps[-2:]}, kept {kept}, seed {seed}")
            ran.append(boot(Home(after), ground))
    return ran


@pytest.mark.parametrize("kind", ["update", "first"])
def test_an_installation(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    ground: Ground = request.getfixturevalue(kind)
    ran = cut_everywhere(ground, tmp_path, lambda home, disk: flash(ground, home, disk))
    assert set(ran) == ground.allowed()  # both sides of the switch were seen
    # Once it is new it stays new, however much later the power goes.
    assert ran[-1] == release_name(ground.new.manifest)


def test_an_installation_that_is_taken_back(update: Ground, tmp_path: Path) -> None:
    assert update.old is not None

    def act(home: Home, disk: Disk) -> None:
        assert flash(update, home, disk, sick=True) == "rolled_back"

    ran = cut_everywhere(update, tmp_path, act)
    assert ran[-1] == release_name(update.old.manifest)


def test_a_rollback_that_a_person_wants(tmp_path: Path) -> None:
    folder = tmp_path / "ground"
    folder.mkdir()
    ground = Ground(folder, first=False)
    home = Home(ground.image)
    installer(home, ground.trusted).install(ground.new.digest)
    ran = cut_everywhere(
        ground, tmp_path, lambda home, disk: installer(home, ground.trusted, disk=disk).rollback()
    )
    assert set(ran) == ground.allowed()
    assert ground.old is not None
    assert ran[-1] == release_name(ground.old.manifest)


@pytest.mark.parametrize("cut_at", ["switched", "decided"])
def test_a_recovery_that_is_cut_itself(update: Ground, tmp_path: Path, cut_at: str) -> None:
    """The trial is open, or its end is decided; then the power fails in each step of recovery."""
    home = update.device(tmp_path / "live")
    word = "rename current" if cut_at == "switched" else "rename state.json"
    probe = LossyDisk(home.root)
    flash(update, home, probe, sick=cut_at == "decided")
    hits = [i for i, step in enumerate(probe.steps) if step == word]
    home = update.device(tmp_path / "live2")
    disk = LossyDisk(home.root, cut_at=hits[0 if cut_at == "switched" else 1] + 2)
    with pytest.raises(PowerCutError):
        flash(update, home, disk, sick=cut_at == "decided")
    disk.after_the_cut(tmp_path / "image", kept="synced")
    total = LossyDisk(Home(_copied(tmp_path / "image", tmp_path / "dry")).root)
    recover(Home(tmp_path / "dry"), total, boot_id="boot-2")
    assert total.steps
    for step in range(len(total.steps)):
        live = Home(_copied(tmp_path / "image", tmp_path / "cut"))
        lossy = LossyDisk(live.root, cut_at=step)
        with pytest.raises(PowerCutError):
            recover(live, lossy, boot_id="boot-2")
        for kept, seed in KEPT:
            shutil.rmtree(tmp_path / "after", ignore_errors=True)
            lossy.after_the_cut(tmp_path / "after", kept=kept, seed=seed)
            boot(Home(tmp_path / "after"), update, number=3)


def _copied(image: Path, place: Path) -> Path:
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(image, place, symlinks=True)
    return place


def test_a_trial_that_never_ends_is_taken_back_after_three_starts(
    update: Ground, tmp_path: Path
) -> None:
    home = update.device(tmp_path / "live")
    probe = LossyDisk(home.root)
    flash(update, home, probe)
    at = probe.steps.index("rename current") + 2
    home = update.device(tmp_path / "live2")
    with pytest.raises(PowerCutError):
        flash(update, home, LossyDisk(home.root, cut_at=at))
    seen = []
    for number in range(2, 6):
        recover(home, Disk(), boot_id=f"boot-{number}")
        recover(home, Disk(), boot_id=f"boot-{number}")  # a second time in one start costs no try
        seen.append(home.linked())
    assert update.old is not None
    new, old = release_name(update.new.manifest), release_name(update.old.manifest)
    assert seen == [new, new, old, old]
    last = read_journal(home).last
    assert last is not None
    assert last.outcome == "rolled_back"
    assert "started again and again" in last.reason


@pytest.mark.parametrize("forgotten", ["sync", "sync_folder"])
def test_without_its_syncs_the_same_code_fails_here(
    update: Ground, tmp_path: Path, forgotten: str
) -> None:
    """The negative control: cut after the last step, nothing is left of what was not synced."""
    home = update.device(tmp_path / "live")
    disk = LossyDisk(home.root, forget=frozenset({forgotten}))
    assert flash(update, home, disk) == "committed"
    disk.after_the_cut(tmp_path / "after", kept="synced")
    after = Home(tmp_path / "after")
    if forgotten == "sync":  # the names are there, and nothing in them: even the journal
        assert (after.root / "state.json").read_bytes() == b""
    new = release_name(update.new.manifest)
    try:
        recover(after, Disk(), boot_id="boot-2")
    except DataError:
        return
    assert after.linked() != new


def test_nothing_that_is_relied_on_is_unsynced(update: Ground, tmp_path: Path) -> None:
    """Order of the steps: content before its name, the journal before the link."""
    home = update.device(tmp_path / "live")
    disk = LossyDisk(home.root)
    assert flash(update, home, disk) == "committed"
    steps = disk.steps
    name = release_name(update.new.manifest)
    staged = steps.index(f"rename releases/{name}")
    copies = [i for i, step in enumerate(steps) if step.startswith("copy ")]
    assert len(copies) == len(update.new.manifest.files) + 2
    for i in copies:
        assert steps[i + 1] == steps[i].replace("copy", "sync", 1)
        assert i < staged
    for folder in ("networks", "heads", "statistics", "parity", ""):
        wanted = f"sync_folder releases/.{name}.new/{folder}".rstrip("/")
        assert steps.index(wanted) < staged
    journals = [i for i, step in enumerate(steps) if step == "rename state.json"]
    switch = steps.index("rename current")
    assert staged < journals[0] < switch < journals[1]
    for i in (*journals, switch):
        assert steps[i + 1] == "sync_folder ."
    assert steps[journals[0] - 1] == "sync .state.json.new"
    sweeps = [i for i, step in enumerate(steps) if step.startswith("remove_tree incoming")]
    assert journals[0] < sweeps[0] <= sweeps[-1] < switch  # room before the decision is due
