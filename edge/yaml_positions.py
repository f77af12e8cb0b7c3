"""YAML to plain values, with the position of each key and value, and every problem at once.

Only the safe part of YAML: mappings with text keys, lists, scalars; no custom tags, no merge keys.
Duplicate keys are problems. Size, depth and expansion by aliases are bounded.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_BYTES = 2**20
MAX_VALUES = 20_000  # after aliases are expanded; and keys and values before
MAX_DEPTH = 32

Path = tuple[str | int, ...]
Position = tuple[int, int]
"""Line and column, both from 1."""


@dataclass(frozen=True)
class Problem:
    """Something wrong, and where."""

    position: Position
    path: Path
    message: str

    def render(self, file: str) -> str:
        """As ``file:line:column: path: message``."""
        line, column = self.position
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        place = f"{file}:{line}:{column}"
        return f"{place}: {path[1:]}: {self.message}" if path else f"{place}: {self.message}"


@dataclass
class Document:
    """A parsed file: plain values; where each key (or list item) stands; what is wrong."""

    data: Any = None
    positions: dict[Path, Position] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)

    def position(self, path: Path) -> Position:
        """Where `path` stands, or the nearest thing around it."""
        while path and path not in self.positions:
            path = path[:-1]
        return self.positions.get(path, (1, 1))


def parse(text: str) -> Document:
    """Parse one YAML document; never raises for what is in `text`."""
    document = Document()
    try:
        loader = _BoundedLoader(text)
        root = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        message = " ".join(part for part in (error.context, error.problem) if part)
        document.problems.append(Problem(_position(mark), (), f"not YAML: {message}"))
        return document
    except (yaml.YAMLError, ValueError) as error:
        document.problems.append(Problem((1, 1), (), f"not YAML: {error}"))
        return document
    except RecursionError:
        document.problems.append(Problem((1, 1), (), "nested too deeply"))
        return document
    if root is None:
        document.problems.append(Problem((1, 1), (), "the file is empty"))
        return document
    reader = _Reader(loader, document)
    document.data = reader.read(root, ())
    return document


class _BoundedLoader(yaml.SafeLoader):
    """Stops reading a file that is nothing but a heap: composing takes a while for each node."""

    nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self.nodes += 1
        if self.nodes > MAX_VALUES:
            raise yaml.MarkedYAMLError(
                problem=f"more than {MAX_VALUES} keys and values",
                problem_mark=self.get_mark(),
            )
        return super().compose_node(parent, index)


class _Reader:
    """Nodes to values; one for each document."""

    def __init__(self, loader: yaml.SafeLoader, document: Document) -> None:
        self._loader = loader
        self._document = document
        self._values = 0

    def read(self, node: yaml.Node, path: Path) -> Any:
        self._document.positions.setdefault(path, _position(node.start_mark))
        self._values += 1
        if self._values == MAX_VALUES + 1:
            self._complain(node, path, f"more than {MAX_VALUES} values; too many aliases?")
        if self._values > MAX_VALUES:
            return None
        if len(path) > MAX_DEPTH:
            self._complain(node, path, f"nested deeper than {MAX_DEPTH} levels")
            return None
        if isinstance(node, yaml.MappingNode):
            return self._read_mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.read(item, (*path, i)) for i, item in enumerate(node.value)]
        return self._read_scalar(node, path)

    def _read_mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = self._read_scalar(key_node, path)
            if not isinstance(key, str):
                found = "a list or mapping" if key is None else _shown(key)
                self._complain(
                    key_node, path, f"keys must be text, found {found}; write it in quotes"
                )
                continue
            here = (*path, key)
            if key in result:
                first = self._document.positions[here]
                self._complain(
                    key_node, here, f"this key stands here twice, first in line {first[0]}"
                )
                continue
            self._document.positions[here] = _position(key_node.start_mark)
            result[key] = self.read(value_node, here)
        return result

    def _read_scalar(self, node: yaml.Node, path: Path) -> Hashable:
        if not isinstance(node, yaml.ScalarNode):
            return None
        try:
            value: Hashable = self._loader.construct_object(node)
        except Exception as error:  # noqa: BLE001  # PyYAML lets out whatever int(), datetime() or a lookup raises
            problem = getattr(error, "problem", None) or f"{type(error).__name__} {error}"
            self._complain(node, path, f"this value cannot be read: {problem}")
            return None
        return value

    def _complain(self, node: yaml.Node, path: Path, message: str) -> None:
        self._document.problems.append(Problem(_position(node.start_mark), path, message))


def _shown(key: Hashable) -> str:
    try:
        return repr(key)[:40]
    except ValueError:
        return "a number of thousands of digits"  # which Python does not write out


def _position(mark: Any) -> Position:
    return (1, 1) if mark is None else (mark.line + 1, mark.column + 1)
