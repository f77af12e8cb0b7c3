"""A disk that loses power: it knows what of the work so far would still be there afterwards.

Model: a file's content is durable as of its last `sync`; a folder's names as of its last
`sync_folder`; what was not synced may be there, or not, or (a file) be there and empty.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from engines.flash.disk import Disk


class PowerCutError(BaseException):
    """Not an `Exception`: no handler may go on as if nothing had happened."""


@dataclass
class File:
    live: bytes
    durable: bytes = b""


@dataclass
class Link:
    target: str


@dataclass
class Folder:
    live: dict[str, File | Link | Folder] = field(default_factory=dict)
    durable: dict[str, File | Link | Folder] = field(default_factory=dict)


Node = File | Link | Folder


class HastyDisk(Disk):
    """Never waits for the medium: for what happens after a cut, where no second one comes."""

    def sync(self, path: Path) -> None:
        assert path.is_file(), path

    def sync_folder(self, path: Path) -> None:
        assert path.is_dir(), path


class LossyDisk(Disk):
    """Works on the real file system and keeps the model beside it.

    Args:
        root: The folder that is modelled; what is in it now is durable.
        cut_at: The power goes before this step (counted from 0); None: never.
        forget: Steps of these names promise and do nothing: a negative control.
    """

    def __init__(
        self, root: Path, *, cut_at: int | None = None, forget: frozenset[str] = frozenset()
    ) -> None:
        self._root = root
        self._tree = _read(root)
        self._cut_at = cut_at
        self._forget = forget
        self.steps: list[str] = []

    def make_folder(self, path: Path, mode: int = 0o755) -> None:
        self._step("make_folder", path)
        super().make_folder(path, mode)
        self._folder(path.parent).live.setdefault(path.name, Folder())

    def write(self, path: Path, data: bytes) -> None:
        self._step("write", path)
        super().write(path, data)
        self._written(path, data)

    def copy(self, source: Path, path: Path) -> None:
        self._step("copy", path)
        super().copy(source, path)
        self._written(path, source.read_bytes())

    def sync(self, path: Path) -> None:
        self._step("sync", path)
        if "sync" not in self._forget:
            node = self._folder(path.parent).live[path.name]
            assert isinstance(node, File)
            node.durable = node.live

    def sync_folder(self, path: Path) -> None:
        self._step("sync_folder", path)
        if "sync_folder" not in self._forget:
            node = self._folder(path)
            node.durable = dict(node.live)

    def rename(self, old: Path, new: Path) -> None:
        self._step("rename", new)
        super().rename(old, new)
        self._folder(new.parent).live[new.name] = self._folder(old.parent).live.pop(old.name)

    def link(self, path: Path, target: str) -> None:
        self._step("link", path)
        super().link(path, target)
        self._folder(path.parent).live[path.name] = Link(target)

    def remove(self, path: Path) -> None:
        self._step("remove", path)
        super().remove(path)
        self._folder(path.parent).live.pop(path.name, None)

    def remove_tree(self, path: Path) -> None:
        self._step("remove_tree", path)
        super().remove_tree(path)
        self._folder(path.parent).live.pop(path.name, None)

    def after_the_cut(self, place: Path, *, kept: str, seed: int = 0) -> None:
        """Write into `place` what the disk has: `kept` is "synced", "all" or "some" (by lot)."""
        lot = random.Random(seed)
        keep: Callable[[], bool] = {
            "synced": lambda: False,
            "all": lambda: True,
            "some": lambda: lot.random() < 0.5,
        }[kept]
        _write(self._tree, place, keep)

    def _step(self, name: str, path: Path) -> None:
        if self._cut_at == len(self.steps):
            raise PowerCutError(f"before {name} {path.name}")
        self.steps.append(f"{name} {path.relative_to(self._root)}")

    def _written(self, path: Path, data: bytes) -> None:
        folder = self._folder(path.parent)
        before = folder.live.get(path.name)
        # Writing over a file truncates it first: nothing of the old content is promised any more.
        if isinstance(before, File):
            before.live, before.durable = data, b""
        else:
            folder.live[path.name] = File(data)

    def _folder(self, path: Path) -> Folder:
        node: Node = self._tree
        for part in path.relative_to(self._root).parts:
            assert isinstance(node, Folder)
            node = node.live[part]
        assert isinstance(node, Folder)
        return node


def _read(path: Path) -> Folder:
    folder = Folder()
    for child in path.iterdir():
        node: Node
        if child.is_symlink():
            node = Link(str(child.readlink()))
        elif child.is_dir():
            node = _read(child)
        else:
            data = child.read_bytes()
            node = File(data, data)
        folder.live[child.name] = node
    folder.durable = dict(folder.live)
    return folder


def _write(folder: Folder, place: Path, keep: Callable[[], bool]) -> None:
    place.mkdir()
    names = dict(folder.durable)
    for name in sorted(set(folder.live) | set(folder.durable)):
        if folder.live.get(name) is not folder.durable.get(name) and keep():
            if name in folder.live:
                names[name] = folder.live[name]
            else:
                names.pop(name, None)
    for name, node in names.items():
        if isinstance(node, Folder):
            _write(node, place / name, keep)
        elif isinstance(node, Link):
            (place / name).symlink_to(node.target)
        else:
            (place / name).write_bytes(node.live if keep() else node.durable)
