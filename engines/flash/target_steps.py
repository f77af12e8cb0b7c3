"""Runs on a bare device as root: the steps of `vigil provision`. Standard library only.

It comes over standard input, then a line with the size of its orders, the orders (JSON), and what
it asked for. Each step has a check and an apply; nothing that is right already is touched. Secrets
are in the orders and in files of mode 0600, and in nothing that is printed.
"""

from __future__ import annotations

import base64
import grp
import hashlib
import importlib.util
import json
import os
import platform
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

PIECE = 1 << 20


class StepError(Exception):
    """A step that cannot be done: what, what mends it, exit code."""

    def __init__(self, what: str, mend: str, code: int = 69) -> None:
        super().__init__(what)
        self.mend = mend
        self.code = code


class Target:
    """The device, and what was ordered."""

    def __init__(self, orders: dict[str, Any], stream: BinaryIO) -> None:
        self.orders = orders
        self.wheels: dict[str, Any] = orders["wheels"]
        self.stream = stream
        self.apply = orders["mode"] == "apply"
        self.root = str(orders["root"])
        self.changed: set[str] = set()
        self.steps: list[dict[str, str]] = []

    def path(self, name: str) -> Path:
        """A path of the device; under another root in tests."""
        return Path(name if self.root == "/" else self.root + name)

    def tell(self, step: str, state: str, text: str = "") -> None:
        """One line for the workstation."""
        if state != "running":
            self.steps.append({"step": step, "state": state, "text": text})
        emit({"step": step, "state": state, "text": text})

    def settle(self, step: str, wrong: list[str], do: Callable[[], None]) -> None:
        """Apply a step if something is wrong; say what."""
        if not wrong:
            self.tell(step, "unchanged")
            return
        self.changed.add(step)
        if not self.apply:
            self.tell(step, "would change", "; ".join(wrong))
            return
        do()
        self.tell(step, "changed", "; ".join(wrong))


def emit(value: dict[str, Any]) -> None:
    """One line of JSON."""
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def run(*command: str, what: str, mend: str) -> None:
    """Run a program; what it says when it fails is the error's text."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
    except OSError as error:
        raise StepError(f"{what}: {command[0]}: {error.strerror}", mend) from error
    if done.returncode:
        tail = " ".join(done.stdout.split()[-60:])
        raise StepError(f"{what}: {tail or done.returncode}", mend)


def python(target: Target) -> None:
    """The wheels fit this machine; nothing can be changed about it here."""
    here = (f"{sys.version_info[0]}.{sys.version_info[1]}", platform.machine())
    wanted = (target.wheels["python"], target.wheels["machine"])
    if here != wanted:
        raise StepError(
            f"the device has Python {here[0]} on {here[1]}, the wheels are for {wanted[0]} on"
            f" {wanted[1]}",
            f"vigil wheelhouse DIR --python {here[0]} --machine {here[1]}",
            65,
        )
    if any(importlib.util.find_spec(name) is None for name in ("venv", "ensurepip")):
        raise StepError(
            "the device cannot make virtual environments: python3-venv is missing",
            "apt install python3-venv on the device (the only package that is needed there)",
        )
    target.tell("python", "unchanged", f"{here[0]} on {here[1]}")


def user(target: Target) -> None:
    """The daemon's own user, without rights."""
    name = target.orders["user"]
    if target.root != "/":
        return
    wrong = [] if known(name) else [f"user {name} is missing"]

    def make() -> None:
        command = ["useradd", "--system", "--home-dir", "/var/lib/vigil", "--no-create-home"]
        command += ["--shell", "/usr/sbin/nologin", "--user-group", name]
        run(*command, what="no user could be made", mend="make it by hand: useradd --system vigil")

    target.settle("user", wrong, make)


def known(name: str) -> bool:
    """Whether there is such a user."""
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def owner_of(target: Target, owner: str) -> tuple[int, int]:
    """Numbers of `user:group`; our own under another root, where nobody is anybody."""
    if target.root != "/":
        return os.geteuid(), os.getegid()
    name, _, group = owner.partition(":")
    try:
        return pwd.getpwnam(name).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return -1, -1  # not made yet: only in a check


def deviates(path: Path, mode: int, ids: tuple[int, int]) -> list[str]:
    """What of mode and owner is not as it should be."""
    status = path.stat()
    wrong = []
    if status.st_mode & 0o7777 != mode:
        wrong.append(f"{path}: mode {status.st_mode & 0o7777:04o}, not {mode:04o}")
    if (status.st_uid, status.st_gid) != ids:
        wrong.append(f"{path}: another owner")
    return wrong


def folders(target: Target) -> None:
    """Folders with their modes and owners."""
    wrong = []
    for name, mode, owner in target.orders["folders"]:
        path = target.path(name)
        if path.is_dir():
            wrong += deviates(path, mode, owner_of(target, owner))
        else:
            wrong.append(f"{path} is missing")

    def make() -> None:
        for name, mode, owner in target.orders["folders"]:
            path = target.path(name)
            path.mkdir(parents=True, exist_ok=True)
            os.chown(path, *owner_of(target, owner))
            path.chmod(mode)

    target.settle("folders", wrong, make)


def files(target: Target, step: str) -> None:
    """Files of one step: content, mode, owner; `keep` ones only where there is none."""
    mine = [one for one in target.orders["files"] if one["step"] == step]
    wrong = []
    for one in mine:
        path = target.path(one["path"])
        if not path.exists():
            wrong.append(f"{path} is missing")
            continue
        if not one.get("keep") and path.read_bytes() != base64.b64decode(one["content"]):
            wrong.append(f"{path} differs")
        wrong += deviates(path, one["mode"], owner_of(target, one["owner"]))

    def write() -> None:
        for one in mine:
            path, ids = target.path(one["path"]), owner_of(target, one["owner"])
            if not (one.get("keep") and path.exists()):
                replace(path, base64.b64decode(one["content"]), one["mode"], ids)
            os.chown(path, *ids)
            path.chmod(one["mode"])

    if mine:
        target.settle(step, wrong, write)


def replace(path: Path, content: bytes, mode: int, ids: tuple[int, int]) -> None:
    """Never open to others, not even for a moment; durable."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(path.name + ".new")
    beside.unlink(missing_ok=True)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchown(descriptor, *ids)
        os.fchmod(descriptor, mode)
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
    beside.replace(path)
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def runtime_folder(target: Target) -> Path:
    """Where the program of these wheels is installed."""
    return target.path(f"/opt/vigil/runtimes/{target.wheels['name']}")


def wheel_folder(target: Target) -> Path:
    """Where these wheels arrive."""
    return target.path(f"/opt/vigil/wheels/{target.wheels['name']}")


def is_installed(target: Target) -> bool:
    """The last file of an installation is there."""
    return (runtime_folder(target) / ".complete").exists()


def wanted(target: Target) -> dict[str, int]:
    """Wheels that must still come, and how much of each is here."""
    if is_installed(target):
        return {}
    missing = {}
    for name, wheel in target.wheels["files"].items():
        path = wheel_folder(target) / name
        if not path.exists():
            part = path.with_name(name + ".part")
            have = part.stat().st_size if part.exists() else 0
            missing[name] = have if have < wheel["size"] else 0
    return missing


def take_wheels(target: Target) -> None:
    """Read the wheels that were asked for from the stream."""
    folder = wheel_folder(target)
    while line := target.stream.readline(512):
        name, _, offset = line.decode().rstrip("\n").rpartition(" ")
        wheel = target.wheels["files"][name]
        folder.mkdir(parents=True, exist_ok=True)
        part = folder / (name + ".part")
        left = wheel["size"] - int(offset)
        with part.open("r+b" if int(offset) else "wb") as stream:
            stream.seek(int(offset))
            stream.truncate()
            while left:
                piece = target.stream.read(min(PIECE, left))
                if not piece:
                    raise StepError("the transfer broke off", "provision again: it goes on", 75)
                stream.write(piece)
                left -= len(piece)
        if sha256_of(part) != wheel["sha256"]:
            part.unlink()
            raise StepError(f"{name} arrived damaged", "provision again", 75)
        part.replace(folder / name)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while piece := stream.read(PIECE):
            digest.update(piece)
    return digest.hexdigest()


def runtime(target: Target) -> None:
    """A virtual environment of the wheels, made beside the old one, then pointed to."""
    link, folder = target.path("/opt/vigil/runtime"), runtime_folder(target)
    leads = f"runtimes/{folder.name}"
    before = str(link.readlink()) if link.is_symlink() else ""
    wrong = [] if is_installed(target) else [f"vigil {target.wheels['vigil']} is not installed"]
    if not wrong and before != leads:
        wrong.append("/opt/vigil/runtime leads elsewhere")

    def install() -> None:
        if not is_installed(target):
            make_runtime(target, folder)
        beside = link.with_name("runtime.new")
        beside.unlink(missing_ok=True)
        beside.symlink_to(leads)
        beside.replace(link)
        sync_folder(link.parent)
        for other in folder.parent.iterdir():
            if other.name not in {folder.name, Path(before).name}:
                shutil.rmtree(other)

    target.settle("runtime", wrong, install)


def make_runtime(target: Target, folder: Path) -> None:
    """Install the wheels, without any network; the file `.complete` comes last."""
    source = wheel_folder(target)
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    target.tell("runtime", "running", "virtual environment")
    options = ["--system-site-packages"] if target.wheels["system_site_packages"] else []
    run(
        *(sys.executable, "-m", "venv", *options, str(folder)),
        what="no virtual environment",
        mend="apt install python3-venv on the device",
    )
    requirements = source / "requirements.txt"
    requirements.write_text(target.wheels["requirements"])
    target.tell("runtime", "running", f"{len(target.wheels['files'])} wheels")
    pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-cache-dir", "--no-index", "--no-deps"]
    pip += ["--only-binary=:all:", "--require-hashes"]
    pip += ["--find-links", str(source), "-r", str(requirements)]
    run(*pip, what="the wheels do not install", mend="make them again: vigil wheelhouse DIR")
    program = str(folder / "bin" / "vigil")
    run(program, "--version", what="vigil does not start", mend="do the wheels fit this device?")
    os.sync()
    replace(folder / ".complete", b"", 0o644, (os.geteuid(), os.getegid()))
    shutil.rmtree(source)


def services(target: Target) -> None:
    """Enabled, and running what is now there."""
    units = target.orders["enable"]
    wrong = [f"{unit} is not enabled" for unit in units if not asked(unit, "is-enabled")]
    stale = target.changed & {"runtime", "units", "config", "credentials"}
    bundle = target.path("/opt/vigil/current/manifest.json").exists()
    daemons = [unit for unit in units if "@" in unit]
    again = [unit for unit in daemons if bundle and (stale or not asked(unit, "is-active"))]
    wrong += [f"{unit} is to be started anew" for unit in again]
    wrong += ["units are to be read anew"] if "units" in target.changed else []

    def start() -> None:
        mend = "systemctl status on the device tells more"
        run("systemctl", "daemon-reload", what="systemd does not read the units", mend=mend)
        run("systemctl", "enable", *units, what="not enabled", mend=mend)
        if again:
            run("systemctl", "restart", *again, what="the daemon does not start", mend=mend)

    target.settle("services", wrong, start)


def asked(unit: str, question: str) -> bool:
    """What systemd answers."""
    try:
        done = subprocess.run(
            ["systemctl", question, "--quiet", unit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        mend = "this needs a machine with systemd"
        raise StepError(f"systemctl: {error.strerror}", mend) from error
    return done.returncode == 0


def look_around(target: Target) -> None:
    """What is not ours to change, and spoils the work."""
    if target.root == "/" and not Path("/run/systemd/timesync/synchronized").exists():
        target.tell("clock", "note", "not known to be right: timedatectl set-ntp true")


def work(target: Target) -> dict[str, int]:
    """All steps in the order in which they need each other; what must still be sent."""
    if target.root == "/" and os.geteuid() != 0:
        raise StepError("this needs root", "let this user use sudo without a password", 77)
    python(target)
    if target.apply:
        take_wheels(target)
    missing = wanted(target)
    user(target)
    folders(target)
    runtime(target)
    for step in ("units", "trusted-keys", "config", "credentials"):
        files(target, step)
    services(target)
    look_around(target)
    return missing


def main() -> int:
    """Read the orders, do them, tell what was done."""
    os.umask(0o022)
    stream = sys.stdin.buffer
    target = Target(json.loads(stream.read(int(stream.readline(64)))), stream)
    try:
        missing = work(target)
    except StepError as error:
        return failed(str(error), error.mend, error.code)
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        return failed(what, "is the disk of the device full or failing?", 73)
    changed = bool(target.changed)
    emit({"provisioned": {"changed": changed, "steps": target.steps, "wants": missing}})
    return 0


def failed(what: str, mend: str, code: int) -> int:
    """Tell an error."""
    emit({"error": {"what": what, "where": None, "mend": mend, "exit_code": code}})
    return code


if __name__ == "__main__":
    sys.exit(main())
