"""Runs on a bare device as root: the steps of `vigil provision`. Standard library only.

It comes over standard input, then a line with the size of its orders, the orders (JSON), and what
it asked for. Each step has a check and an apply; nothing that is right already is touched. Secrets
are in the orders and in files of mode 0600, and in nothing that is printed.
"""

from __future__ import annotations

import base64
import glob
import grp
import hashlib
import json
import os
import platform
import pwd
import shutil
import subprocess
import sys

PIECE = 1 << 20


class StepError(Exception):
    """A step that cannot be done: what, what mends it, exit code."""

    def __init__(self, what: str, mend: str, code: int = 69) -> None:
        super().__init__(what)
        self.mend = mend
        self.code = code


class Target:
    """The device, and what was ordered."""

    def __init__(self, orders: dict, stream) -> None:
        self.orders = orders
        self.stream = stream
        self.apply = orders["mode"] == "apply"
        self.root = orders["root"]
        self.changed: set = set()
        self.steps: list = []

    def path(self, name: str) -> str:
        """A path of the device; under another root in tests."""
        return name if self.root == "/" else self.root + name

    def tell(self, step: str, state: str, text: str = "") -> None:
        """One line for the workstation."""
        if state != "running":
            self.steps.append({"step": step, "state": state, "text": text})
        emit({"step": step, "state": state, "text": text})

    def settle(self, step: str, wrong: list, do) -> None:
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


def emit(value: dict) -> None:
    sys.stdout.write(json.dumps(value) + "\n")
    sys.stdout.flush()


def run(*command: str, what: str, mend: str) -> str:
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            universal_newlines=True,
        )
    except OSError as error:
        raise StepError(f"{what}: {command[0]}: {error.strerror}", mend) from error
    if done.returncode:
        tail = " ".join(done.stdout.split()[-60:])
        raise StepError(f"{what}: {tail or done.returncode}", mend)
    return done.stdout


def python(target: Target) -> None:
    """The wheels fit this machine; nothing can be changed about it here."""
    wheels = target.orders["wheels"]
    here = (f"{sys.version_info[0]}.{sys.version_info[1]}", platform.machine())
    wanted = (wheels["python"], wheels["machine"])
    if here != wanted:
        raise StepError(
            f"the device has Python {here[0]} on {here[1]}, the wheels are for {wanted[0]} on {wanted[1]}",
            f"vigil wheelhouse DIR --python {here[0]} --machine {here[1]}",
            65,
        )
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError as error:
        raise StepError(
            "the device cannot make virtual environments: python3-venv is missing",
            "apt install python3-venv on the device (the only package that is needed there)",
        ) from error
    target.tell("python", "unchanged", f"{here[0]} on {here[1]}")


def user(target: Target) -> None:
    """The daemon's own user, without rights."""
    name = target.orders["user"]
    wrong = [] if known(name) else [f"user {name} is missing"]

    def make() -> None:
        command = ["useradd", "--system", "--home-dir", "/var/lib/vigil", "--no-create-home"]
        command += ["--shell", "/usr/sbin/nologin", "--user-group", name]
        run(*command, what="no user could be made", mend="make it by hand: useradd --system vigil")

    target.settle("user", wrong, make)


def known(name: str) -> bool:
    try:
        return bool(pwd.getpwnam(name))
    except KeyError:
        return False


def owner_of(target: Target, owner: str) -> tuple:
    """Numbers of `user:group`; our own under another root, where nobody is anybody."""
    if target.root != "/":
        return os.geteuid(), os.getegid()
    name, _, group = owner.partition(":")
    try:
        return pwd.getpwnam(name).pw_uid, grp.getgrnam(group).gr_gid
    except KeyError:
        return -1, -1  # not made yet: only in a check


def deviates(path: str, mode: int, ids: tuple) -> list:
    status = os.stat(path)
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
        if not os.path.isdir(path):
            wrong.append(f"{path} is missing")
        else:
            wrong += deviates(path, mode, owner_of(target, owner))

    def make() -> None:
        for name, mode, owner in target.orders["folders"]:
            path = target.path(name)
            os.makedirs(path, exist_ok=True)
            os.chown(path, *owner_of(target, owner))
            os.chmod(path, mode)

    target.settle("folders", wrong, make)


def files(target: Target, step: str) -> None:
    """Files of one step: content, mode, owner; `keep` ones only where there is none."""
    mine = [one for one in target.orders["files"] if one["step"] == step]
    wrong = []
    for one in mine:
        path, content = target.path(one["path"]), base64.b64decode(one["content"])
        if not os.path.exists(path):
            wrong.append(f"{path} is missing")
            continue
        with open(path, "rb") as stream:
            differs = stream.read() != content
        if differs and not one.get("keep"):
            wrong.append(f"{path} differs")
        wrong += deviates(path, one["mode"], owner_of(target, one["owner"]))

    def write() -> None:
        for one in mine:
            path, content = target.path(one["path"]), base64.b64decode(one["content"])
            ids = owner_of(target, one["owner"])
            if not (one.get("keep") and os.path.exists(path)):
                replace(path, content, one["mode"], ids)
            os.chown(path, *ids)
            os.chmod(path, one["mode"])

    if mine:
        target.settle(step, wrong, write)


def replace(path: str, content: bytes, mode: int, ids: tuple) -> None:
    """Never open to others, not even for a moment; durable."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    beside = path + ".new"
    if os.path.lexists(beside):
        os.unlink(beside)
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchown(descriptor, *ids)
        os.fchmod(descriptor, mode)
        stream.write(content)
        stream.flush()
        os.fsync(descriptor)
    os.replace(beside, path)
    sync_folder(os.path.dirname(path))


def sync_folder(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def runtime_ready(target: Target) -> bool:
    wheels = target.orders["wheels"]
    folder = target.path(f"/opt/vigil/runtimes/{wheels['name']}")
    return os.path.exists(os.path.join(folder, ".complete"))


def wanted(target: Target) -> dict:
    """Wheels that must still come, and how much of each is here."""
    if runtime_ready(target):
        return {}
    folder = target.path(f"/opt/vigil/wheels/{target.orders['wheels']['name']}")
    missing = {}
    for name, wheel in target.orders["wheels"]["files"].items():
        path = os.path.join(folder, name)
        if not os.path.exists(path):
            part = path + ".part"
            have = os.path.getsize(part) if os.path.exists(part) else 0
            missing[name] = have if have < wheel["size"] else 0
    return missing


def take_wheels(target: Target) -> None:
    """Read the wheels that were asked for from the stream."""
    wheels = target.orders["wheels"]
    folder = target.path(f"/opt/vigil/wheels/{wheels['name']}")
    while True:
        line = target.stream.readline(512)
        if not line:
            return
        name, _, offset = line.decode().rstrip("\n").rpartition(" ")
        wheel = wheels["files"][name]
        os.makedirs(folder, exist_ok=True)
        part = os.path.join(folder, name + ".part")
        left = wheel["size"] - int(offset)
        with open(part, "r+b" if int(offset) else "wb") as stream:
            stream.seek(int(offset))
            stream.truncate()
            while left:
                piece = target.stream.read(min(PIECE, left))
                if not piece:
                    raise StepError("the transfer broke off", "provision again: it goes on", 75)
                stream.write(piece)
                left -= len(piece)
        if sha256_of(part) != wheel["sha256"]:
            os.unlink(part)
            raise StepError(f"{name} arrived damaged", "provision again", 75)
        os.replace(part, os.path.join(folder, name))


def sha256_of(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for piece in iter(lambda: stream.read(PIECE), b""):
            digest.update(piece)
    return digest.hexdigest()


def runtime(target: Target) -> None:
    """A virtual environment of the wheels, made beside the old one, then pointed to."""
    wheels = target.orders["wheels"]
    folder = target.path(f"/opt/vigil/runtimes/{wheels['name']}")
    link = target.path("/opt/vigil/runtime")
    wrong = [] if runtime_ready(target) else [f"vigil {wheels['vigil']} is not installed"]
    if not wrong and (not os.path.islink(link) or os.readlink(link) != f"runtimes/{wheels['name']}"):
        wrong.append("/opt/vigil/runtime leads elsewhere")

    def install() -> None:
        if not runtime_ready(target):
            make_runtime(target, folder)
        beside = link + ".new"
        if os.path.lexists(beside):
            os.unlink(beside)
        os.symlink(f"runtimes/{wheels['name']}", beside)
        before = os.readlink(link) if os.path.islink(link) else ""
        os.replace(beside, link)
        sync_folder(os.path.dirname(link))
        for other in glob.glob(target.path("/opt/vigil/runtimes/*")):
            if other != folder and os.path.basename(other) != os.path.basename(before):
                shutil.rmtree(other)

    target.settle("runtime", wrong, install)


def make_runtime(target: Target, folder: str) -> None:
    wheels = target.orders["wheels"]
    source = target.path(f"/opt/vigil/wheels/{wheels['name']}")
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    target.tell("runtime", "running", "virtual environment")
    options = ["--system-site-packages"] if wheels["system_site_packages"] else []
    run(
        *(sys.executable, "-m", "venv", *options, folder),
        what="no virtual environment",
        mend="apt install python3-venv on the device",
    )
    requirements = os.path.join(source, "requirements.txt")
    with open(requirements, "w") as stream:
        stream.write(wheels["requirements"])
    target.tell("runtime", "running", f"{len(wheels['files'])} wheels")
    pip = [os.path.join(folder, "bin", "python"), "-m", "pip", "install", "--quiet"]
    pip += ["--disable-pip-version-check", "--no-cache-dir", "--no-index", "--no-deps"]
    pip += ["--only-binary=:all:", "--require-hashes", "--find-links", source, "-r", requirements]
    run(*pip, what="the wheels do not install", mend="make them again: vigil wheelhouse DIR")
    program = os.path.join(folder, "bin", "vigil")
    run(program, "--version", what="vigil does not start", mend="the wheels may not fit this device")
    os.sync()
    replace(os.path.join(folder, ".complete"), b"", 0o644, (os.geteuid(), os.getegid()))
    shutil.rmtree(source)


def services(target: Target) -> None:
    """Enabled, and running what is now there."""
    wrong = [f"{unit} is not enabled" for unit in target.orders["enable"] if not asked(unit, "is-enabled")]
    stale = target.changed & {"runtime", "units", "config", "credentials"}
    bundle = os.path.exists(target.path("/opt/vigil/current/manifest.json"))
    daemons = [unit for unit in target.orders["enable"] if "@" in unit]
    again = [unit for unit in daemons if bundle and (stale or not asked(unit, "is-active"))]
    wrong += [f"{unit} is to be started anew" for unit in again]
    wrong += ["units are to be read anew"] if "units" in target.changed else []

    def start() -> None:
        mend = "systemctl status on the device tells more"
        run("systemctl", "daemon-reload", what="systemd does not read the units", mend=mend)
        run("systemctl", "enable", *target.orders["enable"], what="not enabled", mend=mend)
        if again:
            run("systemctl", "restart", *again, what="the daemon does not start", mend=mend)

    target.settle("services", wrong, start)


def asked(unit: str, question: str) -> bool:
    try:
        done = subprocess.run(
            ["systemctl", question, "--quiet", unit],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise StepError(f"systemctl: {error.strerror}", "this needs a machine with systemd") from error
    return done.returncode == 0


def look_around(target: Target) -> None:
    """What is not ours to change, and spoils the work."""
    if target.root == "/" and not os.path.exists("/run/systemd/timesync/synchronized"):
        target.tell("clock", "note", "the clock is not known to be right: timedatectl set-ntp true")


def main() -> int:
    os.umask(0o022)
    stream = sys.stdin.buffer
    target = Target(json.loads(stream.read(int(stream.readline(64)))), stream)
    try:
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
    except StepError as error:
        emit({"error": {"what": str(error), "where": None, "mend": error.mend, "exit_code": error.code}})
        return error.code
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        mend = "is the disk of the device full or failing?"
        emit({"error": {"what": what, "where": None, "mend": mend, "exit_code": 73}})
        return 73
    emit({"provisioned": {"changed": bool(target.changed), "steps": target.steps, "wants": missing}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
