"""A device's home without a machine around it, and daemons that are well or not."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Sequence
from pathlib import Path

from engines.bundle import Bundle
from engines.errors import VigilError
from engines.flash.disk import Disk
from engines.flash.gate import Patience
from engines.flash.home import Home
from engines.flash.incoming import Offer, receive, take_offer
from engines.flash.install import Installer
from engines.flash.journal import read_journal
from engines.flash.outgoing import encode_offer, send_blobs
from engines.flash.services import Health, Standing
from engines.trusted_keys import TrustedKeys


class FakeServices:
    """Daemons that run what `current` leads to when they are started; sick with some bundles."""

    def __init__(
        self, home: Home, *, sick: Iterable[str] = (), names: Sequence[str] = ("gate",)
    ) -> None:
        self.home = home
        self.sick = set(sick)
        self.names = list(names)
        self.starts = 0
        self.loaded: str | None = None
        self.before_restart = lambda: None

    def instances(self) -> list[str]:
        return list(self.names)

    def restart(self, names: Iterable[str]) -> None:
        assert list(names) == self.names
        self.before_restart()
        self.starts += 1
        manifest = self.home.current / "manifest.json"
        data = manifest.read_bytes() if manifest.exists() else None
        self.loaded = None if data is None else hashlib.sha256(data).hexdigest()

    def stand(self, name: str) -> Standing:
        assert name in self.names
        start = f"start{self.starts}"
        if self.loaded is None:
            return Standing("inactive", condition=self.starts == 0, invocation=start)
        if self.loaded in self.sick:
            return Standing(
                "failed", result="exit-code", exit_status=65, status="ill", invocation=start
            )
        health = Health(1, self.loaded, {"yard": 50}, frozenset({"yard"}), True)
        return Standing("active", "running", invocation=start, health=health)


class FakeRuntime:
    """Says yes, or raises what it is given."""

    def __init__(self, **errors: VigilError) -> None:
        self.errors = errors
        self.proved: list[Path] = []

    def preflight(self, home: Home) -> list[str]:
        assert home.root.is_dir()
        self._maybe("preflight")
        return []

    def prove(self, release: Path) -> str:
        self._maybe("prove")
        self.proved.append(release)
        return "golden"

    def build_engines(self, release: Path) -> str | None:
        assert release.is_dir()
        self._maybe("engine")
        return None

    def _maybe(self, step: str) -> None:
        if step in self.errors:
            raise self.errors[step]


def make_home(root: Path) -> Home:
    root.mkdir()
    return Home(root)


def offer(
    home: Home, bundle: Bundle, trusted: TrustedKeys, *, allow_downgrade: bool = False
) -> Offer:
    data = encode_offer(
        (bundle.root / "manifest.json").read_bytes(), (bundle.root / "manifest.sig").read_bytes()
    )
    return take_offer(
        io.BytesIO(data),
        home=home,
        disk=Disk(),
        journal=read_journal(home),
        trusted=trusted,
        allow_downgrade=allow_downgrade,
    )


def deliver(home: Home, bundle: Bundle, trusted: TrustedKeys, **asked: bool) -> str:
    """Offer a bundle and send all of it; its digest."""
    answer = offer(home, bundle, trusted, **asked)
    stream = io.BytesIO()
    send_blobs(stream, bundle.root, bundle.manifest.files, answer.missing, lambda _size: None)
    stream.seek(0)
    receive(stream, home=home, disk=Disk(), digest=answer.digest, trusted=trusted)
    return answer.digest


def installer(
    home: Home,
    trusted: TrustedKeys,
    *,
    services: FakeServices | None = None,
    runtime: FakeRuntime | None = None,
    disk: Disk | None = None,
    boot_id: str = "boot-1",
) -> Installer:
    """With a clock that runs only while it sleeps."""
    now = [0.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    return Installer(
        home=home,
        disk=disk or Disk(),
        services=services or FakeServices(home),
        runtime=runtime or FakeRuntime(),
        trusted=trusted,
        patience=Patience(ready_s=60, frames_s=20, steady_s=3),
        monotonic=lambda: now[0],
        sleep=sleep,
        boot_id=boot_id,
    )
