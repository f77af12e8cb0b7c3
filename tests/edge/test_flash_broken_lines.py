"""A connection that breaks during a flash: what was sent is kept, what has begun is ended."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from support.flash_device import FlashDevice, make_device
from support.small_bundles import key_pair, signed

from engines.bundle import load_bundle
from engines.flash.home import Home
from engines.flash.journal import read_journal
from engines.flash.outgoing import LocalBundle, open_local
from engines.flash.push import Options, Push
from engines.flash.remote import Done, LostError, Remote
from engines.flash.report import Report


class BrokenLine(Remote):
    """Breaks once: after so many bytes of a transfer, or when an installation has answered."""

    sends: int | None = None
    swallows: str | None = None
    commands: list[str]

    def call(
        self,
        command: Sequence[str],
        *,
        write: Callable[[BinaryIO], None] | None = None,
        line: Callable[[bytes], None] | None = None,
        timeout_s: float | None = None,
    ) -> Done:
        verb = next(word for word in command if word in VERBS)
        self.commands.append(verb)
        if verb == "receive" and self.sends is not None and write is not None:
            inner, limit = write, self.sends
            self.sends = None

            def write(stream: BinaryIO) -> None:
                inner(_Cut(stream, limit))  # type: ignore[arg-type]  # all of a stream that is used

        if verb == self.swallows:
            self.swallows = None
            super().call(command, write=write, timeout_s=timeout_s)
            raise LostError("it broke off", where=self.target)
        return super().call(command, write=write, line=line, timeout_s=timeout_s)


VERBS = {"offer", "receive", "install", "status"}


class _Cut:
    """Passes on so many bytes; then the line is dead."""

    def __init__(self, stream: BinaryIO, left: int) -> None:
        self._stream = stream
        self._left = left

    def write(self, data: bytes) -> None:
        self._stream.write(data[: self._left])
        self._left -= len(data)
        if self._left <= 0:
            raise BrokenPipeError

    def flush(self) -> None:
        self._stream.flush()


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlashDevice:
    programs = tmp_path / "ssh"
    programs.mkdir()
    (programs / "ssh").write_text('#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n')
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    made = make_device(tmp_path / "device", "gate-01", tmp_path / "none")
    # These bundles have no network that runs: proving them is tested with those that do.
    program = made.folder / "program.py"
    text = program.read_text()
    patch = "import edge.flash_runtime\nedge.flash_runtime.Device.prove = lambda *_: 'not tried'\n"
    program.write_text(text.replace("main.main(", f"{patch}main.main("))
    return made


@pytest.fixture
def bundle(tmp_path: Path, device: FlashDevice) -> LocalBundle:
    pair, _ = key_pair(tmp_path)
    shutil.copy(pair.public, device.keys)
    return open_local(signed(tmp_path / "b", pair, release=5).root)


def flash(device: FlashDevice, bundle: LocalBundle, **broken: Any) -> tuple[Report, list[str]]:
    line = BrokenLine("gate-01", sudo=False)
    line.commands = []
    for key, value in broken.items():
        setattr(line, key, value)
    options = Options(program=tuple(shlex.split(device.program)), patient_s=250.0)
    with line:
        report = Push(line, bundle, options, sleep=lambda _s: None).run()
    return report, line.commands


def test_a_transfer_that_breaks_goes_on_where_it_was(
    device: FlashDevice, bundle: LocalBundle
) -> None:
    report, commands = flash(device, bundle, sends=2000)
    assert report.outcome == "committed", report
    assert report.resumed == 1
    assert commands == ["offer", "receive", "offer", "receive", "install"]
    total = sum(entry.size for entry in bundle.manifest.files)
    # What had arrived was not sent again; the piece in which it broke is not counted.
    assert 0 < report.sent_bytes < total
    assert load_bundle(device.home / "current").digest == bundle.digest


def test_an_installation_whose_answer_is_lost_is_asked_for(
    device: FlashDevice, bundle: LocalBundle
) -> None:
    report, commands = flash(device, bundle, swallows="install")
    assert report.outcome == "committed", report
    assert commands == ["offer", "receive", "install", "status"]
    assert read_journal(Home(device.home)).current == bundle.name
