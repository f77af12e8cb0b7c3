"""What was typed, for the records that leave this machine."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePath


def command_for_records(arguments: Sequence[str]) -> str:
    """The command line, of absolute paths only the name: folders of this machine are private.

    Args:
        arguments: Words after the program's name, as in `sys.argv[1:]`.
    """
    return shlex.join(["vigil", *map(_without_folder, arguments)])


def _without_folder(word: str) -> str:
    """`/home/me/x` as `x`, and `--out=/home/me/x` or `extractor.file=/home/me/x` likewise."""
    key, equals, value = word.rpartition("=")
    return f"{key}{equals}{PurePath(value).name}" if PurePath(value).is_absolute() else word
