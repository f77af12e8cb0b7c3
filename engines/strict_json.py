"""JSON with one meaning: UTF-8, no key twice, no NaN, no endless numbers, no traceback.

`json.loads` alone takes UTF-16, keeps the last of two equal keys and reads `NaN`; two programs can
then read two things from the same bytes.
"""

from __future__ import annotations

import json
from typing import NoReturn

from engines.errors import DataError

MAX_DIGITS = 18  # what a signed 64-bit integer holds for certain


def decode_json(data: bytes, *, what: str, where: str, integers_only: bool = False) -> object:
    """Parse JSON bytes strictly.

    Args:
        data: The bytes.
        what: Name of the document, for the message.
        where: The file, for the message.
        integers_only: Refuse numbers with a fraction or an exponent.

    Raises:
        DataError: Not UTF-8, not JSON, a key twice in one object, or a number that is not allowed.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{what} is not UTF-8 text (byte {error.start})", where=where, mend=_MEND
        ) from error
    try:
        return json.loads(
            text,
            object_pairs_hook=_no_duplicates,
            parse_int=_bounded_int,
            parse_float=_no_float if integers_only else _bounded_float,
            parse_constant=_no_constant,
        )
    except RecursionError as error:
        raise DataError(
            f"{what} is not JSON that can be read: nested too deeply", where=where, mend=_MEND
        ) from error
    except ValueError as error:
        raise DataError(f"{what} is not JSON: {error}", where=where, mend=_MEND) from error


_MEND = "copy the bundle again from where it was made"


def _no_duplicates(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return result


def _bounded_int(digits: str) -> int:
    if len(digits.lstrip("-")) > MAX_DIGITS:
        raise ValueError(f"an integer of more than {MAX_DIGITS} digits")
    return int(digits)


def _bounded_float(digits: str) -> float:
    if len(digits) > 64:
        raise ValueError("a number of more than 64 characters")
    return float(digits)


def _no_float(digits: str) -> NoReturn:
    raise ValueError(f"only integers are allowed here, found {digits[:32]}")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
