"""A bare Debian or Ubuntu machine becomes a device: orders for `target_steps`, sent over ssh.

The steps themselves run on the device (`engines.flash.target_steps`, over standard input), so that
one look and one connection are enough, and nothing but python3, python3-venv and sudo is needed.
"""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Final

from engines.errors import DataError, InputMissingError, UsageError
from engines.flash.remote import Remote
from engines.flash.wheelhouse import Wheelhouse
from engines.flash.words import error_from, printable
from engines.signing_keys import key_id, public_pem, read_public_key

STEPS: Final = Path(__file__).with_name("target_steps.py")
# In a wheel beside this file, in the source tree at its root.
_UNIT_FOLDERS: Final = (Path(__file__).with_name("systemd"), STEPS.parents[2] / "systemd")
UNITS: Final = ("vigil@.service", "vigil-failed@.service", "vigil-recover.service",
                "vigil-settle.service")  # fmt: skip
DROP_INS: Final = ("gpu", "usb-camera", "csi-camera", "network")
# What the daemon may open, the doctor that follows its failure must open, too, or it tells lies.
_DOCTORS: Final = frozenset({"gpu", "usb-camera", "csi-camera", "credentials"})
USER: Final = "vigil"
FOLDERS: Final = (
    ("/opt/vigil", 0o755, "root:root"),
    ("/opt/vigil/releases", 0o755, "root:root"),
    ("/opt/vigil/incoming", 0o700, "root:root"),
    ("/opt/vigil/runtimes", 0o755, "root:root"),
    ("/etc/vigil", 0o750, f"root:{USER}"),
    ("/etc/vigil/trusted-keys.d", 0o755, "root:root"),
    ("/etc/vigil/credentials", 0o700, "root:root"),
    ("/var/lib/vigil", 0o750, f"{USER}:{USER}"),
    ("/var/cache/vigil", 0o750, f"{USER}:{USER}"),
    ("/var/cache/vigil/engines", 0o700, f"{USER}:{USER}"),
)
PIECE: Final = 1 << 18
MAX_PASSWORD: Final = 4096

Say = Callable[[str, str, str], None]


@dataclass(frozen=True)
class Plan:
    """What a device is to have.

    Attributes:
        wheels: All of its Python packages.
        instance: Name of its daemon: `vigil@INSTANCE`, `/etc/vigil/INSTANCE.yaml`.
        keys: Public keys that it is to trust.
        config: Its configuration; None: a skeleton where there is none yet.
        password: The broker's; None: what is there stays.
        drop_ins: For GPU and cameras, by name.
        system_site_packages: The device's own Python packages are seen (TensorRT of JetPack).
        root: Another root than ``/``, for tests.
    """

    wheels: Wheelhouse
    instance: str
    keys: Sequence[Path] = ()
    config: bytes | None = None
    password: bytes | None = field(default=None, repr=False)
    drop_ins: Sequence[str] = ()
    system_site_packages: bool = False
    root: str = "/"

    def orders(self, mode: str) -> dict[str, Any]:
        """As `target_steps` reads them; they hold the password.

        Raises:
            VigilError: A key or unit cannot be read.
        """
        return {
            "mode": mode,
            "root": self.root,
            "user": USER,
            "folders": FOLDERS,
            "wheels": {
                "name": self._runtime_name(),
                "vigil": self.wheels.vigil,
                "python": self.wheels.python,
                "machine": self.wheels.machine,
                "system_site_packages": self.system_site_packages,
                "requirements": self.wheels.requirements,
                "files": {
                    w.file: {"size": w.size, "sha256": w.sha256} for w in self.wheels.wheels
                },
            },
            "files": [*self._units(), *self._keys(), *self._config(), *self._password()],
            "enable": ["vigil-recover.service", "vigil-settle.service",
                       f"vigil@{self.instance}.service"],
        }  # fmt: skip

    def _runtime_name(self) -> str:
        return self.wheels.name + ("-system" if self.system_site_packages else "")

    def _units(self) -> list[dict[str, Any]]:
        units = "/etc/systemd/system"
        places = [(name, f"{units}/{name}") for name in UNITS]
        places.append(("vigil.sysusers.conf", "/usr/lib/sysusers.d/vigil.conf"))
        places.append(("vigil.tmpfiles.conf", "/usr/lib/tmpfiles.d/vigil.conf"))
        drop_ins = ["flashed", *self.drop_ins]
        if self.password is not None:
            drop_ins.append("credentials")
        for name in drop_ins:
            of = ("vigil@", "vigil-failed@") if name in _DOCTORS else ("vigil@",)
            file = f"drop-ins/{name}.conf"
            places += [(file, f"{units}/{one}.service.d/{name}.conf") for one in of]
        return [_file("units", place, unit(name)) for name, place in places]

    def _keys(self) -> list[dict[str, Any]]:
        found = []
        for path in self.keys:
            key = read_public_key(path)
            place = f"/etc/vigil/trusted-keys.d/{key_id(key)}.pub"
            found.append(_file("trusted-keys", place, public_pem(key)))
        return found

    def _config(self) -> list[dict[str, Any]]:
        place, owner = f"/etc/vigil/{self.instance}.yaml", f"root:{USER}"
        if self.config is not None:
            return [_file("config", place, self.config, mode=0o640, owner=owner)]
        content = unit("example.yaml").decode()
        content = content.replace("gate-01", self.instance).replace("/gate ", f"/{self.instance} ")
        one = _file("config", place, content.encode(), mode=0o640, owner=owner)
        return [{**one, "keep": True}]

    def _password(self) -> list[dict[str, Any]]:
        if self.password is None:
            return []
        place = "/etc/vigil/credentials/mqtt_password"
        return [_file("credentials", place, self.password, mode=0o600)]


@dataclass(frozen=True)
class Provisioned:
    """What was done, or would be."""

    target: str
    changed: bool
    steps: tuple[dict[str, Any], ...]
    sent_bytes: int = 0

    def to_json(self) -> dict[str, Any]:
        """For programs; `changed` is what Ansible wants to know."""
        return {
            "target": self.target,
            "changed": self.changed,
            "steps": list(self.steps),
            "sent_bytes": self.sent_bytes,
        }


def provision(remote: Remote, plan: Plan, *, check: bool, say: Say) -> Provisioned:
    """Bring a device to what the plan says; a second time nothing is changed.

    Args:
        remote: The device, connected by the caller.
        plan: What it is to have.
        check: Change nothing, tell what would be.
        say: Told step, state and words.

    Raises:
        VigilError: A step cannot be done, or the connection fails.
    """
    quiet: Say = lambda _step, _state, _text: None  # noqa: E731  # a default, not a function
    found = _call(remote, plan.orders("check"), say if check else quiet)
    wants = _wants(found, plan.wheels)
    if check:
        return Provisioned(remote.target, bool(found["changed"]), _steps(found))
    total = sum(w.size - wants[w.file] for w in plan.wheels.wheels if w.file in wants)
    sent = 0

    def send(stream: BinaryIO) -> None:
        nonlocal sent
        for name, offset in wants.items():
            stream.write(f"{name} {offset}\n".encode())
            with (plan.wheels.root / name).open("rb") as file:
                file.seek(offset)
                while piece := file.read(PIECE):
                    stream.write(piece)
                    sent += len(piece)
                    words = f"{100 * sent // total} %  {sent / 1e6:.1f} of {total / 1e6:.1f} MB"
                    say("wheels", "progress", words)

    done = _call(remote, plan.orders("apply"), say, send)
    return Provisioned(remote.target, bool(done["changed"]), _steps(done), sent)


def unit(name: str) -> bytes:
    """A file of `systemd/`.

    Raises:
        InputMissingError: This installation has none.
    """
    for folder in _UNIT_FOLDERS:
        with contextlib.suppress(OSError):
            return (folder / name).read_bytes()
    raise InputMissingError(
        f"the unit file {name} is not in this installation",
        where=", ".join(map(str, _UNIT_FOLDERS)),
        mend="install vigil again",
    )


def password_of(data: bytes, *, where: str) -> bytes:
    """One line without its end.

    Raises:
        UsageError: Empty, more than a line, or too long.
    """
    line = data.rstrip(b"\r\n")
    if not line or b"\n" in line or b"\0" in line or len(line) > MAX_PASSWORD:
        raise UsageError("a password is one line that is not empty", where=where)
    return line


def _file(
    step: str, path: str, content: bytes, *, mode: int = 0o644, owner: str = "root:root"
) -> dict[str, Any]:
    return {
        "step": step,
        "path": path,
        "content": base64.b64encode(content).decode("ascii"),
        "mode": mode,
        "owner": owner,
    }


def _call(
    remote: Remote,
    orders: dict[str, Any],
    say: Say,
    send: Callable[[BinaryIO], None] | None = None,
) -> dict[str, Any]:
    script, spec = STEPS.read_bytes(), json.dumps(orders).encode()
    answers: dict[str, Any] = {}

    def write(stream: BinaryIO) -> None:
        stream.write(script + f"{len(spec)}\n".encode() + spec)
        stream.flush()
        if send is not None:
            send(stream)

    def take(line: bytes) -> None:
        with contextlib.suppress(ValueError):
            raw = json.loads(line)
            if isinstance(raw, dict):
                answers.update(raw)
                if "step" in raw:
                    said = (raw.get("step"), raw.get("state"), raw.get("text"))
                    say(*(printable(str(word), 500) for word in said))

    # The script itself travels over standard input: nothing is left behind on the device, and its
    # orders, which hold the password, are in no argument list.
    loader = f"import sys;exec(compile(sys.stdin.buffer.read({len(script)}),'provision','exec'))"
    done = remote.call(["python3", "-c", loader], write=write, line=take)
    if "error" in answers:
        raise error_from(answers["error"], device=remote.target)
    found = answers.get("provisioned")
    if not isinstance(found, dict):
        last = printable((done.err.strip().splitlines() or ["nothing"])[-1], 300)
        raise DataError(
            f"the steps ended with code {done.code} and said: {last}",
            where=remote.target,
            mend="this needs Debian or Ubuntu with Python 3.10 or newer",
        )
    return found


def _wants(found: dict[str, Any], wheels: Wheelhouse) -> dict[str, int]:
    """What the device asks for, as far as it is ours and its offsets can be."""
    sizes = {wheel.file: wheel.size for wheel in wheels.wheels}
    return {
        name: offset
        for name, offset in found.get("wants", {}).items()
        if type(offset) is int and 0 <= offset < sizes.get(name, 0)
    }


def _steps(found: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    return tuple(
        {key: printable(str(step.get(key, "")), 1000) for key in ("step", "state", "text")}
        for step in found.get("steps", [])
    )
