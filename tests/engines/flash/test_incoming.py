"""Receiving: nothing unsigned is kept, nothing goes beyond its size, what broke off goes on."""

from __future__ import annotations

import errno
import io
import json
import shutil
from pathlib import Path

import pytest
from support.flash_home import FakeRuntime, FakeServices, deliver, installer, make_home, offer
from support.small_bundles import key_pair, rewrite, signed

from engines.bundle import Bundle
from engines.errors import DataError, RefusedError, TemporaryError, UsageError, VigilError
from engines.flash.disk import Disk
from engines.flash.home import Home, release_name
from engines.flash.incoming import receive, take_offer
from engines.flash.journal import Journal, read_journal
from engines.flash.outgoing import encode_offer, send_blobs


class Place:
    """A device that trusts `maker`, and a bundle that it has signed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.pair, self.trusted = key_pair(folder)
        self.home = make_home(folder / "opt")
        self.bundle = signed(folder / "b", self.pair, release=5)

    def made(self, name: str, release: int, seed: int = 1) -> Bundle:
        return signed(self.folder / name, self.pair, release=release, seed=seed)

    def stream(self, missing: dict[str, int]) -> bytes:
        out = io.BytesIO()
        send_blobs(out, self.bundle.root, self.bundle.manifest.files, missing, lambda _n: None)
        return out.getvalue()

    def take(self, data: bytes) -> None:
        receive(
            io.BytesIO(data),
            home=self.home,
            disk=Disk(),
            digest=self.bundle.digest,
            trusted=self.trusted,
        )


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def install(place: Place, bundle: Bundle, **asked: bool) -> str:
    digest = deliver(place.home, bundle, place.trusted, **asked)
    return installer(place.home, place.trusted).install(digest, **asked).outcome


def test_a_transfer_goes_on_where_it_broke_off_wherever_that_was(place: Place) -> None:
    first = offer(place.home, place.bundle, place.trusted)
    total = len(place.stream(first.missing))
    for cut in (0, 10, 71, 500, 1071, 1072, total - 1):
        shutil.rmtree(place.home.incoming)
        data = place.stream(offer(place.home, place.bundle, place.trusted).missing)
        if cut:
            with pytest.raises(TemporaryError, match="broke off"):
                place.take(data[:cut])
        answer = offer(place.home, place.bundle, place.trusted)
        rest = place.stream(answer.missing)
        assert len(rest) <= total
        place.take(rest)
        assert offer(place.home, place.bundle, place.trusted).missing == {}
    assert installer(place.home, place.trusted).install(place.bundle.digest).outcome == "committed"


def test_a_flipped_byte_in_any_blob_is_found_and_thrown_away(place: Place) -> None:
    answer = offer(place.home, place.bundle, place.trusted)
    for sha256 in answer.missing:
        data = bytearray(place.stream({sha256: 0}))
        data[-1] ^= 1
        with pytest.raises(DataError, match="another hash"):
            place.take(bytes(data))
        assert not list(place.home.arriving(place.bundle.digest).glob(f"{sha256}*"))


def test_no_blob_is_written_beyond_its_size_or_under_another_name(place: Place) -> None:
    answer = offer(place.home, place.bundle, place.trusted)
    sha256 = next(iter(answer.missing))
    with pytest.raises(UsageError, match="no file of this bundle"):
        place.take(b"0" * 64 + b" 0\n" + b"x" * 100)
    with pytest.raises(UsageError, match="0 bytes"):
        place.take(f"{sha256} 7\n".encode() + b"x" * 100)
    with pytest.raises(TemporaryError):  # what follows a blob is the next one's header
        place.take(place.stream({sha256: 0}) + b"x" * 10_000_000)
    with pytest.raises(UsageError, match="64 hex digits"):
        place.home.arriving("../../etc")
    folder = place.home.arriving(place.bundle.digest)
    assert sum(path.stat().st_size for path in folder.iterdir()) < 20_000


@pytest.mark.parametrize("change", ["unsigned", "other key", "manifest", "signature", "truncated"])
def test_what_is_not_signed_leaves_no_trace(place: Place, tmp_path: Path, change: str) -> None:
    root = place.bundle.root
    manifest, signatures = (
        (root / "manifest.json").read_bytes(),
        (root / "manifest.sig").read_bytes(),
    )
    kind: type[VigilError] = RefusedError
    trusted = place.trusted
    if change == "unsigned":
        signatures = b""
    elif change == "other key":
        _, trusted = key_pair(tmp_path, "other")
    elif change == "manifest":
        manifest = manifest.replace(b'"release":5', b'"release":6')
    elif change == "signature":
        signatures = signatures[:-10] + b"AAAAAAA==\n"
        kind = VigilError
    data = encode_offer(manifest, signatures)
    if change == "truncated":
        data, kind = data[:-1], TemporaryError
    with pytest.raises(kind):
        take_offer(
            io.BytesIO(data), home=place.home, disk=Disk(), journal=Journal(), trusted=trusted
        )
    assert list(place.home.root.iterdir()) == []


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"{}\n",
        b"[1]\n",
        b'{"manifest":1e9,"signatures":1}\n',
        b'{"manifest":true,"signatures":1}\n',
        b'{"manifest":999999999,"signatures":1}\n',
        b'{"manifest":10,"signatures":-1}\n',
        b"x" * 1000,
    ],
)
def test_an_offer_that_is_none_is_refused(place: Place, head: bytes) -> None:
    with pytest.raises(DataError):
        take_offer(
            io.BytesIO(head), home=place.home, disk=Disk(), journal=Journal(), trusted=place.trusted
        )


def test_files_of_two_bundles_do_not_mix(place: Place) -> None:
    other = place.made("other", 6)
    mixed = place.folder / "mixed"
    shutil.copytree(other.root, mixed)
    shutil.copy(place.bundle.root / "heads/appearance.npz", mixed / "heads/appearance.npz")
    answer = offer(place.home, other, place.trusted)
    out = io.BytesIO()
    send_blobs(out, mixed, other.manifest.files, answer.missing, lambda _n: None)
    with pytest.raises(DataError, match="another hash"):
        receive(
            io.BytesIO(out.getvalue()),
            home=place.home,
            disk=Disk(),
            digest=other.digest,
            trusted=place.trusted,
        )


def test_release_numbers_rise_and_the_floor_holds(place: Place) -> None:
    old, new = place.made("4", 4), place.made("6", 6, seed=2)
    same = place.made("same", 6, seed=3)
    assert install(place, place.bundle) == "committed"
    assert install(place, new) == "committed"
    for bundle, words in ((old, "release 4, release 6 was"), (same, "but not the same")):
        with pytest.raises(RefusedError, match=words):
            offer(place.home, bundle, place.trusted)
    # An installed one that was taken back on purpose may come again without being asked for.
    assert installer(place.home, place.trusted).rollback().outcome == "committed"
    assert read_journal(place.home).highest_release == 6
    with pytest.raises(RefusedError):
        offer(place.home, old, place.trusted)
    assert install(place, new) == "committed"
    assert install(place, old, allow_downgrade=True) == "committed"
    digest = deliver(place.home, new, place.trusted)
    installer(place.home, place.trusted).install(digest, raise_floor=True)
    assert read_journal(place.home).floor == 6
    with pytest.raises(RefusedError, match="nothing below 6"):
        offer(place.home, old, place.trusted, allow_downgrade=True)


def test_a_key_that_is_no_longer_trusted_stops_an_installation_that_was_received(
    place: Place, tmp_path: Path
) -> None:
    digest = deliver(place.home, place.bundle, place.trusted)
    _, other = key_pair(tmp_path, "other")
    with pytest.raises(RefusedError):
        installer(place.home, other).install(digest)
    assert place.home.linked() is None


def test_a_blob_that_changes_after_it_was_received_is_found(place: Place) -> None:
    digest = deliver(place.home, place.bundle, place.trusted)
    sha256 = place.bundle.manifest.files[0].sha256
    (place.home.arriving(digest) / sha256).write_bytes(b"other")
    with pytest.raises(DataError):
        installer(place.home, place.trusted).install(digest)
    assert place.home.linked() is None
    last = read_journal(place.home).last
    assert last is not None
    assert (last.outcome, last.step) == ("failed", "stage")
    # Offered again, only that file is asked for: its size no longer fits what was received.
    assert not any(place.home.releases.iterdir())


@pytest.mark.parametrize("step", ["preflight", "prove", "engine"])
def test_a_test_that_fails_changes_nothing_that_runs(place: Place, step: str) -> None:
    assert install(place, place.bundle) == "committed"
    new = place.made("6", 6)
    digest = deliver(place.home, new, place.trusted)
    services = FakeServices(place.home)
    failing = FakeRuntime(**{step: DataError("other numbers here")})
    with pytest.raises(DataError, match="other numbers"):
        installer(place.home, place.trusted, services=services, runtime=failing).install(digest)
    assert services.starts == 0
    assert place.home.linked() == release_name(place.bundle.manifest)
    last = read_journal(place.home).last
    assert last is not None
    assert (last.outcome, last.step, last.reason) == ("failed", step, "other numbers here")
    # Mended, the same bundle is taken, without being sent again.
    assert offer(place.home, new, place.trusted).missing == {}
    assert installer(place.home, place.trusted).install(digest).outcome == "committed"


def test_an_old_release_that_is_not_well_either_needs_a_person(place: Place) -> None:
    assert install(place, place.bundle) == "committed"
    new = place.made("6", 6)
    digest = deliver(place.home, new, place.trusted)
    services = FakeServices(place.home, sick={new.digest, place.bundle.digest})
    with pytest.raises(DataError, match="not well either"):
        installer(place.home, place.trusted, services=services).install(digest)
    assert place.home.linked() == release_name(place.bundle.manifest)
    assert read_journal(place.home).inconsistent
    # A bundle that works ends that.
    third = place.made("7", 7, seed=4)
    assert install(place, third) == "committed"
    assert read_journal(place.home).inconsistent is None


def test_a_newer_vigil_is_asked_for_before_anything_is_sent(place: Place) -> None:
    def newer(raw: dict[str, object]) -> None:
        raw["minimum_runtime"] = "99.0"

    rewrite(place.bundle.root, newer)
    data = (place.bundle.root / "manifest.json").read_bytes()
    from engines.signature import encode_signatures, sign  # noqa: PLC0415
    from engines.signing_keys import read_private_key  # noqa: PLC0415

    name, signature = sign(data, read_private_key(place.pair.private))
    with pytest.raises(DataError, match=r"needs vigil 99\.0"):
        take_offer(
            io.BytesIO(encode_offer(data, encode_signatures({name: signature}))),
            home=place.home,
            disk=Disk(),
            journal=Journal(),
            trusted=place.trusted,
        )


def test_a_full_disk_is_told_before_anything_is_sent(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = (
        shutil._ntuple_diskusage(10**9, 10**9 - 10, 10)
        if hasattr(shutil, "_ntuple_diskusage")
        else None
    )
    monkeypatch.setattr("engines.flash.incoming.shutil.disk_usage", lambda _path: usage)
    with pytest.raises(VigilError, match="are needed, 0 MiB are free") as told:
        offer(place.home, place.bundle, place.trusted)
    assert told.value.exit_code == 73


def test_one_flash_at_a_time(place: Place) -> None:
    with place.home.locked(), pytest.raises(TemporaryError), Home(place.home.root).locked():
        pass
    assert not place.home.busy()
    with pytest.raises(VigilError, match="not ready"), Home(place.folder / "none").locked():
        pass


def test_a_damaged_journal_is_told_and_recovered(place: Place) -> None:
    from engines.flash.recover import recover  # noqa: PLC0415

    assert install(place, place.bundle) == "committed"
    for damage in (b"", b"{", b'{"schema_version":9}', b'{"schema_version":1,"x":1}'):
        place.home.journal.write_bytes(damage)
        with pytest.raises(DataError):
            read_journal(place.home)
        journal, said = recover(place.home, Disk(), boot_id="b")
        assert journal.current == release_name(place.bundle.manifest)
        assert journal.highest_release == 5
        assert "a new journal" in said[0]
    assert json.loads(place.home.journal.read_bytes())["current"] == journal.current


def test_a_disk_that_fills_up_while_it_is_staged_leaves_the_old_release_and_no_rubbish(
    place: Place,
) -> None:
    class FullDisk(Disk):
        """Runs full in the third file; what is removed makes room."""

        copies = 0

        def copy(self, source: Path, path: Path) -> None:
            self.copies += 1
            if self.copies == 3:
                raise OSError(errno.ENOSPC, "No space left on device", str(path))
            super().copy(source, path)

    assert install(place, place.bundle) == "committed"
    new = place.made("6", 6)
    digest = deliver(place.home, new, place.trusted)
    with pytest.raises(VigilError, match="No space left") as told:
        installer(place.home, place.trusted, disk=FullDisk()).install(digest)
    assert told.value.exit_code == 73
    assert "make room" in str(told.value.mend)
    name = release_name(place.bundle.manifest)
    assert place.home.linked() == name
    assert [path.name for path in place.home.releases.iterdir()] == [name]
    last = read_journal(place.home).last
    assert last is not None
    assert (last.outcome, last.step) == ("failed", "stage")
